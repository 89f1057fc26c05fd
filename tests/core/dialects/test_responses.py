"""Every event of Responses that OpenAI documents, and what servers make of them: the facts that are read."""

import json
from typing import Any

import pytest

from crplugins.core.completeness import Completeness
from crplugins.core.dialects import RESPONSES
from crplugins.core.errors import GatewayError
from crplugins.core.said import TOKENS_PER_CALL, UNITS, Said, weight
from crplugins.core.sse import Event
from crplugins.core.usage import TokenUsage
from tests.core.dialects.responses_streams import (
    SHAPES,
    USED,
    WORDS,
    Shape,
    frames,
    message,
    numbered,
    response,
    whole_stream,
)

USAGE = TokenUsage(70, 50, cached_input_tokens=16, reasoning_output_tokens=20)


class Heard:
    """What is read of a stream, up to its end mark."""

    def __init__(self, body: bytes) -> None:
        self.said, self.state, self.searches = Said(), Completeness(), 0
        self.usage: TokenUsage | None = None
        self.reason: str | None = None
        self.events: list[Event] = []
        for event in RESPONSES.splitter().feed(body):
            if self.state.done:
                break
            assert not event.is_malformed
            self.state.see(event)
            self.events.append(event)
            if (answer := event.answer) is not None:
                self.said.hear(answer.choices or ())
                self.searches += answer.searches
                self.usage = answer.counted or self.usage
                for choice in answer.choices or ():
                    self.reason = choice.finish_reason or self.reason


def calls_in(shape: Shape) -> int:
    return sum(1 for item in shape.output if item["type"].endswith(("_call", "_request")))


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("done", [False, True])
def test_a_stream_says_what_it_says_once_and_ends(name: str, done: bool) -> None:
    shape = SHAPES[name]
    heard = Heard(frames(whole_stream(shape)) + (b"data: [DONE]\n\n" if done else b""))
    assert heard.state.complete
    assert heard.state.done
    assert heard.usage is not None
    assert heard.usage.web_searches == heard.searches == shape.searches
    assert heard.usage.output_tokens == USAGE.output_tokens
    assert heard.reason == shape.reason
    assert heard.said.units == weight(shape.said)
    of_calls = calls_in(shape) * TOKENS_PER_CALL * UNITS
    assert heard.said.other == of_calls if name not in ("picture", "audio") else heard.said.other > of_calls


@pytest.mark.parametrize("name", SHAPES)
def test_a_whole_response_weighs_what_its_stream_weighs(name: str) -> None:
    shape = SHAPES[name]
    answer = RESPONSES.document(json.dumps(response(shape.output)).encode()).answer
    assert answer is not None
    said = Said()
    said.hear(answer.choices or ())
    if name != "audio":  # whose whole has no transcript
        assert said.units == weight(shape.said)
    assert answer.counted is not None
    assert answer.counted.web_searches == shape.searches
    assert [choice.finish_reason for choice in answer.choices or ()][-1] == shape.reason


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_sent_without_deltas_is_heard_when_it_is_whole(name: str) -> None:
    shape = SHAPES[name]
    events = [event for event in whole_stream(shape) if not event["type"].endswith(".delta")]
    if name != "audio":
        assert Heard(frames(events)).said.units == weight(shape.said)
    ends = [event for event in events if event["type"] in ("response.created", "response.completed")]
    heard = Heard(frames(ends))
    if name != "audio":
        assert heard.said.units == weight(shape.said)
    assert heard.usage is not None
    assert heard.usage.web_searches == shape.searches


@pytest.mark.parametrize("name", SHAPES)
def test_a_stream_that_is_cut_before_its_last_event_is_not_complete(name: str) -> None:
    events = whole_stream(SHAPES[name])
    for length in range(len(events)):
        assert not Heard(frames(events[:length])).state.complete


@pytest.mark.parametrize("name", SHAPES)
def test_a_type_beside_the_data_alone_is_read_and_written_into_it(name: str) -> None:
    shape = SHAPES[name]
    heard = Heard(frames(whole_stream(shape), typed=False))
    assert heard.state.complete
    assert heard.said.units == weight(shape.said)
    for event, sent in zip(heard.events, whole_stream(shape), strict=True):
        assert json.loads(RESPONSES.readable(event).data or b"") == sent


@pytest.mark.parametrize("name", SHAPES)
def test_an_event_as_openai_sends_it_is_the_same_object(name: str) -> None:
    for named in (False, True):
        for event in Heard(frames(whole_stream(SHAPES[name]), named=named)).events:
            assert RESPONSES.readable(event) is event


