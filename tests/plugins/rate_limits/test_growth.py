"""A stream that grows beyond what was reserved for it: it reserves more while it runs, so that no others use it meanwhile."""

from collections.abc import Callable
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from crplugins.core.plugin import Plugin
from crplugins.core.principal import Budget, Limits
from crplugins.core.usage import Price
from crplugins.metering.growth import PIECE_TOKENS
from crplugins.plugins.budgets.plugin import Budgets
from crplugins.plugins.rate_limits.plugin import RateLimits
from tests.core.doubles import JSON, App
from tests.plugins.limits_setup import PROMPT, Caller, Ground, ask

ANSWER = 1_400
RESERVED = 500
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
WORD = b'data: {"choices":[{"index":0,"delta":{"content":"word"}}]}\n\n'
LAST = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":%d}}\n\ndata: [DONE]\n\n' % ANSWER


class Talkative:
    """Streams a token with each chunk, and after each calls `look`."""

    def __init__(self, look: Callable[[int], Any]) -> None:
        self._look = look

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        await receive()
        await send(START)
        for said in range(1, ANSWER + 1):
            await send({"type": "http.response.body", "body": WORD, "more_body": True})
            await self._look(said)
        await send({"type": "http.response.body", "body": LAST + USAGE})


@pytest.mark.parametrize("limit", ["tokens_per_minute", "output_tokens_per_minute"])
async def test_at_any_time_of_a_long_stream_what_it_has_said_is_reserved_and_a_piece_more_at_most(limit: str) -> None:
    ground, caller = Ground(), Caller(limits=Limits(**{limit: 100_000}))
    plugin = RateLimits(store=ground.reservations, estimated_output_tokens=RESERVED)
    prompt = PROMPT if limit == "tokens_per_minute" else 0
    seen = []

    async def look(said: int) -> None:
        assert caller.principal is not None
        [level] = await plugin.levels_of(caller.principal)
        assert max(RESERVED, said) <= level.used - prompt <= max(RESERVED, said + PIECE_TOKENS)
        seen.append(level.used)

    assert (await ask(Talkative(look), [caller, plugin], stream=True)).status == 200
    assert len(set(seen)) == -(-(ANSWER - RESERVED) // PIECE_TOKENS) + 1
    assert caller.principal is not None
    [level] = await plugin.levels_of(caller.principal)
    assert level.used == prompt + ANSWER  # and the provider's count in the end


async def test_what_a_running_stream_has_said_is_not_there_for_others() -> None:
    ground, caller = Ground(), Caller(limits=Limits(tokens_per_minute=1_000))
    plugins: list[Plugin] = [caller, RateLimits(store=ground.reservations, estimated_output_tokens=RESERVED)]
    statuses = []

    async def look(said: int) -> None:
        if said in (RESERVED - 10, 800):
            statuses.append((await ask(App(), plugins, max_tokens=200)).status)

    await ask(Talkative(look), plugins, stream=True)
    assert statuses == [200, 429]


async def test_a_budget_is_reserved_as_a_stream_grows() -> None:
    ground, caller = Ground(), Caller(budget=Budget(1_000_000, "month"))
    price = Price(input=1_000_000, output=2_000_000)  # 1 and 2 micro-USD a token
    plugin = Budgets(prices=lambda _: price, store=ground.reservations, estimated_output_tokens=RESERVED)

    async def look(said: int) -> None:
        assert caller.principal is not None
        [state] = await plugin.states_of(caller.principal)
        output = (state.spent - PROMPT) / 2
        assert max(RESERVED, said) <= output <= max(RESERVED, said + PIECE_TOKENS)

    await ask(Talkative(look), [caller, plugin], stream=True)
    assert caller.principal is not None
    [state] = await plugin.states_of(caller.principal)
    assert state.spent == PROMPT + 2 * ANSWER


async def test_a_whole_answer_is_settled_and_nothing_is_reserved_for_it_before() -> None:
    ground = Ground()
    adjusted = []
    ground.store.adjust_now = lambda *arguments, **options: adjusted.append(arguments)  # type: ignore[method-assign,assignment]
    text = "word " * ANSWER
    document = f'{{"choices":[{{"index":0,"message":{{"content":"{text}"}},"finish_reason":"stop"}}]}}'
    caller = Caller(limits=Limits(tokens_per_minute=100_000))
    plugin = RateLimits(store=ground.reservations, estimated_output_tokens=RESERVED)
    await ask(App(document.encode(), content_type=JSON), [caller, plugin])
    assert adjusted == []
