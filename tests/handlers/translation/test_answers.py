"""Answers of chat completions as Messages, Responses and completions tell them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core.completeness import Completeness
from crplugins.core.dialects import CHAT, COMPLETIONS, MESSAGES, RESPONSES, Dialect
from crplugins.core.errors import GatewayError
from crplugins.core.said import Said, weight
from crplugins.core.sse import Event
from crplugins.handlers.litellm.repair import StreamRepair
from crplugins.handlers.protocols import Target
from crplugins.handlers.translation.responses_request import thoughts_of
from crplugins.handlers.translation.translated import TRANSLATIONS
from tests.families.client import Seen
from tests.families.readers import read_answer

USAGE = {"prompt_tokens": 12, "completion_tokens": 9, "total_tokens": 21}
SIGNED = {"type": "thinking", "thinking": "Hm", "signature": "sig"}
BOTH = [MESSAGES, RESPONSES]


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def call(index: int, arguments: str, name: str = "") -> dict[str, Any]:
    begun = {"id": f"call_{index}", "type": "function"} if name else {}
    function = {"arguments": arguments, **({"name": name} if name else {})}
    return chunk({"tool_calls": [{"index": index, **begun, "function": function}]})


def events_of(dialect: Dialect, chunks: list[dict[str, Any]], **asked: Any) -> list[Event]:
    writer = TRANSLATIONS[dialect].writer({"model": "m", **asked})
    events = [event for each in chunks for event in writer.events(each)]
    events += writer.events({"choices": [], "usage": USAGE})
    return [*events, *writer.end()]


def told(dialect: Dialect, chunks: list[dict[str, Any]], **asked: Any) -> Seen:
    """What a client reads of a stream, which has to be whole to us as well."""
    events, state = events_of(dialect, chunks, **asked), Completeness()
    for event in events:
        state.see(event)
    assert state.complete
    seen = read_answer(dialect.name, 200, b"".join(event.raw for event in events), streamed=True)
    assert not seen.problems
    assert seen.done
    assert seen.usages == [{"prompt_tokens": 12, "completion_tokens": 9}]
    return seen


def whole(dialect: Dialect, message: dict[str, Any], finish: str = "stop", **asked: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    answer = TRANSLATIONS[dialect].writer(asked).document({"model": "m", "choices": [choice], "usage": USAGE})
    document: dict[str, Any] = json.loads(answer)
    return document


@pytest.mark.parametrize("dialect", BOTH)
def test_thoughts_words_and_calls_come_one_after_the_other(dialect: Dialect) -> None:
    chunks = [
        chunk({"role": "assistant", "content": ""}), chunk({"reasoning_content": "H"}), chunk({"reasoning_content": "m"}),
        chunk({"content": "Hel"}), chunk({"content": "lo"}), call(0, "", "get"), call(0, '{"a": '), call(0, "1}"),
        call(1, "{}", "now"), chunk({}, "tool_calls"),
    ]  # fmt: skip
    seen = told(dialect, chunks)
    assert (seen.text, seen.reasoning, seen.finishes) == ("Hello", "Hm", ["tool_calls"])
    assert seen.calls == (("get", {"a": 1}), ("now", {}))
    assert seen.ids == ["call_0", "call_1"]


@pytest.mark.parametrize("dialect", BOTH)
@pytest.mark.parametrize(
    "thought",
    [
        {"reasoning_text": "Hm"},
        {"thinking": "Hm"},
        {"thought": "Hm"},
        {"reasoning_content": "Hm", "reasoning": "Hm"},
        {"reasoning": "Hm", "reasoning_details": [{"type": "reasoning.text", "text": "Hm"}]},
        {"reasoning_details": [{"type": "reasoning.summary", "summary": "Hm"}]},
        {"reasoning": {"text": "Hm"}},
        {"reasoning_content": "Hm", "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]},
        {"content": [{"type": "reasoning", "text": "Hm"}]},
        {"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]}]},
    ],
)
def test_thoughts_are_told_whatever_their_providers_name_is(dialect: Dialect, thought: dict[str, Any]) -> None:
    seen = told(dialect, [chunk(thought), chunk({"content": "Hi"}), chunk({}, "stop")])
    assert (seen.reasoning, seen.text) == ("Hm", "Hi")
    repaired = StreamRepair("m", shows_usage=False).frames(chunk(thought))
    assert json.loads(repaired[6:])["choices"][0]["delta"]["reasoning_content"] == "Hm"
    heard = Said()
    heard.hear(CHAT.document(json.dumps(chunk(thought)).encode()).answer.choices)
    assert (heard.pieces, heard.units) == (1, weight("Hm"))


@pytest.mark.parametrize("dialect", BOTH)
def test_what_is_told_weighs_what_the_model_said_where_no_usage_counts_it(dialect: Dialect) -> None:
    said = [{"reasoning_content": "Hm, a long thought"}, {"content": "Hello"}, {"content": " there"}]
    chunks = [*map(chunk, said), call(0, "", "get"), call(0, '{"a": '), call(0, "1}"), chunk({}, "stop")]
    heard, told_of = Said(), Said()
    for each in chunks:
        heard.hear(CHAT.document(json.dumps(each).encode()).answer.choices)
    for event in events_of(dialect, chunks):
        if event.answer is not None and event.answer.choices:
            told_of.hear(event.answer.choices)
    assert told_of.tokens() == heard.tokens()


@pytest.mark.parametrize("dialect", BOTH)
def test_calls_whose_arguments_come_in_turns_are_told_one_after_the_other(dialect: Dialect) -> None:
    chunks = [
        call(0, "", "a"), call(1, "", "b"), call(0, '{"x"'), call(1, '{"y"'), chunk({"content": "and"}), call(1, ": 2}"),
        call(0, ": 1}"), chunk({"content": " so"}), chunk({}, "stop"),
    ]  # fmt: skip
    seen = told(dialect, chunks)
    assert seen.calls == (("a", {"x": 1}), ("b", {"y": 2}))
    assert (seen.text, seen.finishes) == ("and so", ["tool_calls"])


@pytest.mark.parametrize("dialect", BOTH)
@pytest.mark.parametrize("names", [["get_", "time"], ["", "get_time"]])
def test_a_call_is_told_when_its_name_is_whole(dialect: Dialect, names: list[str]) -> None:
    begins, goes_on = ({"index": 0, "id": "a", "function": {"name": name, "arguments": ""}} for name in names)
    pieces = [begins, {**goes_on, "id": None}, {"index": 0, "function": {"arguments": '{"a": 1}'}}]
    seen = told(dialect, [*[chunk({"tool_calls": [each]}) for each in pieces], chunk({}, "tool_calls")])
    assert seen.calls == (("get_time", {"a": 1}),)
    without = told(dialect, [*[chunk({"tool_calls": [each]}) for each in pieces[:2]], chunk({"content": "so"})])
    assert (without.calls, without.text) == ((("get_time", {}),), "so")


@pytest.mark.parametrize("dialect", BOTH)
def test_a_call_that_is_told_once_more_at_the_end_is_one(dialect: Dialect) -> None:
    seen = told(dialect, [call(0, '{"a": ', "get"), call(0, "1}"), call(0, '{"a":1}', "get"), chunk({}, "tool_calls")])
    assert seen.calls == (("get", {"a": 1}),)


@pytest.mark.parametrize("dialect", BOTH)
def test_what_comes_of_a_call_that_was_whole_is_a_failure(dialect: Dialect) -> None:
    chunks = [call(0, "{}", "a"), call(1, "{}", "b"), call(0, "  ")]
    assert events_of(dialect, chunks)
    with pytest.raises(GatewayError) as caught:
        events_of(dialect, [*chunks, call(0, '{"x": 1}')])
    assert (caught.value.status, caught.value.error.code) == (502, "upstream_malformed")


PIECES = st.lists(
    st.one_of(
        st.builds(lambda text: chunk({"content": text}), st.text(max_size=5)),
        st.builds(lambda text: chunk({"reasoning_content": text}), st.text(max_size=5)),
        st.builds(lambda text: chunk({"content": [{"type": "text", "text": text}]}), st.text(max_size=3)),
        st.builds(lambda i, n: call(i, json.dumps({"n": n}), f"f{i}"), st.integers(0, 3), st.integers()),
        st.just({"choices": []}), st.just(chunk({})), st.just(chunk({"content": None, "tool_calls": None})),
    ),
    max_size=12,
)  # fmt: skip


@given(PIECES, st.sampled_from(BOTH))
def test_whatever_comes_is_told_in_order_and_nothing_is_lost(chunks: list[dict[str, Any]], dialect: Dialect) -> None:
    first_calls, kept = set[int](), list[dict[str, Any]]()
    for each in chunks:  # a call comes once
        calls = each["choices"][0]["delta"].get("tool_calls") if each["choices"] else None
        if calls and calls[0]["index"] in first_calls:
            continue
        first_calls |= {calls[0]["index"]} if calls else set()
        kept.append(each)
    seen = told(dialect, [*kept, chunk({}, "stop")])
    said = "".join(
        part if isinstance(part, str) else "".join(each["text"] for each in part or ())
        for each in kept if each["choices"]
        if (part := each["choices"][0]["delta"].get("content")) is not None
    )  # fmt: skip
    assert seen.text == said
    assert len(seen.calls) == len(first_calls)


@pytest.mark.parametrize("dialect", BOTH)
@pytest.mark.parametrize("index", [{}, {"index": 0}, {"index": None}])
def test_calls_that_their_server_does_not_number_are_as_many_as_they_are(dialect: Dialect, index: Any) -> None:
    chunks = []
    for call_id, name, arguments in (("a", "time", '{"tz":'), (None, None, '"JST"}'), ("b", "weather", "{}")):
        function = {"arguments": arguments, **({"name": name} if name else {})}
        chunks.append(chunk({"tool_calls": [{**index, "id": call_id, "type": "function", "function": function}]}))
    seen = told(dialect, [*chunks, chunk({}, "tool_calls")])
    assert seen.calls == (("time", {"tz": "JST"}), ("weather", {}))
    assert seen.ids == ["a", "b"]


@pytest.mark.parametrize("dialect", BOTH)
def test_an_emoji_that_is_cut_in_two_arrives(dialect: Dialect) -> None:
    events = events_of(dialect, [chunk({"content": "\ud83d"}), chunk({"content": "\ude00"}), chunk({}, "stop")])
    joined = b"".join(event.data or b"" for event in events)
    assert b"\\ud83d" in joined
    assert b"\\ude00" in joined


@pytest.mark.parametrize(
    ("finish", "stop", "status", "completion"),
    [
        ("stop", "end_turn", "completed", "stop"),
        ("length", "max_tokens", "incomplete", "length"),
        ("content_filter", "refusal", "incomplete", "content_filter"),
        ("eos", "end_turn", "completed", "stop"),
        ("max_tokens", "max_tokens", "incomplete", "length"),
        ("sensitive", "refusal", "incomplete", "content_filter"),
        ("model_context_window_exceeded", "max_tokens", "incomplete", "length"),
    ],
)
def test_why_an_answer_has_ended(finish: str, stop: str, status: str, completion: str) -> None:
    """In words that the protocol has, whatever the provider's are: the SDKs' types know no others."""
    message = whole(MESSAGES, {"content": "Hi"}, finish)
    assert (message["stop_reason"], message["stop_sequence"]) == (stop, None)
    response = whole(RESPONSES, {"content": "Hi"}, finish)
    assert response["status"] == status
    assert (response["incomplete_details"] is None) is (status == "completed")
    assert whole(COMPLETIONS, {"content": "Hi"}, finish)["choices"][0]["finish_reason"] == completion


def test_a_refusal_is_one_in_each_protocol() -> None:
    message = whole(MESSAGES, {"content": None, "refusal": "No."})
    said = [{"type": "text", "text": "No.", "citations": []}]
    assert (message["stop_reason"], message["content"]) == ("refusal", said)
    response = whole(RESPONSES, {"content": None, "refusal": "No."})
    [item] = response["output"]
    assert item["content"] == [{"type": "refusal", "refusal": "No."}]
    assert (response["status"], response["incomplete_details"], item["status"]) == ("completed", None, "completed")
    kinds = [event.name.decode() for event in events_of(RESPONSES, [chunk({"refusal": "No."}), chunk({}, "stop")])]
    assert "response.refusal.delta" in kinds
    assert kinds[-1] == "response.completed"  # as OpenAI ends it; clients ask again for an answer that is incomplete


def test_a_call_that_a_bound_has_cut_is_not_made_and_any_other_that_is_none_fails() -> None:
    calls = {"tool_calls": [{"id": "c", "function": {"name": "a", "arguments": '{"x": '}}]}
    assert whole(MESSAGES, {"content": "So", **calls}, "length")["content"] == [
        {"type": "text", "text": "So", "citations": []}
    ]
    with pytest.raises(GatewayError) as caught:
        whole(MESSAGES, calls, "tool_calls")
    assert caught.value.error.code == "upstream_malformed"


def test_signed_thoughts_are_given_to_the_client() -> None:
    said = {
        "content": "Hi",
        "reasoning_content": "Hm",
        "thinking_blocks": [SIGNED, {"type": "redacted_thinking", "data": "x"}],
    }
    thought, hidden, _ = whole(MESSAGES, said)["content"]
    assert (thought, hidden) == (SIGNED, {"type": "redacted_thinking", "data": "x"})
    assert "encrypted_content" not in whole(RESPONSES, said)["output"][0]
    first, second, _ = whole(RESPONSES, said, include=["reasoning.encrypted_content"])["output"]
    assert first["summary"] == [{"type": "summary_text", "text": "Hm"}]
    assert [*thoughts_of(first), *thoughts_of(second)] == said["thinking_blocks"]
    streamed = [chunk({"reasoning_content": "Hm"}), chunk({"thinking_blocks": [{"index": 0, **SIGNED}]})]
    stream = [*streamed, chunk({"content": "Hi"}), chunk({}, "stop")]
    assert told(MESSAGES, stream).reasoning == "Hm"
    deltas = [
        json.loads(event.data or b"")["delta"] for event in events_of(MESSAGES, stream) if b"_delta" in event.name
    ]
    assert {"type": "signature_delta", "signature": "sig"} in deltas


def test_a_thought_that_nobody_has_signed_is_one_that_clients_send_back() -> None:
    said = {"content": "Hi", "reasoning_content": "Hm"}
    thought, _ = whole(MESSAGES, said)["content"]
    assert thought["signature"]
    deltas = [
        json.loads(event.data or b"")["delta"]
        for event in events_of(
            MESSAGES, [chunk({"reasoning_content": "Hm"}), chunk({"content": "Hi"}), chunk({}, "stop")]
        )
        if b"_delta" in event.name
    ]
    assert {"type": "signature_delta", "signature": thought["signature"]} in deltas
    history = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [thought, {"type": "text", "text": "Hi"}]},
    ]
    asked = {"model": "m", "messages": history}
    assert TRANSLATIONS[MESSAGES].request(asked, Target())["messages"][1]["reasoning_content"] == "Hm"
    to_claude = TRANSLATIONS[MESSAGES].request(asked, Target(is_claude=True))["messages"][1]
    assert to_claude == {"role": "assistant", "content": "Hi"}


def test_a_tool_that_takes_a_text_is_called_with_it() -> None:
    tools = [{"type": "custom", "name": "patch"}]
    chunks = [call(0, '{"input": "*** ', "patch"), call(0, 'Begin"}'), chunk({}, "tool_calls")]
    events = [json.loads(event.data or b"") for event in events_of(RESPONSES, chunks, tools=tools)]
    assert [e["delta"] for e in events if e["type"] == "response.custom_tool_call_input.delta"] == ["*** Begin"]
    [item] = events[-1]["response"]["output"]
    assert (item["type"], item["name"], item["input"], item["call_id"]) == (
        "custom_tool_call", "patch", "*** Begin", "call_0",
    )  # fmt: skip
    bare = {"tool_calls": [{"id": "c", "function": {"name": "patch", "arguments": "*** Begin"}}]}
    assert whole(RESPONSES, bare, "tool_calls", tools=tools)["output"][0]["input"] == "*** Begin"


def test_sources_of_a_text_are_annotations_of_responses() -> None:
    note = {
        "type": "url_citation",
        "url_citation": {"url": "https://a.example", "title": "A", "start_index": 0, "end_index": 1},
    }
    flat = {"type": "url_citation", **note["url_citation"]}
    [item] = whole(RESPONSES, {"content": "A", "annotations": [note]})["output"]
    assert item["content"][0]["annotations"] == [flat]
    chunks = [chunk({"content": "A"}), chunk({"annotations": [note]}), chunk({}, "stop")]
    events = [json.loads(event.data or b"") for event in events_of(RESPONSES, chunks)]
    assert [e["annotation"] for e in events if e["type"].endswith("annotation.added")] == [flat]


def test_a_response_repeats_what_it_was_asked() -> None:
    asked = {
        "temperature": 0.5,
        "metadata": {"a": "b"},
        "instructions": "Be",
        "store": True,
        "tools": [{"type": "web_search"}],
    }
    response = whole(RESPONSES, {"content": "A"}, **asked)
    assert {name: response[name] for name in asked} == {**asked, "store": False}
    assert response["id"].startswith("resp_")
    assert response["usage"]["total_tokens"] == 21


def test_completions_are_told_chunk_by_chunk_and_their_usage_where_it_was_asked_for() -> None:
    chunks = [chunk({"role": "assistant", "content": ""}), chunk({"content": "A"}), chunk({}, "stop")]
    writer = TRANSLATIONS[COMPLETIONS].writer({"stream_options": {"include_usage": True}})
    events = [event for each in [*chunks, {"choices": [], "usage": USAGE}] for event in writer.events(each)]
    read = [json.loads(event.data or b"") for event in events]
    assert [(each["choices"], each["usage"]) for each in read] == [
        ([{"text": "A", "index": 0, "logprobs": None, "finish_reason": None}], None),
        ([{"text": "", "index": 0, "logprobs": None, "finish_reason": "stop"}], None),
        ([], USAGE),
    ]
    assert {each["object"] for each in read} == {"text_completion"}
    assert [event.raw for event in writer.end()] == [b"data: [DONE]\n\n"]
    assert len(events_of(COMPLETIONS, chunks)) == 3


@pytest.mark.parametrize("dialect", [*BOTH, COMPLETIONS])
def test_a_whole_answer_without_a_choice_is_none(dialect: Dialect) -> None:
    with pytest.raises(GatewayError):
        TRANSLATIONS[dialect].writer({}).document({"choices": []})


CALL = {"tool_calls": [{"id": "c", "function": {"name": "a", "arguments": "{}"}}]}


def test_a_whole_message_has_every_member_that_anthropics_has() -> None:
    message = whole(MESSAGES, {"content": "So", **CALL}, "tool_calls")
    assert {
        "id",
        "type",
        "role",
        "model",
        "content",
        "stop_reason",
        "stop_sequence",
        "stop_details",
        "container",
    } < set(message)
    text, call = message["content"]
    assert (text["citations"], call["caller"]) == ([], {"type": "direct"})
    assert set(message["usage"]) >= {
        "input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "cache_creation",
        "output_tokens_details", "server_tool_use", "service_tier", "inference_geo",
    }  # fmt: skip
    assert message["usage"]["output_tokens_details"].keys() >= {"thinking_tokens"}


def test_a_whole_response_has_every_member_that_openais_has() -> None:
    tool = {"type": "function", "name": "a", "parameters": {"type": "object"}}
    response = whole(RESPONSES, {"content": "So"}, "stop", tools=[tool])
    assert response["completed_at"] >= response["created_at"]
    assert (response["presence_penalty"], response["frequency_penalty"], response["top_logprobs"]) == (0.0, 0.0, 0)
    assert response["tools"] == [{"description": None, "strict": None, **tool}]