@pytest.mark.parametrize("name", SHAPES)
def test_a_whole_response_and_its_stream_are_made_of_each_other(name: str) -> None:
    whole = response(SHAPES[name].output)
    events = RESPONSES.stream_of(json.dumps(whole).encode())
    assert events is not None
    heard = Heard(b"".join(event.raw for event in events))
    assert heard.state.complete
    if name != "audio":
        assert heard.said.units == weight(SHAPES[name].said)
    numbers = [json.loads(event.data or b"")["sequence_number"] for event in events]
    assert numbers == list(range(len(events)))
    assert json.loads(RESPONSES.document_of(events) or b"") == whole


ENDS = {
    "max_output_tokens": ("length", {"incomplete_details": {"reason": "max_output_tokens"}}),
    "content_filter": ("content_filter", {"incomplete_details": {"reason": "content_filter"}}),
    "steered": ("stop", {"incomplete_details": {"reason": "steered"}}),
    "nothing": ("length", {}),
}


@pytest.mark.parametrize("name", ENDS)
def test_an_incomplete_response_is_an_end_with_its_reason(name: str) -> None:
    reason, details = ENDS[name]
    shape = SHAPES["text"]
    last = {"type": "response.incomplete", "response": response(shape.output, "incomplete", **details)}
    heard = Heard(frames(whole_stream(shape, last)))
    assert (heard.state.complete, heard.reason, heard.usage) == (True, reason, USAGE)


def test_a_response_that_waits_or_was_cancelled_is_no_failure() -> None:
    for status, reason in (("queued", None), ("in_progress", None), ("cancelled", "cancelled")):
        answer = RESPONSES.document(json.dumps(response([], status)).encode()).answer
        assert answer is not None
        assert answer.error is None
        assert [choice.finish_reason for choice in answer.choices or ()] == [reason]
    heard = Heard(frames([{"type": "response.queued", "response": response([], "queued")}]))
    assert not heard.state.failed
    assert not heard.state.complete


FAILURES: list[dict[str, Any]] = [
    {"type": "error", "code": "server_error", "message": "Gone.", "param": None, "sequence_number": 2},
    {"type": "error", "error": {"type": "server_error", "code": None, "message": "Gone."}},
    {"type": "error", "message": "Gone."},
    {"error": {"message": "Gone.", "type": "server_error"}},
    {"type": "response.failed", "response": response([], "failed", error={"code": "server_error", "message": "Gone."})},
    {"type": "response.failed", "response": {"status": "failed"}},
    {"type": "response.failed"},
]


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_inside_a_stream_is_one_in_each_of_its_forms(failure: dict[str, Any]) -> None:
    for name in ("text", "function call"):
        events = whole_stream(SHAPES[name])[:5]
        heard = Heard(frames([*events, failure | {"type": failure.get("type", "error")}]))
        assert heard.state.failed
        assert not heard.state.complete
    [event] = RESPONSES.splitter().feed(b"data: " + json.dumps(failure).encode() + b"\n\n")
    assert event.answer is not None
    assert event.answer.error is not None
    if "Gone." in json.dumps(failure):
        assert b"Gone." in RESPONSES.error_in(event)


def test_a_whole_response_that_has_failed_is_no_answer_and_is_billed() -> None:
    failed = response([], "failed", error={"code": "rate_limit_exceeded", "message": "Slow down."})
    event = RESPONSES.document(json.dumps(failed).encode())
    assert event.answer is not None
    assert not event.answer.choices
    assert event.answer.counted == USAGE
    assert json.loads(RESPONSES.error_in(event))["error"]["type"] == "rate_limit_error"


def test_the_error_that_we_send_has_the_next_number_and_both_forms() -> None:
    error = GatewayError(502, "Gone.", type="server_error", code="upstream_error")
    [first] = RESPONSES.last_events(error, "id")
    assert json.loads(first.data or b"")["sequence_number"] == 0
    before = Heard(frames(whole_stream(SHAPES["text"])[:6])).events[-1]
    [event] = RESPONSES.last_events(error, "id", before)
    told = {"type": "server_error", "code": "upstream_error", "message": "Gone.", "param": None}
    assert json.loads(event.data or b"") == {
        "type": "error", "sequence_number": 6, "code": "upstream_error", "message": "Gone.", "param": None,
        "error": told,
    }  # fmt: skip
    assert event.name == b"error"
    assert event.raw.startswith(b"event: error\ndata: {")


ODD: list[tuple[str, Any]] = [
    ("output_index", None), ("output_index", "0"), ("content_index", None), ("message", {"a": 1}), ("item", 7),
    ("type", None), ("response", None), ("incomplete_details", "why"), ("service_tier", 7), ("output", {}),
    ("model", ["m"]), ("error", False), ("tool_usage", 3), ("usage", {"input_tokens": 70, "output_tokens": 50.0,
     "input_tokens_details": None, "output_tokens_details": {"reasoning_tokens": "many"}}),
]  # fmt: skip


