"""Outages under a steady load: who is asked in vain how often, and how soon a deployment that is back is asked again.

With LONG_TESTS=1 an outage lasts 12 s, of each kind and at each rate; without it some last a fraction of that.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import pytest

from crplugins.homes.gateway.app import Gateway
from crplugins.testing import FakeProvider, Script
from tests.conftest import serving
from tests.integration.metering_setup import HELLO, PATH
from tests.long import LONG, times

KEY: Final = "sk-outage-0123456789abcdef"
OUTAGE: Final = times(3, 12)
BACK_WITHIN: Final = 5.0
DOWN: Final[Mapping[str, Script]] = {
    "503": Script.error(503, "The engine is overloaded.", "server_error"),
    "429": Script.rate_limited(None),
    "429-with-a-second": Script.rate_limited(1),
    "reset": Script(refuse_connection=True),
    "silent": Script(delay=60),
}

pytestmark = pytest.mark.slow


@dataclass
class Load:
    """Requests at a rate, however long the answers take; every other one streams."""

    url: str
    session: aiohttp.ClientSession
    statuses: list[int] = field(default_factory=list)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def run(self, rate: float, seconds: float) -> int:
        """How many were sent. Does not wait for the last answers."""
        begun, number = time.monotonic(), 0
        while number < rate * seconds:
            await asyncio.sleep(max(begun + number / rate - time.monotonic(), 0))
            self._tasks.append(asyncio.create_task(self._ask(stream=number % 2 == 0)))
            number += 1
        return number

    async def over(self) -> None:
        async with asyncio.timeout(60):
            await asyncio.gather(*self._tasks)
        self._tasks.clear()

    async def _ask(self, *, stream: bool) -> None:
        body = {"model": "m", "messages": HELLO, "stream": stream}
        async with self.session.post(self.url + PATH, json=body, headers={"authorization": f"Bearer {KEY}"}) as answer:
            text = await answer.read()
        self.statuses.append(answer.status if b'"error"' not in text else max(answer.status, 500))


@asynccontextmanager
async def under_load(*settings: Mapping[str, Any], **words: Any) -> AsyncIterator[tuple[Load, Sequence[FakeProvider]]]:
    """A gateway with a deployment for each of these settings, and the provider of each."""
    async with AsyncExitStack() as stack:
        providers = [await stack.enter_async_context(FakeProvider(keep_requests=100_000)) for _ in settings]
        models = [
            {
                "model_name": "m",
                "handler": "direct",
                "litellm_params": {"model": f"openai/m-{number}", "api_base": provider.base_url, "api_key": "sk-up"},
                **own,
            }
            for number, (provider, own) in enumerate(zip(providers, settings, strict=True))
        ]
        app = Gateway(model_list=models, keys=[{"id": "k", "secret": KEY}], **words)
        url = await stack.enter_async_context(serving(app))
        connector = aiohttp.TCPConnector(limit=0)
        yield Load(url, await stack.enter_async_context(aiohttp.ClientSession(connector=connector))), providers


FLAPPING: Final = [
    (orders, down, rate)
    for orders in ((1, 2), (None, None))
    for down in ("503", "reset", "silent")
    for rate in (2, 20)
    if LONG or (orders, down, rate) in [((1, 2), "503", 20), ((None, None), "silent", 20)]
]
OUTAGES: Final = [
    (deployments, dead, down)
    for deployments, dead in ((1, 1), (2, 1), (2, 2))
    for down in DOWN
    if LONG or (deployments, dead, down) in [(1, 1, "503"), (2, 2, "reset")]
]


@pytest.mark.parametrize(("orders", "down", "rate"), FLAPPING)
async def test_a_deployment_that_is_down_is_asked_seldom_and_soon_asked_when_it_is_back(
    orders: tuple[int | None, int | None], down: str, rate: int
) -> None:
    settings = [{"first_token_timeout": 0.5, **({"order": order} if order else {})} for order in orders]
    async with under_load(*settings) as (load, (primary, _)):
        await load.run(max(rate, 10), 0.5)
        await load.over()
        assert primary.received
        before, primary.default = primary.received, DOWN[down]
        sent = await load.run(rate, OUTAGE)
        await load.over()
        in_vain = primary.received - before
        assert set(load.statuses) == {200}
        assert in_vain / sent <= 0.4, f"{in_vain} attempts at the dead one for {sent} requests"
        primary.default, back, during = Script(), time.monotonic(), primary.received
        while primary.received < during + 2 and time.monotonic() < back + BACK_WITHIN + 1:
            await load.run(10, 0.2)
        waited = time.monotonic() - back
        await load.over()
        print(f"{down} at {rate}/s: {in_vain} attempts for {sent} requests, back after {waited:.2f} s")
        assert waited <= BACK_WITHIN
        assert set(load.statuses) == {200}


@pytest.mark.parametrize(("deployments", "dead", "down"), OUTAGES)
async def test_an_outage_under_load_is_not_multiplied(deployments: int, dead: int, down: str) -> None:
    settings = [{"first_token_timeout": 0.5}] * deployments
    async with under_load(*settings) as (load, providers):
        await load.run(200, times(1, 5))
        await load.over()
        before = sum(provider.received for provider in providers)
        load.statuses.clear()
        for provider in providers[:dead]:
            provider.default = DOWN[down]
        sent = await load.run(200, OUTAGE)
        await load.over()
        calls = sum(provider.received for provider in providers) - before
        print(f"{down}, {dead} of {deployments} down: {calls} calls for {sent} requests, {calls / sent:.3f}")
        assert calls / sent <= 1.1
        if dead < deployments:
            assert set(load.statuses) == {200}
