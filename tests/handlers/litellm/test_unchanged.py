"""What litellm leaves unchanged: which conversations, answers and chunks are usual, and how they are told without it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core.sse import Event, Splitter
from crplugins.core.usage import MAX_TOKENS
from crplugins.handlers.litellm.answer import answer_document
from crplugins.handlers.litellm.repair import StreamRepair
from crplugins.handlers.litellm.unchanged import (
    UnchangedAnswers,
    are_texts,
    is_as_given,
    text_chunk,
)
from crplugins.testing import FakeProvider, Script
from tests.litellm_setup import HELLO, asking

LEFT_UNCHANGED = ["openai/gpt-4o", "azure/any", "groq/any", "hosted_vllm/any", "mistral/any", "deepseek/any"]
CALL = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
SECRET = "an owl is my secret"


def answer(message: dict[str, Any], finish: str = "stop", choice: Any = (), **more: Any) -> dict[str, Any]:
    choices = [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, **dict(choice)}]
    counts = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    head = {"id": "c", "object": "chat.completion", "created": 1, "model": "up", "service_tier": "default"}
    return {**head, "choices": choices, "usage": counts, **more}


USUAL = {
    "text": answer({"content": "Hello", "refusal": None, "annotations": []}, choice={"logprobs": None}),
    "code": answer({"content": "<p>think about it</p>"}),
    "calls": answer({"content": None, "tool_calls": [CALL, CALL | {"id": "call_2"}]}, "tool_calls"),
    "thoughts": answer({"content": "x", "reasoning_content": "So."}),
    "cut": answer({"content": "x"}, "length"),
    "another tier": answer({"content": "x"}, service_tier="flex"),
}
SELDOM = {
    "a thought in the text": answer({"content": "<think>So.</think>Hello"}),
    "a thought under a second name": answer({"content": "x", "reasoning": "So.", "reasoning_content": None}),
    "parts": answer({"content": [{"type": "text", "text": "Hello"}]}),
    "no text": answer({"content": ""}),
    "a blank": answer({"content": " \n"}),
    "an annotation": answer({"content": "x", "annotations": [{"type": "url_citation", "url_citation": {"url": "u"}}]}),
    "calls in one": answer({"content": None, "tool_calls": [CALL | {"function": {"name": "multi_tool_use.parallel", "arguments": '{"tool_uses": [{"recipient_name": "functions.find", "parameters": {}}]}'}}]}, "tool_calls"),
    "a call without an id": answer({"content": None, "tool_calls": [{k: v for k, v in CALL.items() if k != "id"}]}),
    "an unknown member": answer({"content": "x", "mood": "good"}),
    "an unknown reason": answer({"content": "x"}, "eos"),
    "logprobs": answer({"content": "x"}, choice={"logprobs": {"content": []}}),
    "a place of its own": answer({"content": "x"}, choice={"index": 3}),
    "sources": answer({"content": "x"}, citations=["https://example.com"]),
    "a cost": answer({"content": "x"}, usage={"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8, "cost": 0.1}),
    "an error": answer({"content": "x"}, error={"message": ""}),
    "no id": {k: v for k, v in answer({"content": "x"}).items() if k != "id"},
    "Ollama's": answer({"content": "x"}, system_fingerprint="fp_ollama"),
    "two choices": {**answer({"content": "x"}), "choices": answer({"content": "x"})["choices"] * 2},
}  # fmt: skip


AS_THEY_ARE = UnchangedAnswers("", {"default": "default", "flex": "flex"})


@pytest.mark.parametrize("kind", USUAL)
def test_a_usual_answer_is_told_as_one_that_litellm_has_read(kind):
    told = AS_THEY_ARE.told(json.dumps(USUAL[kind]).encode())
    assert told is not None
    assert json.loads(told) == answer_document(USUAL[kind], "up")


@pytest.mark.parametrize("kind", SELDOM)
def test_an_answer_with_anything_seldom_in_it_is_litellms(kind):
    assert AS_THEY_ARE.told(json.dumps(SELDOM[kind]).encode()) is None


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"id": "\xff"}', b'{"choices": ['])
def test_what_is_no_answer_is_litellms(body):
    assert AS_THEY_ARE.told(body) is None


COUNTS = st.one_of(st.none(), st.integers(0, 20), st.just(MAX_TOKENS + 1))


@given(
    st.fixed_dictionaries(
        {"prompt_tokens": st.integers(0, 20), "completion_tokens": st.integers(0, 20), "total_tokens": st.integers(0, 50)},
        optional={
            "prompt_tokens_details": st.dictionaries(st.sampled_from(["cached_tokens", "audio_tokens", "text_tokens", "image_tokens", "cache_write_tokens"]), COUNTS),
            "completion_tokens_details": st.dictionaries(st.sampled_from(["reasoning_tokens", "audio_tokens", "accepted_prediction_tokens"]), COUNTS),
            "prompt_cache_hit_tokens": COUNTS,
        },
    )
)  # fmt: skip
def test_counts_are_told_as_those_that_litellm_has_read(counts):
    usual = answer({"content": "x"}, usage=counts)
    told = AS_THEY_ARE.told(json.dumps(usual).encode())
    assert told is None or json.loads(told) == answer_document(usual, "up")


def test_an_answer_of_a_tier_that_was_not_tried_is_litellms():
    answers = UnchangedAnswers("groq/", {"on_demand": "auto"})
    told = answers.told(json.dumps(answer({"content": "x"}, service_tier="on_demand")).encode())
    assert told is not None
    assert (json.loads(told)["model"], json.loads(told)["service_tier"]) == ("groq/up", "auto")
    assert answers.told(json.dumps(answer({"content": "x"}, service_tier="new")).encode()) is None


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (HELLO, True),
        ([{"role": "system", "content": "Be kind."}, *HELLO, {"role": "assistant", "content": "Hi"}], True),
        ([], False),
        ([{"role": "user", "content": ""}], False),
        ([{"role": "user", "content": " \n"}], False),
        ([{"role": "user", "content": None}], False),
        ([{"role": "user", "content": [{"type": "text", "text": "hi"}]}], False),
        ([{"role": "user", "content": "hi", "name": "ann"}], False),
        ([{"role": "tool", "content": "hi"}], False),
        ([*HELLO, {"role": "assistant", "content": "x", "tool_calls": [CALL]}], False),
    ],
)
def test_texts_are_messages_with_a_role_and_a_text_alone(messages, expected):
    assert are_texts(messages) is expected


@pytest.mark.parametrize(("name", "value", "expected"), [("stop", "x", True), ("stop", ["x", "y"], True), ("stop", [1], False), ("stop", None, False), ("user", "u", True), ("user", 7, False), ("seed", 7, True), ("seed", True, False), ("temperature", 1, False)])  # fmt: skip
def test_an_argument_is_as_given_if_it_is_as_openai_has_it(name, value, expected):
    assert is_as_given(name, value) is expected


@pytest.mark.parametrize("model", LEFT_UNCHANGED)
async def test_litellm_walks_through_no_usual_request_and_answer(model):
    async with FakeProvider() as provider, asking(provider, model) as asked:
        configured = asked.handler._client._models[model].configured
        provider.default = Script(body=USUAL["text"])
        first = await asked.plain(temperature=0.5, stop="end")
        configured.made = configured.answer = asked.handler._client._acompletion = (
            None  # to call one of them would fail
        )
        again = await asked.plain(temperature=0.5, stop=["x"], messages=[{"role": "user", "content": "Who?"}])
        assert again == first
        sent = provider.requests[-1].json
        assert (sent["messages"], sent["stop"]) == ([{"role": "user", "content": "Who?"}], ["x"])
        assert sent["temperature"] == 0.5


async def test_a_provider_with_a_wire_of_its_own_is_asked_and_read_by_litellm():
    model = "anthropic/claude-sonnet-4-5"
    async with FakeProvider() as provider, asking(provider, model) as asked:
        configured = asked.handler._client._models[model].configured
        assert (configured.leaves_texts, configured.answers) == (False, None)


async def test_nothing_that_a_client_says_is_remembered():
    async with FakeProvider() as provider, asking(provider, "openai/gpt-4o") as asked:
        for stop in (SECRET, [SECRET], "x" * 100):
            await asked.plain(messages=[{"role": "user", "content": SECRET}], user=SECRET, stop=stop, seed=31415926)
        configured = asked.handler._client._models["openai/gpt-4o"].configured
        assert len(configured._made) == 1
        assert SECRET not in repr((list(configured._made.items()), list(configured._mapped.items())))
        assert "31415926" not in repr(list(configured._made.items()))


TEXTS = st.text(min_size=1, max_size=4)
DELTAS = st.one_of(
    TEXTS.map(lambda text: {"content": text}),
    TEXTS.map(lambda text: {"role": "assistant", "content": text, "refusal": None, "tool_calls": None}),
    st.sampled_from([{}, {"role": "assistant", "content": ""}, {"content": None}, {"reasoning_content": "So."}, {"refusal": "No."}]),
    TEXTS.map(lambda text: {"tool_calls": [{"index": 0, **CALL, "function": {"name": "find", "arguments": text}}]}),
)  # fmt: skip
MEMBERS = st.fixed_dictionaries(
    {},
    optional={"usage": st.none(), "service_tier": st.just("flex"), "citations": st.just(["u"]), "obfuscation": TEXTS},
)
CHUNKS = st.builds(
    lambda index, delta, beside, more: {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "up", **more, "choices": [{"index": index, "delta": delta, **beside}]},
    st.integers(0, 1),
    DELTAS,
    st.fixed_dictionaries({}, optional={"finish_reason": st.sampled_from([None, None, "stop", ""]), "logprobs": st.sampled_from([None, {"content": []}])}),
    MEMBERS,
)  # fmt: skip


@given(st.lists(CHUNKS, max_size=12), st.booleans())
def test_a_piece_of_text_is_told_as_any_chunk_is(chunks, shows_usage):
    usual, plain = [StreamRepair("m", shows_usage=shows_usage, choices=2) for _ in range(2)]
    for chunk in chunks:
        frames = plain.frames(chunk)
        text = text_chunk(json.dumps(chunk).encode())
        event = None if text is None else usual.text_event(text)
        if event is None:
            assert usual.frames(chunk if text is None else text) == frames
        else:
            assert event.raw == frames
            (told,) = Splitter().feed(frames)
            assert (event.data, event.text, event.answer) == (told.data, told.text, told.answer)
            assert isinstance(event, Event)
        assert state_of(usual) == state_of(plain)
    assert usual.end() == plain.end()


def state_of(repair: StreamRepair) -> tuple[bool, ...]:
    return (
        repair.finished, repair.settled, repair.seems_settled, repair.finished_silently, repair.begun, repair.ends,
        repair.names_ends, repair.calls,
    )  # fmt: skip
