"""One answer in its two forms."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core.answer_forms import readable_chunk, stream_of
from crplugins.core.chunk_reader import ChunkReader, document_of
from crplugins.core.completeness import Completeness
from crplugins.core.sse import Event

ANSWER = {
    "id": "c-7",
    "object": "chat.completion",
    "created": 5,
    "model": "m",
    "service_tier": "flex",
    "citations": ["https://example.org/1"],
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": None,
                "reasoning_content": "Two cities.",
                "thinking_blocks": [{"type": "thinking", "thinking": "Two cities.", "signature": "c2ln"}],
                "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "time", "arguments": '{"city":"Rome"}'}},
                    {"id": "b", "type": "function", "function": {"name": "time", "arguments": '{"city":"Oslo"}'}},
                ],
            },
            "logprobs": {"content": [{"token": "x", "logprob": -0.5}]},
            "finish_reason": "tool_calls",
        },
        {"index": 1, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "length"},
    ],
    "usage": {"prompt_tokens": 4, "completion_tokens": 9, "total_tokens": 13},
}


def chunk(delta: dict[str, Any], finish_reason: Any = None, **more: Any) -> Event:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return Event.of(json.dumps({"id": "c", "model": "m", "choices": [choice], **more}).encode())


def joined(*events: Event) -> Any:
    return json.loads(document_of(events))["choices"][0]


def test_a_document_becomes_a_complete_stream_and_the_same_document_again() -> None:
    events = stream_of(json.dumps(ANSWER).encode())
    completeness = Completeness(2)
    for event in events:
        completeness.see(event)
    assert completeness.complete
    assert events[-1].is_done
    assert json.loads(document_of(events)) == ANSWER


def test_the_usage_has_a_chunk_of_its_own() -> None:
    *_, usage, _ = stream_of(json.dumps(ANSWER).encode())
    assert usage.answer is not None
    assert usage.answer.choices == []
    assert usage.answer.counted is not None


@given(st.lists(st.text(max_size=8), max_size=30))
def test_texts_are_joined_in_their_order(pieces: list[str]) -> None:
    message = joined(*[chunk({"content": piece}) for piece in pieces], chunk({}, "stop"))["message"]
    assert (message["content"] or "") == "".join(pieces)


def test_an_emoji_that_is_cut_in_two_is_one_character_of_the_document() -> None:
    halves = [chunk({"content": "a\ud83d"}), chunk({"content": "\ude00b"}), chunk({}, "stop")]
    assert joined(*halves)["message"]["content"] == "a\U0001f600b"
    assert joined(halves[0], halves[2])["message"]["content"] == "a\ud83d"


def test_the_fragments_of_tool_calls_are_joined_by_their_index() -> None:
    first = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
    second = {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}
    events = [
        chunk({"role": "assistant", "tool_calls": [first, second]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"x"'}}]}),
        chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ":1}"}}]}),
        chunk({}, "tool_calls"),
    ]
    assert joined(*events)["message"]["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]


def test_calls_without_an_index_are_told_apart_by_their_ids() -> None:
    calls = [{"id": "a", "function": {"name": "f", "arguments": "{"}}, {"function": {"arguments": "}"}}]
    other = {"id": "b", "function": {"name": "g", "arguments": "{}"}}
    message = joined(
        chunk({"tool_calls": [calls[0]]}), chunk({"tool_calls": [calls[1]]}), chunk({"tool_calls": [other]})
    )
    assert [call["function"]["arguments"] for call in message["message"]["tool_calls"]] == ["{}", "{}"]


def test_a_filler_is_no_finish_reason_of_the_document() -> None:
    assert joined(chunk({"content": "a"}, ""), chunk({}, "stop"), chunk({}, "null"))["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("sent", "message", "code"),
    [
        ({"error": "At capacity.", "code": "unavailable"}, "At capacity.", None),
        ([{"error": {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}}], "Overloaded.", 503),
        ({"error": {"code": 7}}, "The model provider ended the stream before the answer was complete.", 7),
        ({"error": True}, "The model provider ended the stream before the answer was complete.", None),
    ],
)
def test_an_error_becomes_an_object_with_a_message(sent: Any, message: str, code: Any) -> None:
    readable = json.loads(readable_chunk(Event.of(json.dumps(sent).encode())).data or b"")
    assert (readable["error"]["message"], readable["error"]["code"]) == (message, code)
    assert {"type", "param"} <= readable["error"].keys()


def test_an_error_that_is_one_already_keeps_its_bytes() -> None:
    event = Event.of(b'{ "error": {"message": "Too long.", "metadata": {"raw": "x"}}, "choices": [] }')
    assert readable_chunk(event) is event


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["index", "id", "message"]), inner),
    max_leaves=4,
)
FIELDS = ("choices", "index", "delta", "message", "tool_calls", "function", "finish_reason", "usage", "error", "model")


@st.composite
def odd_answers(draw: st.DrawFn) -> bytes:
    """A chunk or document of which some fields are anything."""
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    said = {"content": "word", "tool_calls": [call]}
    choice: dict[str, Any] = {"index": 0, "delta": said, "message": said, "finish_reason": "stop"}
    whole: dict[str, Any] = {"model": "m", "choices": [choice], "usage": {"prompt_tokens": 1}}
    for place in draw(st.lists(st.sampled_from([whole, choice, said, call, call["function"]]), min_size=1, max_size=3)):
        place[draw(st.sampled_from(FIELDS))] = draw(anything)
    if draw(st.booleans()):
        whole["choices"] = [draw(anything), choice]
    return json.dumps(draw(st.sampled_from([whole, [whole]]))).encode()


@given(odd_answers())
def test_a_field_of_an_unexpected_shape_is_absent_and_never_a_fault_of_ours(data: bytes) -> None:
    event = Event.of(data)
    readable = readable_chunk(event)
    if readable is not event and readable.answer is not None and readable.answer.error is None:
        assert isinstance(json.loads(readable.data or b"")["choices"], list)
    assert isinstance(json.loads(document_of([event, event]))["choices"], list)
    if event.answer is not None and event.answer.choices:
        assert stream_of(data)[-1].is_done
    state = Completeness()
    state.see(event)


@pytest.mark.parametrize("odd", [{"error": {}}, {"usage": {"input_tokens": 4, "output_tokens": 9}}])
def test_a_chunk_in_a_list_stays_as_it_is(odd: dict[str, Any]) -> None:
    event = Event.of(json.dumps([{"id": "c", "choices": [], **odd}]).encode())
    assert readable_chunk(event) is event


OTHER_WORDS = [
    {"input_tokens": 4, "output_tokens": 9, "total_tokens": 13, "cost": 0.5},
    {"prompt_tokens": "4", "completion_tokens": "9", "total_tokens": "13", "cost": 0.5},
    {"prompt_tokens": 4, "total_tokens": 13, "cost": 0.5},
]


@pytest.mark.parametrize("usage", OTHER_WORDS)
@pytest.mark.parametrize("choices", [[], [{"index": 0, "delta": {}, "finish_reason": "stop"}], None])
def test_usage_in_other_words_is_told_in_openais_beside_what_it_was(usage: dict[str, Any], choices: Any) -> None:
    event = Event.of(json.dumps({"id": "c", "choices": choices, "usage": usage}).encode())
    readable = readable_chunk(event)
    told = {"prompt_tokens": 4, "completion_tokens": 9, "total_tokens": 13}
    assert json.loads(readable.data or b"") == {"id": "c", "choices": choices or [], "usage": {**usage, **told}}
    assert readable.answer is not None
    assert event.answer is not None
    assert readable.answer.counted == event.answer.counted


@pytest.mark.parametrize("usage", OTHER_WORDS)
def test_a_document_tells_its_usage_in_openais_words_and_is_else_as_it_was(usage: dict[str, Any]) -> None:
    readable = readable_chunk(Event.json_document(json.dumps({**ANSWER, "usage": usage}).encode()))
    told = {"prompt_tokens": 4, "completion_tokens": 9, "total_tokens": 13}
    assert json.loads(readable.raw) == {**ANSWER, "usage": {**usage, **told}}


@pytest.mark.parametrize("usage", [ANSWER["usage"], {"prompt_tokens": 0, "completion_tokens": 0}, {"cost": 1}, None])
def test_usage_in_openais_words_and_what_counts_nothing_pass_byte_for_byte(usage: Any) -> None:
    for event in (
        Event.of(json.dumps({"choices": [], "usage": usage}).encode()),
        Event.json_document(json.dumps({**ANSWER, "usage": usage}).encode()),
    ):
        assert readable_chunk(event) is event


def test_the_text_of_a_completion_in_a_chat_is_its_content() -> None:
    reader = ChunkReader()
    pieces = [
        {"index": 0, "text": "Good"},
        {"index": 0, "delta": {}, "text": " day"},
        {"index": 0, "delta": {"content": "!"}, "text": "!"},
    ]
    events = [Event.of(json.dumps({"id": "c", "choices": [piece]}).encode()) for piece in pieces]
    read = [json.loads(reader.read(event).data or b"")["choices"][0] for event in events]
    assert [choice["delta"]["content"] for choice in read] == ["Good", " day", "!"]
    assert joined(*events, chunk({}, "stop"))["message"]["content"] == "Good day!"
    document = Event.json_document(b'{"choices":[{"index":0,"text":"Good day","finish_reason":"stop"}]}')
    [choice] = json.loads(readable_chunk(document).data or b"")["choices"]
    assert choice == {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Good day"}}


def test_calls_that_are_told_twice_are_once_in_the_document() -> None:
    whole = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    events = [chunk({"tool_calls": [whole]}), chunk({"tool_calls": [whole]}, "tool_calls")]
    [made] = joined(*events)["message"]["tool_calls"]
    assert made["function"] == whole["function"]


def read_in_turn(*choices: dict[str, Any], **head: Any) -> list[dict[str, Any]]:
    reader = ChunkReader()
    events = [Event.of(json.dumps({"id": "c", **head, "choices": [choice]}).encode()) for choice in choices]
    return [json.loads(reader.read(event).data or b"") for event in events]


def test_stop_behind_tool_calls_is_no_other_end() -> None:
    call = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    ends = read_in_turn(
        {"index": 0, "delta": {"tool_calls": [call]}},
        {"index": 0, "delta": {}, "finish_reason": "tool_calls"},
        {"index": 0, "delta": {}, "finish_reason": "stop"},
        {"index": 1, "delta": {}, "finish_reason": "stop"},
    )
    assert [each["choices"][0].get("finish_reason") for each in ends] == [None, "tool_calls", "tool_calls", "stop"]


def test_choices_that_are_numbered_or_end_in_another_form_are_read_and_told_as_openai_tells_them() -> None:
    for index in ("0", None, 0.0):
        [text, end] = read_in_turn(
            {"index": index, "delta": {"content": "Hi"}},
            {"index": index, "delta": {}, "finish_reason": {"type": "stop", "matched": 2}},
        )
        assert text["choices"] == [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]
        assert end["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]


def test_of_a_stream_whose_first_chunk_lacks_what_openais_helpers_read_each_gets_it() -> None:
    choices = [{"delta": {"content": text}} for text in ("Good", " day")]
    for head in ({}, {"object": "chat.completion"}, {"object": "text_completion"}):
        read = read_in_turn(*choices, **head)
        assert [each["choices"][0]["index"] for each in read] == [0, 0]
        assert {each["object"] for each in read} == {"chat.completion.chunk"}
    reader = ChunkReader()
    event = Event.of(b'{"choices":[{"index":0,"delta":{"content":"Hi"}}]}')
    assert reader.read(event) is event
    assert reader.looks_at_each is False


def test_a_role_that_is_empty_is_left_out_of_each_chunk() -> None:
    said = [{"index": 0, "delta": {"role": "", "content": text}} for text in ("Good", " day")]
    read = read_in_turn(*said, {"index": 0, "delta": {"role": ""}, "finish_reason": "stop"})
    assert [each["choices"][0]["delta"] for each in read] == [{"content": "Good"}, {"content": " day"}, {}]


def test_two_calls_of_an_answer_never_have_one_id() -> None:
    told = [
        {"index": n, "id": "f", "type": "function", "function": {"name": f"f{n}", "arguments": "{}"}} for n in (0, 1)
    ]
    streamed = joined(chunk({"tool_calls": told}), chunk({}, "tool_calls"))["message"]["tool_calls"]
    whole = {"choices": [{"index": 0, "message": {"tool_calls": told}, "finish_reason": "tool_calls"}]}
    document = json.loads(readable_chunk(Event.json_document(json.dumps(whole).encode())).data or b"")
    for calls in (streamed, document["choices"][0]["message"]["tool_calls"]):
        assert [call["function"]["name"] for call in calls] == ["f0", "f1"]
        assert calls[0]["id"] == "f"
        assert calls[1]["id"] not in ("f", "")


def test_a_name_that_comes_in_pieces_is_one_in_the_document() -> None:
    pieces = [{"id": "a", "type": "function", "function": {"name": "get_", "arguments": ""}}, {"function": {"name": "time"}},
              {"function": {"arguments": "{}"}}]  # fmt: skip
    [call] = joined(*[chunk({"tool_calls": [{"index": 0, **each}]}) for each in pieces])["message"]["tool_calls"]
    assert call["function"] == {"name": "get_time", "arguments": "{}"}


def test_a_count_without_the_head_of_a_chunk_gets_that_of_the_chunks_before_it() -> None:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 7, "model": "m"}
    said = Event.of(json.dumps({**head, "choices": [{"index": 0, "delta": {"content": "Hi"}}]}).encode())
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    count = Event.of(json.dumps({"id": None, "choices": [], "usage": usage}).encode())
    reader = ChunkReader()
    assert reader.read(count) is count  # nothing is known yet
    assert reader.read(said) is said
    read = reader.read(count)
    assert json.loads(read.data or b"") == {**head, "choices": [], "usage": usage}
    assert read.answer is not None
    assert read.answer.counted is not None
    whole = Event.of(json.dumps({**head, "choices": [], "usage": usage}).encode())
    assert reader.read(whole) is whole
