"""UsageCallback: who really answered a call of litellm's SDK, and the streams that nobody reads to their end."""

import asyncio
import dataclasses
import gc
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import msgspec
import pytest

from crplugins.metering.listed_prices import installed_prices
from crplugins.metering.record import UsageRecord
from crplugins.testing import FakeProvider, Script
from tests.homes.anthropic_stream import ENDS, INPUT, OUTPUT, counted_at_the_start
from tests.homes.told_bills import BILLS, PRICES, Told, failed_after_counting, google, without_choices, wrong
from tests.proxy_provider import EveryEndpoint

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # no look-up in the network
litellm = pytest.importorskip("litellm")

from crplugins.homes import litellm_sdk_streams  # noqa: E402
from crplugins.homes.litellm_sdk import UsageCallback  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:::pydantic", "ignore:::litellm", "ignore:Pydantic serializer warnings"),
]

SOON = 0.4
"""Seconds after which a stream that nobody reads is given up; two by default, which would be waited for in each test."""

WORDS = "The quick brown fox jumps over the lazy dog again and again. " * 4


@pytest.fixture(scope="module", autouse=True)
def prices() -> None:
    """Read before a loop runs: a callback that is made in one reads them there, once in a process."""
    installed_prices()


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with EveryEndpoint() as running:
        yield running


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[UsageRecord]]:
    monkeypatch.setattr(litellm_sdk_streams, "SOON", SOON)
    found: list[UsageRecord] = []
    litellm.logging_callback_manager._reset_all_callbacks()
    litellm.callbacks = [UsageCallback(sinks=[found.append])]
    yield found
    litellm.logging_callback_manager._reset_all_callbacks()
    litellm.disable_cache()


def said(text: str) -> Any:
    return [{"role": "user", "content": text}]


def call(provider: FakeProvider, **more: Any) -> dict[str, Any]:
    target = {"api_base": provider.base_url, "api_key": "sk-upstream", "max_retries": 0}
    return {"model": "openai/fake-model", "messages": said("Hello."), **target, **more}


async def come(records: list[UsageRecord], count: int) -> None:
    for _ in range(200):
        if len(records) >= count:
            break
        gc.collect()  # an abandoned stream of `completion` is part of a cycle
        await asyncio.sleep(0.05)


async def settled(records: list[UsageRecord], count: int) -> list[UsageRecord]:
    """The records, once there are `count` and no further one comes in the time in which an abandoned stream would."""
    await come(records, count)
    await asyncio.sleep(SOON + 0.2)
    assert len(records) == count, records
    return records


async def read(stream: Any) -> None:
    async for _ in stream:
        pass


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("thread", [False, True])
async def test_an_answer_from_litellms_cache_costs_nothing_and_says_so(
    provider: FakeProvider, records: list[UsageRecord], stream: bool, thread: bool
) -> None:
    litellm.enable_cache(type="local")
    prices = {"input_cost_per_token": 1e-3, "output_cost_per_token": 2e-3}
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}

    def in_a_thread() -> None:
        answer = litellm.completion(**call(provider, **prices, **options))
        for _ in answer if stream else ():
            pass

    for count in (1, 2, 3):
        if thread:
            await asyncio.to_thread(in_a_thread)
        else:
            answer = await litellm.acompletion(**call(provider, **prices, **options))
            await (read(answer) if stream else asyncio.sleep(0))
        await come(records, count)
    paid, *cached = await settled(records, 3)
    assert provider.received == 1
    sent, got = provider.last_request.usage or (0, 0)
    assert (paid.usage_source, paid.cost_micro_usd, paid.attempts) == ("provider", 1000 * sent + 2000 * got, 1)
    for record in cached:
        assert (record.usage_source, record.cost_micro_usd, record.attempts) == ("cache", 0, 0)
        assert (record.usage.input_tokens, record.usage.output_tokens) == (sent, got)
        assert (record.outcome, record.served_model) == ("ok", "fake-model")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_routers_fallback_is_priced_as_what_served_it(
    provider: FakeProvider, records: list[UsageRecord], stream: bool
) -> None:
    provider.script("first", Script.error(500, "out of order"))
    target = {"api_base": provider.base_url, "api_key": "sk-upstream", "max_retries": 0}
    cheap, dear = [{"input_cost_per_token": rate, "output_cost_per_token": rate} for rate in (1e-6, 5e-5)]
    router = litellm.Router(
        model_list=[
            {"model_name": "cheap", "litellm_params": {"model": "openai/first", **target}, "model_info": cheap},
            {"model_name": "dear", "litellm_params": {"model": "hosted_vllm/second", **target}, "model_info": dear},
        ],
        fallbacks=[{"cheap": ["dear"]}],
        num_retries=0,
        disable_cooldowns=True,
    )
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    answer = await router.acompletion(model="cheap", messages=said("Hello."), **options)
    await (read(answer) if stream else asyncio.sleep(0))
    del answer
    failed, served = await settled(records, 2)
    assert (failed.outcome, failed.cost_micro_usd, failed.served_model) == ("server_error", 0, "first")
    assert (served.outcome, served.served_model, served.provider) == ("ok", "second", "hosted_vllm")
    assert (served.requested_model, failed.requested_model) == ("cheap", "cheap")
    assert served.usage_source == "provider"
    assert served.cost_micro_usd == 50 * sum(provider.last_request.usage or ())


