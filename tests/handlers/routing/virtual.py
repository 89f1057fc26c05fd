"""Requests in virtual time, as many at once as there are: seconds pass when everybody sleeps."""

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any

from crplugins.asgi.scope import make_exchange
from crplugins.core.body import Body
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, Reply
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.routing.candidate import Candidate
from crplugins.handlers.routing.group import Group
from crplugins.handlers.routing.retries import Retries
from crplugins.handlers.routing.settings import RoutingSettings


class VirtualTime:
    """A clock, and the `sleep` that goes with it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = count()

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._numbers), woken))
        await woken

    async def run(self, *work: Awaitable[Any]) -> list[Any]:
        """The results of all of it, exceptions among them, when nothing is left to wait for."""
        tasks = [asyncio.ensure_future(each) for each in work]
        while not all(task.done() for task in tasks):
            for _ in range(3):
                await asyncio.sleep(0)
            if self._sleepers and not all(task.done() for task in tasks):
                at, _, woken = heapq.heappop(self._sleepers)
                self.now = max(at, self.now)
                if not woken.done():
                    woken.set_result(None)
        return [task.exception() or task.result() for task in tasks]


def failed_with(
    status: int, error_type: Any, *, kind: type[GatewayError] = GatewayError, **headers: str
) -> GatewayError:
    return kind(
        status,
        "no",
        error_type=error_type,
        headers=[(name.replace("_", "-"), value) for name, value in headers.items()],
    )


class Scripted:
    """The handler of a deployment that answers after `latency` seconds, or fails as `failure` says at that moment."""

    def __init__(self, time: VirtualTime, latency: float = 0.01) -> None:
        self.time, self.latency = time, latency
        self.failure: Callable[[float], GatewayError | None] = lambda _: None
        self.asked: list[float] = []

    async def answer(self, exchange: Exchange, body: Body) -> Reply:
        self.asked.append(self.time.now)
        failure = self.failure(self.time.now)
        await self.time.sleep(self.latency)
        if failure is not None:
            raise failure
        return Reply(200, [], b"{}")

    def down(self, start: float, end: float, error: GatewayError | None = None) -> None:
        """Out of order between these moments."""
        error = error or failed_with(503, "upstream_5xx")
        self.failure = lambda now: error if start <= now < end else None


def exchange_at(time: Callable[[], float]) -> Exchange:
    return make_exchange({"headers": [], "method": "POST", "path": "/"}, time, lambda: "id")


def group_of(
    time: VirtualTime,
    handlers: Sequence[Any],
    settings: Sequence[RoutingSettings] = (),
    dice: Callable[[], float] = lambda: 0.5,
    models: Sequence[str] = (),
) -> Group:
    each = [*settings, *(RoutingSettings() for _ in range(len(handlers) - len(settings)))]
    named = models or ["openai/m"] * len(handlers)
    deployments = [Deployment("m", model, routing=routing) for model, routing in zip(named, each, strict=True)]
    candidates = [Candidate(*pair) for pair in zip(deployments, handlers, strict=True)]
    return Group(candidates, retries=Retries(dice, time.sleep))


async def ask(time: VirtualTime, group: Group, after: float = 0.0) -> Reply:
    await time.sleep(after)
    return await group.answer(exchange_at(time), Body(b"{}"))