@pytest.mark.parametrize(("member", "value"), ODD)
def test_one_member_of_another_type_costs_nothing_but_itself(member: str, value: Any) -> None:
    shape = SHAPES["text"]
    whole = {**response(shape.output), member: value}
    heard = Heard(frames(whole_stream(shape, {"type": "response.completed", "response": whole})))
    assert heard.state.complete
    assert heard.usage is not None
    assert (heard.usage.input_tokens, heard.usage.output_tokens) == (70, 50)
    delta = {"type": "response.output_text.delta", "delta": WORDS, "output_index": 0, "content_index": 0}
    if member != "type":
        assert Heard(frames([delta | {member: value}])).said.units == weight(WORDS)


def test_half_an_emoji_is_read() -> None:
    [event] = RESPONSES.splitter().feed(
        b'data: {"type":"response.output_text.delta","output_index":0,"delta":"\\ud83d"}\n\n'
    )
    assert not event.is_malformed
    assert event.answer is not None
    assert event.answer.says()


@pytest.mark.parametrize("data", [b"{}", b'{"type": "ping"}', b"null", b"[]"])
def test_a_heartbeat_is_none_of_the_answer(data: bytes) -> None:
    [event] = RESPONSES.splitter().feed(b"data: " + data + b"\n\n")
    assert event.is_heartbeat


@pytest.mark.parametrize(
    "kind", ["keepalive", "response.steer.accepted", "response.something.new", "codex.rate_limits"]
)
def test_an_event_that_nobody_knows_passes(kind: str) -> None:
    [event] = RESPONSES.splitter().feed(frames([{"type": kind, "sequence_number": 3}]))
    assert not event.is_heartbeat
    assert not event.is_malformed


def test_the_searches_that_openai_bills_are_those_that_it_tells_beside_the_usage() -> None:
    shape = SHAPES["web search"]
    for number in (0, 1, 7):
        told = {"web_search": {"num_requests": number}, "image_gen": {"input_tokens": 0}}
        whole = response(shape.output, tool_usage=told)
        heard = Heard(frames(whole_stream(shape, {"type": "response.completed", "response": whole})))
        assert heard.usage is not None
        assert heard.usage.web_searches == number


def test_searches_count_where_the_last_event_leaves_its_items_out() -> None:
    last = {"type": "response.completed", "response": response([])}
    heard = Heard(frames(whole_stream(SHAPES["web search"], last)))
    assert heard.usage is not None
    assert heard.usage.web_searches == 2


def test_the_sum_of_several_attempts_takes_the_place_of_what_the_last_one_tells() -> None:
    whole = TokenUsage(100, 60, 16, 9, 20, long_cache_write_input_tokens=4, web_searches=3)
    shape = SHAPES["web search"]
    told = response(shape.output, tool_usage={"web_search": {"num_requests": 2}})
    last = Heard(frames(whole_stream(shape, {"type": "response.completed", "response": told}))).events[-1]
    for event in (last, RESPONSES.document(json.dumps(told).encode())):
        summed = RESPONSES.with_usage(event, whole)
        assert summed.answer is not None
        assert summed.answer.counted == whole
        read = RESPONSES.document(summed.raw) if event.document else RESPONSES.splitter().feed(summed.raw)[0]
        assert read.answer is not None
        assert read.answer.counted == whole
        assert read.answer.ends is not event.document


def test_a_failed_search_is_free() -> None:
    search = {"type": "web_search_call", "status": "failed", "action": {"type": "search", "query": "fox"}}
    answer = RESPONSES.document(json.dumps(response([search])).encode()).answer
    assert answer is not None
    assert answer.counted == USAGE


def test_an_end_without_its_response_is_an_end() -> None:
    events = whole_stream(SHAPES["text"], {"type": "response.completed"})
    heard = Heard(frames(events))
    assert heard.state.complete
    assert heard.usage is None
    flat = {"type": "response.completed", "id": "resp_1", "status": "completed", "usage": USED}
    assert Heard(frames(whole_stream(SHAPES["text"], flat))).usage == USAGE


def test_a_state_without_type_or_name_is_told_by_its_status() -> None:
    events, whole = message()
    body = frames(numbered(events)) + b"data: " + json.dumps({"response": response([whole])}).encode() + b"\n\n"
    assert Heard(body).state.complete


def test_a_tool_that_runs_is_a_sign_of_life_and_a_state_of_the_response_is_none() -> None:
    events = {event["type"]: event for shape in SHAPES.values() for event in whole_stream(shape)}
    for kind, event in events.items():
        [read] = RESPONSES.splitter().feed(frames([event]))
        assert read.answer is not None
        runs = ("_call.", "mcp_list_tools", "annotation.added")
        if any(word in kind for word in runs):
            assert read.answer.says(), kind
        if kind in ("response.created", "response.in_progress", "response.content_part.added"):
            assert not read.answer.says(), kind