@pytest.mark.parametrize("stream", [False, True])
async def test_a_fallback_of_the_call_itself_leaves_the_record_of_the_one_that_answered(
    provider: FakeProvider, records: list[UsageRecord], stream: bool
) -> None:
    provider.script("first", Script.error(500, "out of order"))
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    answer = await litellm.acompletion(
        **call(provider, model="openai/first", fallbacks=["hosted_vllm/second"], **options)
    )
    await (read(answer) if stream else asyncio.sleep(0))
    del answer
    failed, served = await settled(records, 2)
    assert (failed.outcome, failed.usage_source) == ("server_error", "none")
    assert (served.outcome, served.served_model, served.provider) == ("ok", "second", "hosted_vllm")
    assert (served.usage.input_tokens, served.usage.output_tokens) == provider.last_request.usage


async def _breaks(stream: Any) -> None:
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break


async def _closes(stream: Any) -> None:
    for _ in range(5):
        await anext(stream)
    await stream.aclose()
    _KEPT.append(stream)  # closed, and still there


async def _drops(stream: Any) -> None:
    for _ in range(5):
        await anext(stream)


async def _never_reads(stream: Any) -> None:
    del stream


async def _is_cancelled(stream: Any) -> None:
    reading = asyncio.create_task(read(stream))
    await asyncio.sleep(0.2)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


_KEPT: list[Any] = []


@pytest.mark.parametrize("leave", [_breaks, _closes, _drops, _never_reads, _is_cancelled])
async def test_a_stream_that_its_caller_abandons_leaves_one_record(
    provider: FakeProvider, records: list[UsageRecord], leave: Callable[[Any], Any]
) -> None:
    provider.enqueue(Script(text=WORDS, chunk_size=10, frame_delay=0.02))
    await leave(await litellm.acompletion(**call(provider, stream=True)))
    (record,) = await settled(records, 1)
    assert (record.status, record.outcome, record.error_type) == (200, "cancelled", "client_disconnected")
    assert (record.stream, record.usage_source) == (True, "estimated")
    assert record.usage.input_tokens > 0
    if leave is not _never_reads:  # then all that the provider may have generated is hidden
        assert 0 < record.usage.output_tokens < len(WORDS) / 4
    _KEPT.clear()


async def test_a_stream_that_is_read_in_a_thread_and_abandoned_leaves_one_record(
    provider: FakeProvider, records: list[UsageRecord]
) -> None:
    provider.enqueue(Script(text=WORDS, chunk_size=10, frame_delay=0.02))

    def leave() -> None:
        for count, _ in enumerate(litellm.completion(**call(provider, stream=True))):
            if count == 3:
                break

    await asyncio.to_thread(leave)
    (record,) = await settled(records, 1)
    assert (record.outcome, record.usage_source) == ("cancelled", "estimated")
    assert 0 < record.usage.output_tokens < 20


async def test_a_stream_of_a_router_that_is_abandoned_leaves_one_record(
    provider: FakeProvider, records: list[UsageRecord]
) -> None:
    provider.enqueue(Script(text=WORDS, chunk_size=10, frame_delay=0.02))
    target = {"api_base": provider.base_url, "api_key": "sk-upstream", "max_retries": 0}
    router = litellm.Router(
        model_list=[{"model_name": "group", "litellm_params": {"model": "openai/inner", **target}}], num_retries=0
    )
    stream = await router.acompletion(model="group", messages=said("Hello."), stream=True)
    for _ in range(5):
        await anext(stream)
    del stream
    (record,) = await settled(records, 1)
    assert (record.requested_model, record.served_model, record.outcome) == ("group", "inner", "cancelled")
    assert 5 <= record.usage.output_tokens < 30


