"""What may go wrong at a provider, at random, and clients that may leave: the traffic of the soak."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from crplugins.testing import FakeProvider, ReceivedRequest, Script
from crplugins.testing.reply import ProviderReply
from tests.integration.metering_setup import PATH

KEYS: Final[Mapping[str, Mapping[str, Any]]] = {
    "plain": {},
    "drains": {"on_disconnect": "drain"},
    "free": {"missing_usage": "free"},
    "limited": {"limits": {"requests_per_minute": 600, "tokens_per_minute": 2_000_000, "max_parallel_requests": 40}},
    "narrow": {"limits": {"max_parallel_requests": 2}},
    "spender": {"budget": {"usd": 100_000, "period": "day"}},
}
PATIENCE: Final = 2.0
MODELS: Final = 8
TOO_LONG: Final = 60.0
"""Seconds in the gateway: several times what two deployments, a retry and a rescue may take together. The clients
themselves may be slow, and wait for twice as long."""

PRICES: Final[Mapping[str, Mapping[str, float]]] = {
    "first": {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6},
    "second": {"input_cost_per_token": 5e-6, "output_cost_per_token": 11e-6},
}

_MAKERS: Final[Sequence[tuple[float, Callable[[random.Random], Script]]]] = (
    (30, lambda _: Script()),
    (6, lambda dice: Script(frame_delay=dice.uniform(0.001, 0.03))),
    (4, lambda dice: Script(delay=dice.uniform(0.05, 0.5), frame_delay=0.005)),
    (3, lambda _: Script(write="all")),
    (2, lambda dice: Script(write=dice.randint(20, 200))),
    (3, lambda _: Script(usage="in_finish_chunk")),
    (3, lambda _: Script(usage="on")),
    (3, lambda _: Script(usage="off")),
    (3, lambda dice: Script(cut_after=dice.randint(0, 30), frame_delay=0.002)),
    (3, lambda dice: Script(close_after=dice.randint(0, 30), frame_delay=0.002)),
    (5, lambda dice: Script(reset_after=dice.randint(0, 30), frame_delay=0.002)),
    (4, lambda dice: Script(stall_after=dice.randint(0, 30), frame_delay=0.002)),
    (3, lambda dice: Script(write=100, cut_after=dice.randint(0, 20))),
    (3, lambda dice: Script(malformed_after=dice.randint(0, 25), frame_delay=0.002)),
    (1, lambda _: Script(delay=60)),
    (1, lambda _: Script(first_byte_delay=60)),
    (1, lambda dice: Script(slow_headers=dice.uniform(0.001, 0.01))),
    (3, lambda _: Script(refuse_connection=True)),
    (3, lambda dice: Script.rate_limited(dice.choice([None, 0, 1, 30]))),
    (4, lambda dice: Script(status=dice.choice([500, 502, 503, 529]))),
    (1, lambda _: Script.error(401, "Incorrect API key provided")),
    (1, lambda _: Script.error(404, "no such model", code="model_not_found")),
    (1, lambda _: Script.error(400, "too long", code="context_length_exceeded")),
    (1, lambda _: Script.error(400, "flagged", code="content_policy_violation")),
    (1, lambda _: Script.error(400, "temperature is too high", param="temperature")),
    (1, lambda _: Script(body=b"<html>Bad gateway</html>", content_type="text/html")),
    (1, lambda dice: Script(refuse_stream_options=dice.choice([400, 422]))),
)


class Chaos(FakeProvider):
    """Answers each request by dice. `told` keeps what it told of each, by the client's marker."""

    def __init__(self, seed: int) -> None:
        super().__init__(keep_requests=500)
        self._dice = random.Random(seed)
        self.told: dict[str, list[ReceivedRequest]] = {}
        self.calm = False

    def _answer(self, request: ReceivedRequest) -> tuple[Script, ProviderReply]:
        if isinstance(request.json, dict) and request.json.get("user"):
            self.told.setdefault(request.json["user"], []).append(request)
            weights = [weight for weight, _ in _MAKERS]
            make = self._dice.choices([make for _, make in _MAKERS], weights)[0]
            self._repertoire.by_model[request.model or ""] = Script() if self.calm else make(self._dice)
        return super()._answer(request)


@dataclass
class Asked:
    """One request. `complete`: the client has read the answer to its end; `whole`: without an error in it."""

    marker: str
    model: str
    key: str
    stream: bool
    leaves: float | None
    began: float
    status: int | None = None
    request_id: str | None = None
    seconds: float = 0.0
    complete: bool = False
    whole: bool = False
    failure: str | None = None


@dataclass
class Traffic:
    """Requests at a rate, however long the answers take."""

    url: str
    seed: int
    asked: list[Asked] = field(default_factory=list)
    hung: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, rate: float, seconds: float, prefix: str = "c") -> None:
        """Sends for so long, and waits for the last answer."""
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=5)
        async with aiohttp.ClientSession(connector=connector) as session:
            begun, number = time.monotonic(), 0
            while number < rate * seconds:
                await asyncio.sleep(max(begun + number / rate - time.monotonic(), 0))
                number += 1
                task = asyncio.create_task(self._ask(session, self._next(prefix)))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=2 * TOO_LONG)

    def _next(self, prefix: str) -> Asked:
        dice = self._dice
        leaves = dice.uniform(0, 1.5) if dice.random() < 0.12 else None
        model = f"m{dice.randrange(MODELS)}"
        asked = Asked(
            f"{prefix}{len(self.asked):07}", model, dice.choice(list(KEYS)), dice.random() < 0.7, leaves,
            time.monotonic(),
        )  # fmt: skip
        self.asked.append(asked)
        return asked

    async def _ask(self, session: aiohttp.ClientSession, asked: Asked) -> None:
        body: dict[str, Any] = {"model": asked.model, "user": asked.marker, "stream": asked.stream}
        body["messages"] = [{"role": "user", "content": f"count to {self._dice.randint(3, 25)}"}]
        if asked.stream:
            body["stream_options"] = {"include_usage": True}
        try:
            async with asyncio.timeout(asked.leaves if asked.leaves is not None else 2 * TOO_LONG):
                await self._read(session, asked, body)
        except TimeoutError:
            if asked.leaves is None:
                self.hung.append(asked)
        except (aiohttp.ClientError, OSError) as error:
            asked.failure = repr(error)
        asked.seconds = time.monotonic() - asked.began

    async def _read(self, session: aiohttp.ClientSession, asked: Asked, body: Mapping[str, Any]) -> None:
        headers = {"authorization": f"Bearer {secret_of(asked.key)}"}
        async with session.post(self.url + PATH, json=body, headers=headers) as response:
            asked.status, asked.request_id = response.status, response.headers.get("x-request-id")
            answer = b""
            with suppress(aiohttp.ClientPayloadError):
                answer = await response.read()
                asked.complete = True
        ended = b"data: [DONE]\n\n" in answer if asked.stream else answer.endswith(b"}")
        if response.status == 200 and asked.complete and not ended:
            asked.failure = f"an answer without its end: {answer[-200:]!r}"
        asked.whole = response.status == 200 and ended and b'"error"' not in answer


def secret_of(key: str) -> str:
    return f"sk-{key}-0123456789abcdef"
