"""Streams through litellm: recordings of real providers, whole, cut, broken and left alone."""

import asyncio
from typing import Any

import msgspec
import pytest

from crplugins.core.errors import GatewayError
from crplugins.core.wire import read_answer
from crplugins.testing import Cassette, FakeProvider, Script
from crplugins.testing.script import split_frames
from tests.litellm_setup import ASKING, PREFIXES, asking

STREAMS = [
    "anthropic-cache-ping", "azure-filter-first-chunk", "crusoe-vllm-text", "deepseek-reasoner", "groq-midstream-error",
    "groq-text-xgroq-usage", "groq-tool-ok", "hf-novita-text", "mistral-magistral-array", "mistral-text-usage",
    "openai-gpt41-agno-text", "openai-gpt5-moderation", "openai-length", "openai-logprobs", "openai-n3",
    "openai-nousage-tools", "openai-parallel-tools", "openai-refusal", "openai-text-usage", "openai-tool-call",
    "openrouter-cache-usage", "openrouter-midstream-error", "snowflake-text",
]  # fmt: skip
PROVIDERS = ["openai/fake-model", "hosted_vllm/fake-model", "groq/fake-model", "databricks/fake-model",
             "anthropic/replay-anthropic-cache-ping"]  # fmt: skip
ENDS = ["end_turn"]  # in a recording's finish reasons; litellm knows it as "stop"


def models_of(cassette: Cassette) -> list[str]:
    """Under the provider's own name for litellm, and under the two names any compatible upstream may be given."""
    own = PREFIXES.get(cassette.info.provider, "openai")
    names = [own] if own == "anthropic" else dict.fromkeys([own, "openai", "hosted_vllm"])
    return [f"{name}/replay-{cassette.id}" for name in names]


def test_all_streams_are_here(cassettes):
    assert sorted(STREAMS) == sorted(c.id for c in cassettes.values() if c.is_stream)


@pytest.mark.parametrize("id", STREAMS)
async def test_a_recording_says_the_same_through_litellm(cassettes, id):
    expect = cassettes[id].expect
    async with FakeProvider(cassettes=cassettes) as provider:
        for model in models_of(cassettes[id]):
            async with asking(provider, model) as asked:
                told = await asked.stream(n=expect.choices, **ASKING)
            indexes = range(expect.choices or 1)
            assert tuple(len(told.said("content", i)) for i in indexes) == expect.text_len, model
            assert tuple(len(told.said("reasoning_content", i)) for i in indexes) == expect.reasoning_len, model
            assert tuple(len(told.said("refusal", i)) for i in indexes) == expect.refusal_len, model
            assert told.tool_calls() == [tuple(c.values()) for c in expect.tool_calls], model
            assert (told.error is not None) == (expect.error is not None), model
            assert told.done == (expect.error is None), model
            if told.done:
                reasons = [r for i in indexes for r in told.finish_reasons(i)]
                expected = ["stop" if r in ENDS else r for r in expect.finish_reasons]
                assert reasons == (expected or ["stop"]), model  # Snowflake sends none, clients want one


@pytest.mark.parametrize("id", STREAMS)
@pytest.mark.parametrize("asks", [True, False])
async def test_usage_is_the_providers_or_none_and_shown_once_to_who_asked(cassettes, id, asks):
    metering = cassettes[id].metering
    async with FakeProvider(cassettes=cassettes) as provider:
        for model in models_of(cassettes[id]):
            async with asking(provider, model) as asked:
                told = await asked.stream(**(ASKING if asks else {}))
                usage = asked.exchange.usage
                assert (asked.exchange.usage_source == "provider") == (metering.source == "provider"), model
                if metering.source == "provider":
                    counts = (usage.input_tokens, usage.output_tokens)
                    assert counts == (metering.prompt_tokens, metering.completion_tokens), model
                    if metering.cached_tokens:
                        assert usage.cached_input_tokens == metering.cached_tokens
                shown = told.usages()
                assert len(shown) == (asks and told.done and metering.source == "provider"), model
                for one in shown:
                    assert (one["prompt_tokens"], one["completion_tokens"]) == counts
                    assert told.chunks[-1]["choices"] == []
                assert all(("usage" in chunk) == asks for chunk in told.chunks), model


@pytest.mark.parametrize("id", STREAMS)
async def test_every_chunk_has_openais_keys_one_head_and_one_role(cassettes, id):
    async with FakeProvider(cassettes=cassettes) as provider:
        for model in models_of(cassettes[id]):
            async with asking(provider, model) as asked:
                told = await asked.stream()
            assert len({(c["id"], c["created"], c["model"]) for c in told.chunks}) == 1
            for chunk in told.chunks:
                optional = chunk.keys() & {"service_tier", "system_fingerprint"}
                assert chunk.keys() - optional == {"id", "object", "created", "model", "choices"}
                assert isinstance(chunk["created"], int)
            for choice in told.choices:
                assert choice.keys() == {"index", "delta", "logprobs", "finish_reason"}
                allowed = {"role", "content", "refusal", "tool_calls", "reasoning_content", "reasoning_details"}
                assert choice["delta"].keys() <= allowed
            for index in {c["index"] for c in told.choices}:
                first, *others = told.deltas(index)
                assert first.keys() >= {"role", "content", "refusal"}
                assert not [d for d in others if "role" in d]