async def test_a_caller_that_stops_at_the_finish_reason_has_the_whole_answer(
    provider: FakeProvider, records: list[UsageRecord]
) -> None:
    stream = await litellm.acompletion(**call(provider, stream=True))
    async for chunk in stream:
        if chunk.choices[0].finish_reason is not None:
            break
    del stream
    (record,) = await settled(records, 1)
    assert (record.outcome, record.finish_reason, record.usage_source) == ("ok", "stop", "estimated")


async def test_what_the_provider_had_told_before_is_kept(provider: FakeProvider, records: list[UsageRecord]) -> None:
    def chunk(text: str, **more: Any) -> bytes:
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
        return b"data: " + _json({"id": "c", "object": "chat.completion.chunk", "choices": [choice], **more}) + b"\n\n"

    first = chunk("Once", usage={"prompt_tokens": 4321, "completion_tokens": 1, "total_tokens": 4322})
    provider.enqueue(Script(events=[first, *[chunk(" upon a time")] * 40], frame_delay=0.01))
    stream = await litellm.acompletion(**call(provider, stream=True, stream_options={"include_usage": True}))
    for _ in range(21):
        await anext(stream)
    del stream
    (record,) = await settled(records, 1)
    assert (record.usage.input_tokens, record.usage_source) == (4321, "estimated")
    assert 50 <= record.usage.output_tokens <= 80


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_the_input_that_a_stream_counts_at_its_start_holds(
    provider: FakeProvider, records: list[UsageRecord], end: dict[str, Any]
) -> None:
    provider.enqueue(counted_at_the_start(end))
    base = provider.base_url.removesuffix("/v1")
    asked = call(provider, model="anthropic/m-claude", api_base=base, stream=True)
    async for _ in await litellm.acompletion(**asked, stream_options={"include_usage": True}):
        pass
    [record] = await settled(records, 1)
    assert (record.usage.input_tokens, record.usage.cached_input_tokens) == (INPUT, 7)
    assert (record.usage.output_tokens, record.usage_source) == (OUTPUT, "provider")


async def test_of_two_whole_counts_of_a_stream_the_last_holds(
    provider: FakeProvider, records: list[UsageRecord]
) -> None:
    def chunk(prompt: int, output: int, reason: str | None) -> bytes:
        usage = {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}
        choice = {"index": 0, "delta": {"content": "Hello"}, "finish_reason": reason}
        fields = {"id": "c", "object": "chat.completion.chunk", "choices": [choice], "usage": usage}
        return b"data: " + _json(fields) + b"\n\n"

    provider.enqueue(Script(events=[chunk(32, 1, None), chunk(20, 2, "stop"), b"data: [DONE]\n\n"]))
    async for _ in await litellm.acompletion(**call(provider, stream=True, stream_options={"include_usage": True})):
        pass
    [record] = await settled(records, 1)
    assert (record.usage.input_tokens, record.usage.output_tokens, record.usage_source) == (20, 2, "provider")


@pytest.mark.parametrize("dropped", [False, True])
async def test_streams_still_open_or_just_dropped_are_recorded_when_the_callback_closes(
    provider: FakeProvider, dropped: bool
) -> None:
    """The thread that tells of a dropped one has taken it by then, and waits whether litellm reports it."""
    found: list[UsageRecord] = []
    litellm.logging_callback_manager._reset_all_callbacks()
    async with UsageCallback(sinks=[found.append]) as callback:
        litellm.callbacks = [callback]
        provider.enqueue(Script(text=WORDS, chunk_size=10, frame_delay=0.02))
        stream = await litellm.acompletion(**call(provider, stream=True))
        await anext(stream)
        if dropped:
            await stream.aclose()
            await asyncio.sleep(0.1)
    assert [record.outcome for record in found] == ["cancelled"]
    litellm.logging_callback_manager._reset_all_callbacks()
    await stream.aclose()


async def test_a_callback_that_closes_waits_for_the_stream_that_is_being_told_of(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litellm_sdk_streams, "SOON", 0.0)
    told, goes_on, found = threading.Event(), threading.Event(), []

    def sink(record: UsageRecord) -> None:
        told.set()
        goes_on.wait(30)
        found.append(record)

    litellm.logging_callback_manager._reset_all_callbacks()
    callback = UsageCallback(sinks=[sink])
    async with callback:
        litellm.callbacks = [callback]
        provider.enqueue(Script(text=WORDS, chunk_size=10, frame_delay=0.02))
        stream = await litellm.acompletion(**call(provider, stream=True))
        await anext(stream)
        await stream.aclose()
        await asyncio.to_thread(told.wait, 30)
        asyncio.get_running_loop().call_later(0.1, goes_on.set)
    litellm.logging_callback_manager._reset_all_callbacks()
    assert [record.outcome for record in found] == ["cancelled"]


