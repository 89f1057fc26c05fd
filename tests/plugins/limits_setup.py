"""Requests under limits, on a clock that stands still."""

from collections.abc import Mapping, Sequence
from typing import Any

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Limits, Principal
from crplugins.limits.limit import Decision, Reservation
from crplugins.limits.memory import MemoryStore
from crplugins.limits.reservations import Reservations
from crplugins.testing import FrozenClock, drive, lifespan
from crplugins.testing.answer import Answer
from tests.core.doubles import JSON, App

HI = [{"role": "user", "content": "hi"}]
PROMPT = 12  # tokens of HI, estimated


class Caller(Plugin):
    """Stands for Auth. Which principal calls may be changed."""

    def __init__(self, key_id: str = "team-a", limits: Limits | None = None, **policy: Any) -> None:
        self.principal: Principal | None = Principal(key_id, limits=limits or Limits(), **policy)
        self.exchanges: list[Exchange] = []

    async def on_request(self, exchange: Exchange) -> None:
        exchange.principal = self.principal
        self.exchanges.append(exchange)


class Watched(MemoryStore):
    """Knows which reservations have not been settled."""

    def __init__(self) -> None:
        super().__init__()
        self.held: set[str] = set()

    async def reserve(self, reservation: Reservation, **options: Any) -> Decision:
        decision = await super().reserve(reservation, **options)
        if decision.refused is None:
            self.held.add(reservation.id)
        return decision

    def settle_now(self, reservation: Reservation, costs: Sequence[int], **options: Any) -> bool:
        settled = super().settle_now(reservation, costs, **options)
        if settled:
            self.held.remove(reservation.id)
        return settled


class Ground:
    """A store on a clock that a test moves."""

    def __init__(self, store: Watched | None = None, time: float = 1_700_000_000.0) -> None:
        self.clock = FrozenClock(time=time)
        self.store = Watched() if store is None else store
        self.reservations = Reservations(self.store, clock=lambda: round(self.clock.time() * 1000))


def using(prompt: int, completion: int) -> App:
    """An app that answers with this usage; without completion tokens it says nothing, or they would be estimated."""
    said = "a" if completion else ""
    usage = f'{{"prompt_tokens":{prompt},"completion_tokens":{completion}}}'
    document = f'{{"choices":[{{"index":0,"message":{{"content":"{said}"}},"finish_reason":"stop"}}],"usage":{usage}}}'
    return App(document.encode(), content_type=JSON)


async def ask(app: Any, plugins: Sequence[Plugin], *, headers: Mapping[str, str] | None = None, **body: Any) -> Answer:
    """A request through plugins that are opened for it."""
    return await send({"model": "m", "messages": HI, **body}, app, plugins, headers=headers or {})


async def send(body: Any, app: Any, plugins: Sequence[Plugin], **options: Any) -> Answer:
    stack = PluginMiddleware(app, plugins=plugins)
    async with lifespan(stack):
        return await drive(stack, body=body, **options)


async def ask_for(tokens: int, app: Any, plugins: Sequence[Plugin], **body: Any) -> Answer:
    """A request that reserves so many tokens."""
    return await ask(app, plugins, max_tokens=tokens - PROMPT, **body)


async def used(ground: Ground, *limits: Any) -> list[int]:
    return [level.used for level in await ground.reservations.levels(limits)]