async def test_created_and_id_are_the_providers_where_it_names_them(cassettes):
    async with FakeProvider(cassettes=cassettes) as provider:
        for model in models_of(cassettes["deepseek-reasoner"]):
            async with asking(provider, model) as asked:
                [chunk, *_] = (await asked.stream()).chunks
            theirs = msgspec.json.decode(split_frames(cassettes["deepseek-reasoner"].data)[0][6:])
            assert (chunk["id"], chunk["created"], chunk["model"]) == tuple(
                theirs[k] for k in ("id", "created", "model")
            )


def cuts(frames: tuple[bytes, ...]) -> list[int]:
    """Numbers of frames after which the answer is not complete: the first, the middle, the last such."""
    incomplete = [k for k in range(1, len(frames)) if not is_complete(frames[:k])]
    return sorted({incomplete[0], incomplete[len(incomplete) // 2], incomplete[-1]})


def is_complete(frames: tuple[bytes, ...]) -> bool:
    open_, seen = set(), False
    for frame in frames:
        data = b"".join(line[5:].strip() for line in frame.splitlines() if line.startswith(b"data:"))
        if data == b"[DONE]" or b'"message_delta"' in data:
            return True
        for choice in (read_answer(data).choices or ()) if data else ():
            seen = True
            (open_.discard if choice.finish_reason else open_.add)(choice.index)
    return seen and not open_


@pytest.mark.parametrize("id", STREAMS)
@pytest.mark.parametrize("fault", ["cut_after", "reset_after"])
async def test_a_cut_answer_never_looks_complete(cassettes, id, fault):
    cassette = cassettes[id]
    async with FakeProvider(cassettes=cassettes) as provider:
        for model in models_of(cassette):
            async with asking(provider, model) as asked:
                for k in cuts(split_frames(cassette.data)):
                    provider.enqueue(cassette.script(**{fault: k}))
                    try:
                        told = await asked.stream(**ASKING)
                    except GatewayError:  # nothing had been said yet: a status
                        continue
                    assert told.error is not None, (model, k)
                    assert not told.done, (model, k)
                    assert not told.usages(), (model, k)


@pytest.mark.parametrize("model", PROVIDERS)
async def test_of_a_cut_answer_what_the_provider_had_counted_is_kept(cassettes, model):
    async with FakeProvider(cassettes=cassettes) as provider, asking(provider, model) as asked:
        script = Script(text="one two three four five", cut_after=3)
        provider.enqueue(cassettes["anthropic-cache-ping"].script(cut_after=9) if "anthropic" in model else script)
        told = await asked.stream()
        assert told.error.code == "upstream_incomplete"
        usage = asked.exchange.usage
        assert (usage and usage.input_tokens) == (55196 if "anthropic" in model else None)


@pytest.mark.parametrize("model", [*PROVIDERS[:4], "mistral/fake-model", "deepseek/fake-model"])
async def test_broken_json_ends_the_answer_with_an_error_where_none_may_be_left_out(model):
    async with FakeProvider() as provider, asking(provider, model, skip_malformed=0) as asked:
        provider.enqueue(Script(text="one two three", malformed_after=2))
        told = await asked.stream()
        assert told.error.code == "upstream_malformed"
        assert not told.done


@pytest.mark.parametrize("model", ["openai/m", "hosted_vllm/m", "mistral/m", "deepseek/m"])
@pytest.mark.parametrize("odd", [b'{"id": "c", "object": [null], "choices": [null]}', b'{"id": "c", "choices": 1.5}'])
async def test_a_chunk_that_litellm_cannot_read_is_the_providers_fault_and_no_status_of_its(model, odd):
    async with FakeProvider() as provider, asking(provider, model, skip_malformed=0) as asked:
        provider.enqueue(Script(events=[b"data: " + odd + b"\n\n", b"data: [DONE]\n\n"]))
        refusal = await asked.refusal(stream=True)
        assert (refusal.status, refusal.error.code) == (502, "upstream_malformed")


@pytest.mark.parametrize("model", PROVIDERS[:4])
async def test_a_model_that_writes_of_done_is_not_cut_off(model):
    async with FakeProvider(default=Script(text="data: [DONE] and more")) as provider, asking(provider, model) as asked:
        assert (await asked.stream()).said("content") == "data: [DONE] and more"


@pytest.mark.parametrize("model", PROVIDERS[:4])
async def test_a_model_that_repeats_itself_a_hundred_times_is_not_cut_off(model):
    text = " ".join(["word"] * 150)
    async with FakeProvider(default=Script(text=text)) as provider, asking(provider, model) as asked:
        told = await asked.stream()
        assert told.said("content") == text
        assert told.done


@pytest.mark.parametrize("model", PROVIDERS[:4])
async def test_an_empty_stream_is_a_failure_with_a_status(model):
    for events in ((), (b"data: [DONE]\n\n",), (b": nothing\n\n", b"data: [DONE]\n\n")):
        async with FakeProvider(default=Script(events=events)) as provider, asking(provider, model) as asked:
            assert (await asked.refusal(stream=True)).status == 502


@pytest.mark.parametrize("model", PROVIDERS[:4])
async def test_an_error_as_the_first_event_is_a_status(model):
    event = b'data: {"error":{"message":"overloaded","type":"server_error","code":503}}\n\n'
    async with FakeProvider(default=Script(events=[event])) as provider, asking(provider, model) as asked:
        assert (await asked.refusal(stream=True)).status == 503


@pytest.mark.parametrize("model", PROVIDERS[:3])
async def test_an_answer_that_a_server_aborted_never_looks_complete(model):
    head = b'{"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,'
    events = [
        b"data: " + head + b'"delta":{"role":"assistant","content":"hel"},"finish_reason":null}]}\n\n',
        b"data: " + head + b'"delta":{},"finish_reason":"abort"}]}\n\n',
        b"data: [DONE]\n\n",
    ]
    async with FakeProvider(default=Script(events=events)) as provider, asking(provider, model) as asked:
        told = await asked.stream()
        assert (told.said("content"), told.finish_reasons(), told.done) == ("hel", [], False)
        assert told.error is not None


@pytest.mark.parametrize("write", [1, 7, "all"])
@pytest.mark.parametrize("model", PROVIDERS)
async def test_the_size_of_the_providers_writes_changes_nothing(cassettes, model, write):
    async with FakeProvider(cassettes=cassettes) as provider, asking(provider, model) as asked:
        provider.default = Script(text="ein Größenwahn 👋 two")
        whole = await asked.stream()
        provider.default = Script(text="ein Größenwahn 👋 two", write=write)
        cut = await asked.stream()
        assert [c["choices"] for c in cut.chunks] == [c["choices"] for c in whole.chunks]
        assert cut.done


@pytest.mark.parametrize("model", PROVIDERS[:4])
async def test_each_event_goes_out_before_the_provider_sends_the_next(model):
    async with FakeProvider() as provider, asking(provider, model) as asked:
        for sent in (2, 3, 4):
            provider.enqueue(Script(text="one two three four", stall_after=sent))
            reply = await asked.reply(stream=True)
            async with asyncio.timeout(60):
                for _ in range(sent - 2):  # the first frames are the role, held back for the first word, and that word
                    await anext(reply.body)
            await reply.body.aclose()


@pytest.mark.parametrize("model", PROVIDERS)
async def test_closing_the_stream_ends_the_providers_work_at_once(cassettes, model):
    async with FakeProvider(cassettes=cassettes) as provider, asking(provider, model) as asked:
        for read in (0, 1):
            provider.clear()
            provider.enqueue(stalling(cassettes, model))
            reply = await asked.reply(stream=True)
            for _ in range(read):
                await anext(reply.body)
            await reply.body.aclose()
            request = await provider.requests[0].wait_finished()
            assert request.client_gone


def stalling(cassettes: Any, model: str) -> Script:
    """Some words, and then nothing."""
    return cassettes["anthropic-cache-ping"].script(stall_after=9) if "anthropic" in model else Script(stall_after=3)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", PROVIDERS)
async def test_cancelling_ends_the_providers_work_at_once(cassettes, model, stream):
    async with (
        FakeProvider(cassettes=cassettes, default=Script(delay=3600)) as provider,
        asking(provider, model) as asked,
    ):
        await cancelled_in(asked.reply(stream=stream), provider)
        provider.clear()
        provider.default = Script(stall_after=2)
        if stream:
            await cancelled_in(asked.stream(), provider)


async def cancelled_in(asking_: Any, provider: FakeProvider) -> None:
    task = asyncio.create_task(asking_)
    [request] = await provider.wait_for_requests(1)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await request.wait_finished()).client_gone


@pytest.mark.parametrize("model", PROVIDERS)
async def test_a_provider_that_falls_silent_is_given_up(cassettes, model):
    async with FakeProvider(cassettes=cassettes) as provider, asking(provider, model, patience=0.5) as asked:
        provider.enqueue(
            cassettes["anthropic-cache-ping"].script(stall_after=9) if "anthropic" in model else Script(stall_after=3)
        )
        told = await asked.stream()
        assert told.error.code == "upstream_timeout"
        assert (await provider.requests[0].wait_finished()).client_gone