async def test_a_broken_stream_that_litellm_reports_late_leaves_one_record(
    provider: FakeProvider, records: list[UsageRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litellm_sdk_streams, "SOON", 0.0)
    provider.enqueue(Script(text=WORDS, chunk_size=10, cut_after=3))
    stream = await litellm.acompletion(**call(provider, stream=True))
    with pytest.raises(Exception, match="Stream ended before"):
        async for _ in stream:
            pass
    del stream
    gc.collect()
    deadline = time.monotonic() + 30
    while not records and time.monotonic() < deadline:
        time.sleep(0.02)  # noqa: ASYNC251  # the loop in which litellm's report waits is to have no turn
    await settled(records, 1)


async def test_streams_that_litellm_was_told_not_to_log_leave_none(
    provider: FakeProvider, records: list[UsageRecord]
) -> None:
    await _breaks(await litellm.acompletion(**call(provider, stream=True, **{"no-log": True})))
    gc.collect()
    await settled(records, 0)


def _json(value: Any) -> bytes:
    import json

    return json.dumps(value).encode()


async def test_counts_inside_the_choice_of_a_whole_answer_are_the_providers(provider, records):
    counts = {"prompt_tokens": 30, "completion_tokens": 7, "total_tokens": 37}
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
    head = {"id": "c-1", "object": "chat.completion", "created": 1, "model": "m-2031-05-06"}
    provider.enqueue(Script(body={**head, "choices": [{**choice, "usage": counts}]}))
    await litellm.acompletion(**call(provider))
    [record] = await settled(records, 1)
    assert (record.usage.input_tokens, record.usage.output_tokens, record.usage_source) == (30, 7, "provider")


def told_by(provider: FakeProvider, model: str, script: Script, **more: Any) -> dict[str, Any]:
    """A call that this script answers."""
    provider.script(model.partition("/")[2], script)
    base = provider.base_url if model.startswith("openai/") else provider.base_url.removesuffix("/v1")
    return call(provider, model=model, api_base=base, **PRICES, **more)


async def recorded(records: list[UsageRecord]) -> dict[str, Any]:
    [record] = await settled(records, 1)
    return {**msgspec.structs.asdict(record), "usage": msgspec.structs.asdict(record.usage)}


@pytest.mark.parametrize("told", BILLS.values(), ids=BILLS)
async def test_what_a_provider_tells_of_its_bill_is_recorded_of_a_stream(
    provider: FakeProvider, records: list[UsageRecord], told: Told
) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    await read(await litellm.acompletion(**told_by(provider, told.model, told.script, **options)))
    assert wrong(told, await recorded(records)) == {}


async def test_the_tier_of_a_stream_that_its_caller_abandons_is_kept(
    provider: FakeProvider, records: list[UsageRecord]
) -> None:
    script = dataclasses.replace(BILLS["a tier beside counts"].script, frame_delay=0.05)
    await _breaks(await litellm.acompletion(**told_by(provider, "openai/m-told", script, stream=True)))
    (record,) = await settled(records, 1)
    assert (record.outcome, record.service_tier) == ("cancelled", "flex")


async def test_the_traffic_of_a_whole_answer_of_googles_is_its_tier(
    provider: FakeProvider, records: list[UsageRecord]
) -> None:
    await litellm.acompletion(**told_by(provider, "gemini/m-google", Script(body=google("ON_DEMAND_PRIORITY"))))
    (record,) = await settled(records, 1)
    assert (record.service_tier, record.provider_model) == ("ON_DEMAND_PRIORITY", "gemini-9-001")


async def test_a_success_without_a_choice_is_recorded_as_broken(
    provider: FakeProvider, records: list[UsageRecord]
) -> None:
    await litellm.acompletion(**told_by(provider, "openai/m-told", without_choices()))
    (record,) = await settled(records, 1)
    assert (record.outcome, record.error_type) == ("server_error", "upstream_stream_broken")
    assert (record.usage_source, record.cost_micro_usd) == ("none", 0)


async def test_what_a_stream_counts_before_it_fails_without_a_word_is_recorded(
    provider: FakeProvider, records: list[UsageRecord]
) -> None:
    asked = told_by(provider, "anthropic/m-claude", failed_after_counting(), stream=True)
    with pytest.raises(litellm.exceptions.MidStreamFallbackError):
        await read(await litellm.acompletion(**asked))
    (record,) = await settled(records, 1)
    assert (record.outcome, record.usage_source) == ("server_error", "provider")
    assert (record.usage.input_tokens, record.usage.cached_input_tokens) == (INPUT, 7)
