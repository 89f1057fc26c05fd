"""What a deployment may use: taken where a request is sent on, settled when it is over."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.asgi.scope import find_exchange
from crplugins.core.errors import GatewayError
from crplugins.core.principal import Limits
from crplugins.metering.growth import PIECE_TOKENS
from crplugins.plugins.rate_limits.deployments import DeploymentQuotas
from crplugins.testing import drive, lifespan
from tests.core.doubles import DONE, STOP, piece, start
from tests.plugins.limits_endings import ENDINGS, Ending, end
from tests.plugins.limits_setup import HI, PROMPT, Ground, using


class Sent:
    """Sends a request on to an app, if its quota lets it, as a handler does. `waits` is what it was told."""

    def __init__(self, app: Any, ground: Ground, **limits: int) -> None:
        self.plugin = DeploymentQuotas(store=ground.reservations)
        self.quota = self.plugin.quota("account", Limits(**limits))
        self.app: Callable[..., Awaitable[None]] = app
        self.waits: list[int | None] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            exchange = find_exchange(scope)
            assert exchange is not None
            self.waits.append(await self.quota.take(exchange))
            exchange.begin_attempt("openai")
        await self.app(scope, receive, send)

    async def ask(self, tokens: int) -> int | None:
        stack = PluginMiddleware(self, plugins=[self.plugin])
        async with lifespan(stack):
            await drive(stack, body={"model": "m", "messages": HI, "max_tokens": tokens - PROMPT})
        return self.waits[-1]


async def test_what_an_answer_took_beyond_its_estimate_keeps_the_deployment_out_for_two_minutes_at_most() -> None:
    ground = Ground()
    sent = Sent(using(30_000, 4_000), ground, tokens_per_minute=1000)
    assert await sent.ask(100) is None
    wait = await sent.ask(100)
    assert wait is not None
    assert 60_000 < wait <= 66_000, "twice the amount is used, and a tenth of it must be free"
    ground.clock.advance(66)
    assert await sent.ask(100) is None


WORD = b'data: {"choices":[{"index":0,"delta":{"content":"word"}}]}\n\n'


class Words:
    """Streams a token with each chunk, and after the last looks what is held."""

    def __init__(self, sent: int, look: Callable[[], Awaitable[None]]) -> None:
        self.sent, self.look = sent, look

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        await send(start())
        for _ in range(self.sent):
            await send(piece(WORD))
        await self.look()
        await send({"type": "http.response.body", "body": STOP + DONE})


async def test_a_stream_that_grows_holds_more_of_the_quota_of_the_deployment_that_answers() -> None:
    ground = Ground()
    held = []

    async def look() -> None:
        limits = [each.limit for each in sent.quota.applied().all]
        held.append((await ground.reservations.levels(limits))[0].used)

    sent = Sent(Words(600, look), ground, tokens_per_minute=10_000)
    plugin = sent.plugin

    async def twice(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":  # a deployment that has failed before
            exchange = find_exchange(scope)
            assert exchange is not None
            failed = plugin.quota("another", Limits(tokens_per_minute=10_000))
            assert await failed.take(exchange) is None
            failed.failed(exchange, GatewayError(500, "no"))
        await sent(scope, receive, send)

    async with lifespan(stack := PluginMiddleware(twice, plugins=[plugin])):
        await drive(stack, body={"model": "m", "messages": HI, "max_tokens": 10, "stream": True})
    assert 600 <= held[0] <= 600 + PROMPT + PIECE_TOKENS
    assert not ground.store.held
    assert not ground.reservations._adjusted


async def test_deployments_of_one_account_take_of_one_quota() -> None:
    ground = Ground()
    one, other = Sent(using(3, 4), ground, requests_per_minute=1), Sent(using(3, 4), ground, requests_per_minute=1)
    assert (await one.ask(20), await other.ask(20)) == (None, 60_000)


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.name)
async def test_nothing_is_held_when_a_request_is_over_however_it_ended(ending: Ending) -> None:
    ground = Ground()
    sent = Sent(ending.app, ground, max_parallel_requests=1, requests_per_day=100)
    ending = Ending(ending.name, sent, ending.took, ending.inner, ending.client)
    await end(ending, [sent.plugin])
    assert not ground.store.held
