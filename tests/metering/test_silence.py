"""What a model has generated in silence until its client disconnected is estimated by the time that it had."""

import asyncio
from typing import Any

import pytest

from crplugins import MissingUsage, PluginMiddleware, Usage, UsageRecord
from crplugins.core.exchange import Attempt, Exchange, Timings
from crplugins.core.principal import Principal
from crplugins.core.usage import TokenUsage
from crplugins.metering.silence import FIRST_PATIENCE, MOST_TOKENS, PATIENCE, TOKENS_PER_SECOND, HiddenOutput
from crplugins.testing import Drive, FrozenClock

HEARD = b'data: {"choices":[{"index":0,"delta":{"content":" well"}}]}\n\n'
FIRST_COUNT = b'data: {"choices":[{"index":0,"delta":{"role":"assistant"}}],"usage":{"prompt_tokens":30,"completion_tokens":1}}\n\n'
ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}


async def left(*steps: float | bytes, plugin: MissingUsage | None = None, **body: Any) -> UsageRecord:
    """The record of a request whose client disconnects after these events and silences, in seconds."""
    clock, records = FrozenClock(), list[UsageRecord]()
    reached = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        begun = False
        for step in steps:
            if isinstance(step, bytes):
                if not begun:
                    begun = True
                    headers = [(b"content-type", b"text/event-stream")]
                    await send({"type": "http.response.start", "status": 200, "headers": headers})
                await send({"type": "http.response.body", "body": step, "more_body": True})
            else:
                clock.advance(step)
        reached.set()
        assert (await receive())["type"] == "http.disconnect"

    plugins = [Usage(sinks=[records.append]), plugin or MissingUsage()]
    async with Drive(PluginMiddleware(app, plugins=plugins, clock=clock), body={**ASK, **body}) as call:
        await reached.wait()
        call.disconnect()
        await call.finish()
    [record] = records
    assert (record.outcome, record.usage_source) == ("cancelled", "estimated")
    return record


def by_rate(seconds: float) -> int:
    return int(seconds * TOKENS_PER_SECOND)


@pytest.mark.parametrize("stream", [True, False])
async def test_thinking_before_anything_is_visible_is_not_free(stream: bool) -> None:
    record = await left(20.0, stream=stream)
    assert record.usage.output_tokens == by_rate(20 - FIRST_PATIENCE)
    assert record.usage.input_tokens > 4


async def test_neither_is_it_when_a_part_of_the_answer_has_come() -> None:
    record = await left(20.0, HEARD, HEARD)
    assert record.usage.output_tokens == by_rate(20 - FIRST_PATIENCE) + 2
    record = await left(0.5, HEARD, 15.0, HEARD, 25.0)
    assert record.usage.output_tokens == by_rate(15 - PATIENCE) + by_rate(25 - PATIENCE) + 2


async def test_the_usual_wait_for_a_first_token_is_no_thinking() -> None:
    assert (await left(0.9, HEARD, 0.3, HEARD, 3.0)).usage.output_tokens == 2
    assert (await left(0.9)).usage.output_tokens == 0


async def test_a_first_count_of_the_provider_is_kept_and_the_thinking_after_it_added() -> None:
    record = await left(FIRST_COUNT, 20.0)
    assert record.usage == TokenUsage(30, 1 + by_rate(20 - FIRST_PATIENCE))


async def test_what_the_provider_has_counted_is_not_counted_again() -> None:
    counted = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}],"usage":{"prompt_tokens":30,"completion_tokens":900}}\n\n'
    record = await left(20.0, counted, 2.0, HEARD)
    assert record.usage == TokenUsage(30, 901)


@pytest.mark.parametrize(
    ("bound", "most"), [({"max_tokens": 300}, 300), ({"max_completion_tokens": 300, "n": 2}, 600), ({}, MOST_TOKENS)]
)
async def test_it_never_passes_the_clients_own_limit_or_the_ceiling(bound: dict[str, int], most: int) -> None:
    assert (await left(3600.0, **bound)).usage.output_tokens == most


async def test_with_missing_usage_free_it_is_free() -> None:
    clock, records = FrozenClock(), list[UsageRecord]()
    reached = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        clock.advance(20)
        reached.set()
        await receive()

    plugins = [Usage(sinks=[records.append]), MissingUsage("free")]
    async with Drive(PluginMiddleware(app, plugins=plugins, clock=clock), body=ASK) as call:
        await reached.wait()
        call.disconnect()
        await call.finish()
    assert (records[0].usage, records[0].usage_source) == (TokenUsage(), "none")


def over(
    seconds: float, output: int | None, *, outcome: Any = "ok", model: str = "m", key: str | None = None
) -> Exchange:
    """A streamed answer that was silent for so long, and had so many tokens by its provider's count."""
    timings = Timings(0.0, app=0.0, first_token=seconds, last_token=seconds, ended=seconds)
    exchange = Exchange(
        id="e", method="POST", path="/", headers=[], client=None, clock=lambda: seconds, timings=timings, stream=True
    )
    exchange.served_model, exchange.attempts = model, [Attempt("p", "initial", 0.0)]
    exchange.principal = None if key is None else Principal(key)
    if output is not None:
        exchange.counted(TokenUsage(10, output), "provider")
    exchange.outcome = outcome
    return exchange


def given_up(seconds: float, model: str = "m", key: str | None = None) -> Exchange:
    exchange = over(seconds, None, outcome="cancelled", model=model, key=key)
    exchange.timings.first_token = exchange.timings.last_token = None
    return exchange


def test_a_model_that_hides_nothing_is_known_after_a_few_long_waits() -> None:
    hidden = HiddenOutput()
    before = hidden.tokens(given_up(21.0), None)
    for _ in range(5):
        hidden.learn(over(21.0, 3))
    assert before == by_rate(20)
    assert hidden.tokens(given_up(21.0), None) < before / 10
    assert hidden.tokens(given_up(21.0, "another"), None) == before


def test_what_one_key_has_waited_for_says_nothing_of_anothers_answers() -> None:
    hidden = HiddenOutput()
    for _ in range(50):
        hidden.learn(over(21.0, 0, key="a"))
    assert hidden.tokens(given_up(21.0, key="a"), None) < 10
    assert hidden.tokens(given_up(21.0, key="b"), None) == by_rate(20)


def test_the_rate_of_a_model_is_that_of_its_finished_answers() -> None:
    hidden = HiddenOutput()
    for _ in range(20):
        hidden.learn(over(21.0, 20 * 120))
    assert hidden.tokens(given_up(11.0), None) == pytest.approx(1200, rel=0.02)


def test_an_answer_that_came_to_its_end_hides_nothing_more() -> None:
    hidden = HiddenOutput()
    assert hidden.tokens(over(60.0, 5), None) == 0
    assert hidden.tokens(over(60.0, None), None) == 0


async def test_the_time_of_a_provider_that_failed_before_is_not_counted() -> None:
    exchange = given_up(60.0)
    exchange.attempts = [Attempt("a", "initial", 0.0, 50.0, "upstream_5xx"), Attempt("b", "fallback", 50.0)]
    assert HiddenOutput().tokens(exchange, None) == by_rate(10 - FIRST_PATIENCE)
