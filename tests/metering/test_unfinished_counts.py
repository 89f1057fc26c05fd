"""Counts that a provider had not finished when the answer ended."""

import json
from typing import Any

import pytest

from crplugins import Exchange, MissingUsage, Plugin, PluginMiddleware, RateLimits, Usage, UsageRecord
from crplugins.core.principal import Limits, Principal
from crplugins.testing import Drive, lifespan

REQUEST = {"model": "m", "messages": [{"role": "user", "content": "Tell me a long story, please."}], "stream": True}
STREAM = [(b"content-type", b"text/event-stream")]


def event(text: str = "", usage: dict[str, int] | None = None, finish: str | None = None) -> bytes:
    choices: list[Any] = [{"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}]
    chunk = {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": choices, "usage": usage}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def app_of(events: list[bytes], *, stays: bool = False) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"  # it has no lifespan
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": STREAM})
        for one in events:
            await send({"type": "http.response.body", "body": one, "more_body": True})
        while stays and (await receive())["type"] != "http.disconnect":
            pass
        if not stays:
            await send({"type": "http.response.body", "body": b""})

    return app


async def record_of(events: list[bytes], *, leaves: bool = False, policy: Any = "estimate") -> UsageRecord:
    records: list[UsageRecord] = []
    plugins = [Usage(sinks=[records.append]), MissingUsage(policy)]
    async with Drive(PluginMiddleware(app_of(events, stays=leaves), plugins=plugins), body=REQUEST) as call:
        for _ in range(len(events) if leaves else 0):
            await call.next_body()
        if leaves:
            call.disconnect()
        await call.finish() if not leaves else await call.task
    [record] = records
    return record


WORDS = [event("word ") for _ in range(80)]
"""A token in each."""


async def test_the_prompts_count_at_the_start_is_kept_and_the_output_estimated() -> None:
    first = event(usage={"prompt_tokens": 20, "completion_tokens": 0, "total_tokens": 20})
    record = await record_of([first, *WORDS, event(finish="stop"), b"data: [DONE]\n\n"])
    assert (record.usage.input_tokens, record.usage.output_tokens, record.usage_source) == (20, 80, "estimated")


async def test_an_early_count_of_the_output_is_not_the_last_one_when_the_client_disconnects() -> None:
    first = event(usage={"prompt_tokens": 20, "completion_tokens": 1, "total_tokens": 21})
    record = await record_of([first, *WORDS], leaves=True)
    assert record.outcome == "cancelled"
    assert (record.usage.input_tokens, record.usage.output_tokens, record.usage_source) == (20, 81, "estimated")


async def test_the_same_when_the_stream_is_cut() -> None:
    first = event(usage={"prompt_tokens": 20, "completion_tokens": 1, "total_tokens": 21})
    record = await record_of([first, *WORDS])
    assert record.outcome == "server_error"
    assert (record.usage.input_tokens, record.usage.output_tokens, record.usage_source) == (20, 81, "estimated")


async def test_a_count_behind_the_last_word_is_the_providers_though_the_client_disconnects() -> None:
    last = event(usage={"prompt_tokens": 20, "completion_tokens": 77, "total_tokens": 97}, finish="stop")
    record = await record_of([*WORDS, last], leaves=True)
    assert (record.usage.input_tokens, record.usage.output_tokens, record.usage_source) == (20, 77, "provider")


async def test_an_early_count_of_a_whole_answer_is_left_alone() -> None:
    first = event(usage={"prompt_tokens": 20, "completion_tokens": 95, "total_tokens": 115})
    record = await record_of([first, *WORDS, event(finish="stop"), b"data: [DONE]\n\n"])
    assert (record.usage.output_tokens, record.usage_source) == (95, "provider")


@pytest.mark.parametrize(("policy", "expected"), [("estimate", (19, 9, "estimated")), ("free", (0, 9, "provider"))])
async def test_a_prompt_that_nobody_has_counted_is_estimated_unless_that_is_free(policy: str, expected: Any) -> None:
    last = event(usage={"prompt_tokens": -3, "completion_tokens": 9}, finish="stop")
    record = await record_of([*WORDS, last, b"data: [DONE]\n\n"], policy=policy)
    assert (record.usage.input_tokens, record.usage.output_tokens, record.usage_source) == expected


@pytest.mark.parametrize("leaves", [True, False])
async def test_what_a_provider_has_reported_is_not_free_though_the_rest_of_the_output_is(leaves: bool) -> None:
    first = event(usage={"prompt_tokens": 20, "completion_tokens": 1, "total_tokens": 21})
    record = await record_of([first, *WORDS], leaves=leaves, policy="free")
    assert (record.usage.input_tokens, record.usage.output_tokens, record.usage_source) == (20, 1, "provider")


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("first", [None, {"prompt_tokens": 20, "completion_tokens": 1, "total_tokens": 21}])
async def test_limits_without_missing_usage_charge_no_estimate_where_it_is_free(own: bool, first: Any) -> None:
    events = [event("A", first), *WORDS]
    limits = RateLimits(missing_usage="estimate" if own else "free")
    key = Key(Limits(tokens_per_day=1_000_000), "free" if own else None)
    app = PluginMiddleware(app_of(events, stays=True), plugins=[key, limits])
    async with lifespan(app):
        async with Drive(app, body=REQUEST) as call:
            for _ in range(40):
                await call.next_body()
            call.disconnect()
            await call.task
        [level] = await limits.levels_of(key.principal)
    assert level.used in ((0,) if first is None else range(15, 22))  # it drains


class Key(Plugin):
    def __init__(self, limits: Limits, missing_usage: Any) -> None:
        self.principal = Principal("k", limits=limits, missing_usage=missing_usage)

    async def on_request(self, exchange: Exchange) -> None:
        exchange.principal = self.principal
