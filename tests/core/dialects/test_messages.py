"""Anthropic's Messages: each event and block that it documents, and what servers make of them."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core.completeness import Completeness
from crplugins.core.dialects import COUNT_TOKENS, MESSAGES
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, Timings
from crplugins.core.said import Said
from crplugins.core.sse import Event
from crplugins.core.usage import Price, TokenUsage, pico_usd
from crplugins.core.wire import AnswerFacts

Fields = dict[str, Any]

BLOCKS: list[Fields] = [
    {"type": "thinking", "thinking": "Let me see.", "signature": "EqQBCgIYAhIM1gbcDa9G"},
    {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix"},
    {"type": "text", "text": "The sky "},
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "sky"}},
    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1",
     "content": [{"type": "web_search_result", "url": "https://sky.test", "title": "Sky", "encrypted_content": "E" * 40}]},
    {"type": "text", "text": "is blue.",
     "citations": [{"type": "web_search_result_location", "url": "https://sky.test", "cited_text": "blue"}]},
    {"type": "bash_code_execution_tool_result", "tool_use_id": "srvtoolu_1", "content": {"stdout": "7\n" * 40}},
    {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "echo", "server_name": "demo", "input": {"text": "hi"}},
    {"type": "mcp_tool_result", "tool_use_id": "mcptoolu_1", "is_error": False, "content": "hi" * 40},
    {"type": "container_upload", "file_id": "file_1"},
    {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}},
]  # fmt: skip
START: Fields = {
    "input_tokens": 25, "output_tokens": 1, "cache_read_input_tokens": 5000, "cache_creation_input_tokens": 3000,
    "cache_creation": {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000},
    "service_tier": "standard", "inference_geo": "us", "speed": "fast",
}  # fmt: skip
END: Fields = {
    "input_tokens": 25, "output_tokens": 503, "cache_read_input_tokens": 5000, "cache_creation_input_tokens": 3000,
    "output_tokens_details": {"thinking_tokens": 100}, "server_tool_use": {"web_search_requests": 2},
}  # fmt: skip
WHOLE: Fields = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": BLOCKS,
    "stop_reason": "tool_use", "stop_sequence": None, "usage": {**START, **END},
}  # fmt: skip
COUNTS = TokenUsage(
    input_tokens=8025,
    output_tokens=503,
    cached_input_tokens=5000,
    cache_write_input_tokens=3000,
    long_cache_write_input_tokens=2000,
    reasoning_output_tokens=100,
    web_searches=2,
)
PRICE = Price(
    input=pico_usd("3e-6"),
    output=pico_usd("15e-6"),
    cached_input=pico_usd("3e-7"),
    cache_write_input=pico_usd("3.75e-6"),
    long_cache_write_input=pico_usd("6e-6"),
    web_search=pico_usd("0.01"),
)
MICRO_USD = 75 + 1500 + 3750 + 12_000 + 7545 + 20_000


def sse(*events: Fields, named: bool = True) -> bytes:
    return b"".join(
        (f"event: {event['type']}\n" if named else "").encode() + b"data: " + json.dumps(event).encode() + b"\n\n"
        for event in events
    )


def started(usage: Fields | None = START) -> Fields:
    message = {**WHOLE, "content": [], "stop_reason": None, "usage": usage}
    return {"type": "message_start", "message": message}


def ended(usage: Fields | None = END, reason: str | None = "end_turn") -> Fields:
    return {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage}


STOP: Fields = {"type": "message_stop"}
PING: Fields = {"type": "ping"}


def delta(kind: str, **fields: Any) -> Fields:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": kind, **fields}}


def text(words: str) -> Fields:
    return delta("text_delta", text=words)


def spoken(start: Fields | None, end: Fields | None, *, named: bool = True) -> bytes:
    """A stream that says "Blue."."""
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    over = {"type": "content_block_stop", "index": 0}
    return sse(started(start), PING, block, text("Blue."), over, ended(end), STOP, named=named)


def answer_to(stream: bytes) -> tuple[Exchange, Completeness, list[Event]]:
    """The facts of a request that is answered with this."""
    exchange = Exchange("id", "POST", "/v1/messages", (), None, lambda: 0.0, Timings(0.0), dialect=MESSAGES)
    state, splitter = Completeness(), MESSAGES.splitter()
    events = splitter.feed(stream)
    for event in events:
        state.see(event)
        exchange.note_facts(event)
    return exchange, state, events


def test_a_stream_with_all_blocks_is_counted_and_charged_exactly() -> None:
    events = MESSAGES.stream_of(json.dumps(WHOLE).encode())
    exchange, state, _ = answer_to(b"".join(event.raw for event in events))
    exchange.concluded(200, left=False, complete=True)
    assert state.complete
    assert state.done
    assert (exchange.usage, exchange.usage_source) == (COUNTS, "provider")
    assert exchange.cost_at(PRICE, COUNTS) == MICRO_USD
    assert exchange.finish_reason == "tool_calls"
    assert (exchange.provider_model, exchange.service_tier, exchange.inference_geo) == ("claude", "fast", "us")


def test_a_whole_message_is_counted_and_charged_the_same() -> None:
    answer = MESSAGES.document(json.dumps(WHOLE).encode()).answer
    assert answer is not None
    assert answer.counted == COUNTS
    assert [choice.finish_reason for choice in answer.choices or ()] == ["tool_calls"]


def test_what_is_said_is_the_same_in_both_forms_and_nothing_that_a_tool_has_found() -> None:
    exchange, _, _ = answer_to(b"".join(event.raw for event in MESSAGES.stream_of(json.dumps(WHOLE).encode())))
    whole = Said()
    answer = MESSAGES.document(json.dumps(WHOLE).encode()).answer
    assert answer is not None
    whole.hear(answer.choices or ())
    assert (exchange.said.units, exchange.said.other) == (whole.units, whole.other)
    calls = ['web_search{"query":"sky"}', 'echo{"text":"hi"}', 'get_weather{"city":"Paris"}']
    assert whole.units == 3 * len("Let me see.The sky is blue." + "".join(calls))


def test_a_message_becomes_a_stream_and_the_stream_the_same_message() -> None:
    events = MESSAGES.stream_of(json.dumps(WHOLE).encode())
    assert json.loads(MESSAGES.document_of(events)) == WHOLE


def test_a_stream_that_is_cut_behind_any_event_is_never_complete() -> None:
    events = MESSAGES.stream_of(json.dumps(WHOLE).encode())
    for length in range(len(events) - 2):
        _, state, _ = answer_to(b"".join(event.raw for event in events[:length]))
        assert not state.complete, length
    assert answer_to(b"".join(event.raw for event in events[:-1]))[1].complete  # the reason has come


@pytest.mark.parametrize(
    ("start", "end", "counted"),
    [
        ({"input_tokens": 25, "output_tokens": 1}, {"output_tokens": 15}, (25, 15, 0)),
        ({"input_tokens": 0, "output_tokens": 0}, {"input_tokens": 25, "output_tokens": 15}, (25, 15, 0)),
        ({"input_tokens": 25, "output_tokens": 0}, {"input_tokens": 0, "output_tokens": 15}, (25, 15, 0)),
        (None, {"input_tokens": 25, "output_tokens": 15}, (25, 15, 0)),
        ({"input_tokens": 9}, {"input_tokens": 9, "cache_read_input_tokens": 16, "output_tokens": 15}, (25, 15, 16)),
        ({"input_tokens": 25}, {"input_tokens": 40, "output_tokens": 15}, (40, 15, 0)),  # the provider's tools
    ],
)
def test_the_last_word_of_each_count_holds(start: Fields | None, end: Fields, counted: tuple[int, int, int]) -> None:
    exchange, _, _ = answer_to(sse(started(start), text("Hi"), ended(end), STOP))
    usage = exchange.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.cached_input_tokens) == counted
    assert exchange.usage_source == "provider"


def test_what_is_kept_for_an_hour_is_told_at_the_start_alone_and_not_lost() -> None:
    exchange, _, _ = answer_to(sse(started(), text("Hi"), ended({"output_tokens": 15}), STOP))
    assert exchange.usage is not None
    assert exchange.usage.cache_write_input_tokens == 3000
    assert exchange.usage.long_cache_write_input_tokens == 2000


@pytest.mark.parametrize("end", [None, {}])
def test_the_first_count_of_the_output_is_never_the_last(end: Fields | None) -> None:
    words = [text("word ") for _ in range(80)]
    exchange, state, _ = answer_to(sse(started({"input_tokens": 25, "output_tokens": 1}), *words, ended(end), STOP))
    exchange.concluded(200, left=False, complete=True)
    assert state.complete
    assert exchange.usage is not None
    assert exchange.usage.input_tokens == 25
    assert 70 <= exchange.usage.output_tokens <= 110
    assert exchange.usage_source == "estimated"


def test_a_client_that_leaves_has_used_the_prompt_and_what_came() -> None:
    exchange, _, _ = answer_to(sse(started(), *[text("word ") for _ in range(40)]))
    exchange.concluded(200, left=True, complete=False)
    assert exchange.usage is not None
    assert (exchange.usage.input_tokens, exchange.usage.cached_input_tokens) == (8025, 5000)
    assert 40 <= exchange.usage.output_tokens <= 60


def test_counts_in_the_last_event_are_read_too() -> None:
    exchange, state, _ = answer_to(sse(started(None), text("Hi"), ended(None), {**STOP, "usage": END}))
    assert state.done
    assert exchange.usage is not None
    assert exchange.usage.output_tokens == 503


def test_iterations_that_the_counts_leave_out_are_added() -> None:
    usage = {
        "input_tokens": 100, "output_tokens": 10,
        "iterations": [
            {"type": "message", "input_tokens": 100, "output_tokens": 10},
            {"type": "compaction", "input_tokens": 5000, "output_tokens": 700, "cache_read_input_tokens": 1000,
             "cache_creation_input_tokens": 0},
            {"type": "advisor_message", "model": "claude-other", "input_tokens": 30, "output_tokens": 3,
             "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0},
        ],
    }  # fmt: skip
    answer = MESSAGES.document(json.dumps({**WHOLE, "usage": usage}).encode()).answer
    assert answer is not None
    assert answer.counted == TokenUsage(6130, 713, cached_input_tokens=1000)


@pytest.mark.parametrize(
    ("reason", "ours"),
    [
        ("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"), ("tool_use", "tool_calls"),
        ("refusal", "content_filter"), ("model_context_window_exceeded", "length"), ("pause_turn", "pause_turn"),
        ("compaction", "compaction"), ("a_later_one", "a_later_one"),
    ],
)  # fmt: skip
def test_each_reason_is_an_end(reason: str, ours: str) -> None:
    exchange, state, _ = answer_to(sse(started(), text("Hi"), ended(reason=reason), STOP))
    assert state.complete
    assert exchange.finish_reason == ours


@pytest.mark.parametrize("reason", [None, "", "null", "error"])
def test_no_reason_is_no_end(reason: str | None) -> None:
    _, state, _ = answer_to(sse(started(), text("Hi"), ended(reason=reason), STOP))
    assert not state.complete
    assert state.failed


@pytest.mark.parametrize(
    "error",
    [
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        {"type": "error"},
        {"error": {"message": "Overloaded", "type": "server_error", "code": 500}},
        {"object": "error", "message": "Overloaded", "type": "InternalServerError", "code": 500},
    ],
)
def test_an_error_in_a_stream_is_one_in_any_shape(error: Fields) -> None:
    _, state, events = answer_to(sse(started(), text("Hi"), named=False) + sse({"type": "x", **error}, named=False))
    assert state.failed
    assert not events[-1].is_malformed


@pytest.mark.parametrize(
    "sign_of_life",
    [delta("signature_delta", signature="Eq"), {"type": "content_block_start", "index": 0, "content_block": BLOCKS[1]}],
)
def test_thoughts_that_nobody_is_shown_are_a_sign_of_life_and_weigh_nothing(sign_of_life: Fields) -> None:
    exchange, _, events = answer_to(sse(started(), sign_of_life))
    assert events[-1].answer is not None
    assert events[-1].answer.says()
    assert exchange.said.tokens() == 0


@pytest.mark.parametrize("event", [PING, {"type": "content_block_stop", "index": 0}, {"type": "a_later_one", "x": [1]}])
def test_other_events_pass_and_say_nothing(event: Fields) -> None:
    [event_read] = MESSAGES.splitter().feed(sse(event))
    assert event_read.answer == AnswerFacts(choices=[])
    assert not event_read.is_heartbeat
    assert not event_read.is_malformed


def test_an_empty_object_is_a_heartbeat() -> None:
    [event] = MESSAGES.splitter().feed(b"data: {}\n\n")
    assert event.is_heartbeat


@pytest.mark.parametrize(
    "odd",
    [{"index": None}, {"index": "0"}, {"usage": [], "delta": {"type": "text_delta", "text": "Hi", "stop_reason": 5}}],
)
def test_one_odd_field_loses_no_other(odd: Fields) -> None:
    exchange, _, _ = answer_to(sse(started({**START, "service_tier": 5, "input_tokens": 25.0}), {**text("Hi"), **odd}))
    assert exchange.said.units == 3 * len("Hi")
    assert exchange.provider_model == "claude"
    assert exchange.usage is not None
    assert exchange.usage.input_tokens == 8025


def test_half_an_emoji_is_read_as_clients_read_it() -> None:
    half = b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\\ud83d"}}\n\n'
    [event] = MESSAGES.splitter().feed(half)
    assert event.answer is not None
    assert event.answer.says()


def test_an_emoji_that_is_cut_in_two_is_one_character_of_the_message() -> None:
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    events = MESSAGES.splitter().feed(sse(started(), block, text("a\ud83d"), text("\ude00b"), ended(), STOP))
    assert json.loads(MESSAGES.document_of(events))["content"] == [{"type": "text", "text": "a\U0001f600b"}]


@pytest.mark.parametrize(
    ("pieces", "read"),
    [
        (['{"a":"\ud83d', '\ude00","n":1e2}'], {"a": "\U0001f600", "n": 100.0}),
        (['{"a":"\ud83d"}'], {"a": "\ud83d"}),
        (['{"a":"x\ud83d'], '{"a":"x\ud83d'),
        (['{"a":'], '{"a":'),
    ],
)
def test_the_input_of_a_call_is_read_whatever_halves_of_an_emoji_it_has(pieces: list[str], read: Any) -> None:
    call = {"type": "tool_use", "id": "t", "name": "n", "input": {}}
    block = {"type": "content_block_start", "index": 0, "content_block": call}
    said = [delta("input_json_delta", partial_json=piece) for piece in pieces]
    events = MESSAGES.splitter().feed(sse(started(), block, *said, ended(), STOP))
    [told] = json.loads(MESSAGES.document_of(events))["content"]
    assert told["input"] == read


def test_an_event_without_a_name_gets_that_of_its_type_as_the_sdks_need_it() -> None:
    [event] = MESSAGES.splitter().feed(sse(text("Hi"), named=False))
    assert MESSAGES.readable(event).raw == sse(text("Hi"))
    [named] = MESSAGES.splitter().feed(sse(text("Hi")))
    assert MESSAGES.readable(named) is named


@pytest.mark.parametrize("kind", ["a\nb", "\ud800", "", 5, None])
def test_no_type_writes_a_line_of_its_own(kind: object) -> None:
    [event] = MESSAGES.splitter().feed(b"data: " + json.dumps({"type": kind}).encode() + b"\n\n")
    assert MESSAGES.readable(event) is event


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"), (401, "authentication_error"), (403, "permission_error"),
        (404, "not_found_error"), (405, "invalid_request_error"), (413, "request_too_large"),
        (422, "invalid_request_error"), (429, "rate_limit_error"), (500, "api_error"), (502, "api_error"),
        (503, "overloaded_error"), (504, "timeout_error"), (529, "overloaded_error"),
    ],
)  # fmt: skip
def test_an_error_has_anthropics_type_and_our_code(status: int, kind: str) -> None:
    error = GatewayError(status, "No.", param="messages[0]", code="a_code")
    assert json.loads(MESSAGES.error_body(error, "id-1")) == {
        "type": "error",
        "error": {"type": kind, "message": "No.", "details": {"error_code": "a_code", "param": "messages[0]"}},
        "request_id": "id-1",
    }


def test_an_error_without_a_code_has_no_details() -> None:
    assert "details" not in json.loads(MESSAGES.error_body(GatewayError(500, "No."), "id-1"))["error"]


def test_a_type_beside_the_data_alone_is_read_too() -> None:
    data = {"index": 0, "delta": {"type": "text_delta", "text": "Hi"}}
    [event] = MESSAGES.splitter().feed(b"event: content_block_delta\ndata: " + json.dumps(data).encode() + b"\n\n")
    assert event.answer is not None
    assert event.answer.says()


@pytest.mark.parametrize("number", [4, 6, 8])
def test_what_a_tool_of_the_provider_has_found_is_a_sign_of_life(number: int) -> None:
    exchange, _, events = answer_to(sse(started(), {"type": "content_block_start", "content_block": BLOCKS[number]}))
    assert events[-1].answer is not None
    assert events[-1].answer.says()
    assert exchange.said.tokens() == 0


def test_a_client_can_be_told_another_count() -> None:
    told = TokenUsage(
        input_tokens=100, output_tokens=20, cached_input_tokens=30, cache_write_input_tokens=40,
        long_cache_write_input_tokens=15, reasoning_output_tokens=5, web_searches=3,
    )  # fmt: skip
    stream = b"".join(event.raw for event in MESSAGES.stream_of(json.dumps(WHOLE).encode()))
    counting = [event for event in MESSAGES.splitter().feed(stream) if event.answer and event.answer.usage]
    assert len(counting) == 2
    for event in [*counting, MESSAGES.document(json.dumps(WHOLE).encode())]:
        changed = MESSAGES.with_usage(event, told)
        assert changed.answer is not None
        assert changed.answer.counted == told
        assert changed.name == event.name
        read = MESSAGES.document(changed.data or b"").answer
        assert read is not None
        assert read.counted in (told, None if changed.name == b"message_delta" else told)
        assert b"5000" not in changed.raw


def test_counting_tokens_uses_none() -> None:
    answer = COUNT_TOKENS.document(b'{"input_tokens": 2095}').answer
    assert answer is not None
    assert answer.choices
    assert answer.counted is None
    error = COUNT_TOKENS.document(b'{"type":"error","error":{"type":"api_error","message":"No."}}').answer
    assert error is not None
    assert error.error is not None


ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 2**70)
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "text", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*START, "type", "text"]), inner),
    max_leaves=6,
)
KINDS = ["message_start", "content_block_start", "content_block_delta", "message_delta", "message_stop", "message", "x"]
MEMBERS = ["message", "delta", "content_block", "usage", "content", "index", "error", "model", "stop_reason"]


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(MEMBERS), ODD)), max_size=6))
def test_whatever_a_server_sends_the_books_get_sane_integers(events: list[tuple[str, Fields]]) -> None:
    stream = sse(*[{**fields, "type": kind} for kind, fields in events])
    exchange, _, read = answer_to(stream)
    exchange.concluded(200, left=False, complete=True)
    usage = exchange.usage
    assert usage is None or all(0 <= count <= 2**43 for count in msgspec.structs.astuple(usage))
    assert b"".join(event.raw for event in read) == stream
    for event in read:
        assert MESSAGES.readable(event).raw.endswith(b"\n\n")
    json.loads(MESSAGES.document_of(read))


@given(st.integers(0, 400), st.integers(1, 60))
def test_facts_do_not_depend_on_the_pieces_in_which_a_stream_comes(start: int, size: int) -> None:
    stream = b"".join(event.raw for event in MESSAGES.stream_of(json.dumps(WHOLE).encode()))
    whole, pieces = MESSAGES.splitter(), MESSAGES.splitter()
    events = pieces.feed(stream[:start])
    for at in range(start, len(stream), size):
        events += pieces.feed(stream[at : at + size])
    assert [event.answer for event in events] == [event.answer for event in whole.feed(stream)]
