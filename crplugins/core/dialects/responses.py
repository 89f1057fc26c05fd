"""Responses (OpenAI, "Create a model response"): what Codex and the Agents SDK speak.

An answer is a list of items. A stream tells pieces of each item (`.delta`), repeats them when they are whole (`.done`),
and ends with an event that has the whole response and its usage: `response.completed`, `response.incomplete` or
`response.failed`. There is no `[DONE]`; some servers send one after the end, which is not read any more.

What its items say is in `responses_items.py`, its two forms in `responses_forms.py`.
"""

from typing import Any, Final

import msgspec

from crplugins.core.delta import Delta
from crplugins.core.dialects.dialect import Dialect
from crplugins.core.dialects.responses_forms import (
    document_of,
    following,
    readable_event,
    stream_of,
    usage_object,
    with_usage,
)
from crplugins.core.dialects.responses_items import (
    DELTAS,
    call,
    calls_its_client,
    is_call,
    name_of,
    piece,
    said_in,
    search_context_size,
    searches,
)
from crplugins.core.errors import INVALID_REQUEST, SERVER_ERROR, GatewayError
from crplugins.core.lenient_json import NOT_JSON, decode_leniently, struct_of_what_fits
from crplugins.core.reported_usage import ReportedUsage, read_usage
from crplugins.core.sse import Event, Read, Splitter
from crplugins.core.usage import TokenUsage
from crplugins.core.wire import AnswerFacts, Choice, LastFacts, Misshapen, ProgressFacts, SearchFacts


class _Reason(msgspec.Struct):
    reason: str | None = None


class _WebSearches(msgspec.Struct):
    num_requests: int | None = None


class _ToolUsage(msgspec.Struct):
    web_search: _WebSearches | None = None


class _Response(msgspec.Struct):
    """A response, whole or as far as it has come."""

    object: str | None = None
    model: str | None = None
    status: str | None = None
    usage: ReportedUsage | None = None
    tool_usage: _ToolUsage | None = None
    error: Any = None
    incomplete_details: _Reason | None = None
    service_tier: str | None = None
    output: list[dict[str, Any]] | None = None
    tools: Any = None


class _Event(_Response):
    """An event of a stream, or a whole response."""

    type: str | None = None
    response: _Response | None = None
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    command_index: int = 0
    delta: Any = None
    text: Any = None
    refusal: Any = None
    arguments: Any = None
    input: Any = None
    code: Any = None
    command: Any = None
    diff: Any = None
    item: Any = None
    message: Any = None
    param: Any = None


_event: Final = msgspec.json.Decoder(_Event)

_ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.cancelled"})
_STATES: Final = _ENDS | {"response.created", "response.queued", "response.in_progress", "response.failed"}
_TYPES: Final = {
    "server_error": SERVER_ERROR, "vector_store_timeout": SERVER_ERROR, "rate_limit_exceeded": "rate_limit_error",
    "insufficient_quota": "insufficient_quota", "server_is_overloaded": "service_unavailable_error",
    "slow_down": "service_unavailable_error",
}  # fmt: skip
"""The types of OpenAI's errors by the codes of responses that have failed; every other code finds fault with the
request: a picture that cannot be read, a prompt against its policy."""

_SILENT: Final = ("response.content_part.", "response.reasoning_summary_part.", "response.reasoning_part.")
"""What begins and ends a part of an item."""

_SIGNS_OF_LIFE: Final = frozenset({None, "ping"})
"""Types of what is no event of OpenAI's. Its own `keepalive` is one, which every client knows."""

_MOST_HEARD: Final = 10_000
"""Pieces of how many items are told apart: more than any answer has."""


class Responses(Dialect):
    """`POST /v1/responses`."""

    name = "responses"
    path = "/responses"
    prompt: tuple[str, ...] = ("input", "instructions", "tools", "prompt", "text")
    output_limits: tuple[str, ...] = ("max_output_tokens",)
    keeps_answers = True
    parameters: tuple[str, ...] = (
        "metadata", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_retention", "safety_identifier",
        "service_tier", "store", "temperature", "top_logprobs", "top_p", "user",
    )  # fmt: skip
    model_within = "response"

    def read(self, data: bytes) -> AnswerFacts | None:
        return _Reader().read(data)

    def reader(self) -> Read:
        """What reads the events of one stream, and hears once what several of them say."""
        return _Reader().read

    def splitter(self, limit: int | None = None) -> Splitter:
        return Splitter(limit, self.reader())

    def readable(self, event: Event) -> Event:
        return readable_event(event)

    def stream_of(self, document: bytes) -> list[Event] | None:
        frames = stream_of(document)
        return None if frames is None else self.splitter(len(frames)).feed(frames)

    def document_of(self, events: list[Event]) -> bytes | None:
        return document_of(events)

    def with_usage(self, event: Event, told: TokenUsage) -> Event:
        answer = event.answer
        assert answer is not None
        usage = usage_object(told)
        facts = msgspec.structs.replace(answer, usage=read_usage(usage | {"num_search_queries": told.web_searches}))
        return event.with_data(with_usage(event, usage, told.web_searches), facts)

    def error_in(self, event: Event) -> bytes:
        """The error alone: that of `response.failed` stands within the response, where nobody else looks for it."""
        failure = None if event.answer is None else event.answer.error
        if not isinstance(failure, dict):
            return event.data or b""
        if failure.get("type") or not isinstance(code := failure.get("code"), str):
            return msgspec.json.encode({"error": failure})
        return msgspec.json.encode({"error": {**failure, "type": _TYPES.get(code, INVALID_REQUEST)}})

    def error_event(self, error: GatewayError, request_id: str) -> Event:
        """With its parts at the top, as OpenAI documents the event, and in `error` too, as OpenAI sends it: its SDKs
        raise an exception for that alone."""
        told = error.error
        fields = {"type": "error", "sequence_number": 0, "code": told.code or told.type, "message": told.message}
        return _error(msgspec.json.encode({**fields, "param": told.param, "error": told}))

    def following(self, failure: Event, last: Event | None) -> Event:
        data = following(failure.data or b"", last)
        return failure if data is None else _error(data)


def _error(data: bytes) -> Event:
    return Event.named(b"error", data, AnswerFacts(error={}))


class _Reader:
    """Reads the events of one stream, or one whole response.

    It remembers of which pieces it has read the deltas, so that what repeats them is not counted, and what comes
    without any delta is. Of searches of the web it remembers the number, as some servers leave the items out of the
    last event.
    """

    __slots__ = ("_heard", "_items", "_searches")

    def __init__(self) -> None:
        self._searches = 0
        self._heard: set[tuple[str, int, int]] = set()
        self._items: set[int] = set()

    def read(self, data: bytes, name: bytes = b"") -> AnswerFacts | None:
        """See `Dialect.read`. `name` is the event's, where its data names no type."""
        try:
            event = _event.decode(data)
        except NOT_JSON:
            try:
                value = decode_leniently(data)
            except NOT_JSON:
                return None
            if not isinstance(value, dict):
                return Misshapen() if value else AnswerFacts()  # null and [] are signs of life
            event = _what_fits(value)
        kind = event.type or _kind_of(event, name)
        if kind is not None and kind.endswith(".delta"):
            return self._delta(kind.removesuffix(".delta"), event)
        if kind in _STATES:
            return self._state(kind, event.response or event)
        if kind is not None and kind.startswith("response."):
            return self._other(kind, event)
        if kind == "error":
            told = {"code": event.code, "message": event.message, "param": event.param}
            return AnswerFacts(error=event.error or told)
        if event.object == "response" or event.output is not None:
            return self._whole(event)
        if event.error is None and kind in _SIGNS_OF_LIFE:
            return AnswerFacts()
        return AnswerFacts(choices=[], error=event.error)

    def _delta(self, kind: str, event: _Event) -> AnswerFacts:
        told = DELTAS.get(kind)
        if told is None:
            return _says(Delta(content=event.delta)) if isinstance(event.delta, str) else ProgressFacts(choices=[])
        return self._hear(kind, told.what, told.apart, event, event.delta)

    def _hear(self, kind: str, what: str, index: str, event: _Event, value: Any) -> AnswerFacts:
        if not isinstance(value, str) or not value:
            return AnswerFacts(choices=[])
        if len(self._heard) < _MOST_HEARD:
            self._heard.add((kind, event.output_index, getattr(event, index) if index else 0))
            self._items.add(event.output_index)
        return _says(piece(what, value, event.output_index))

    def _other(self, kind: str, event: _Event) -> AnswerFacts:
        if kind == "response.output_item.added":
            return self._added(event.item, event.output_index)
        if kind == "response.output_item.done":
            return self._done(event.item, event.output_index)
        stem = kind.rpartition(".")[0]
        told = DELTAS.get(stem)
        if told is None:
            return AnswerFacts(choices=[]) if kind.startswith(_SILENT) else ProgressFacts(choices=[])
        index = getattr(event, told.apart) if told.apart else 0
        if not told.whole or (stem, event.output_index, index) in self._heard:
            return AnswerFacts(choices=[])
        return self._hear(stem, told.what, told.apart, event, getattr(event, told.whole))

    def _added(self, item: Any, index: int) -> AnswerFacts:
        if isinstance(item, dict) and is_call(item):
            return _says(call(index, name_of(item)))
        return AnswerFacts(choices=[])

    def _done(self, item: Any, index: int) -> AnswerFacts:
        """An item is whole: said already, but for what is sent without deltas."""
        if not isinstance(item, dict):
            return AnswerFacts(choices=[])
        said = [] if index in self._items else [Choice(0, None, delta=each) for each in said_in(item, index)]
        if len(self._items) < _MOST_HEARD:
            self._items.add(index)
        if not searches(item):
            return AnswerFacts(choices=said)
        self._searches += 1
        return SearchFacts(choices=said)

    def _state(self, kind: str, response: _Response) -> AnswerFacts:
        """How far the response has come; of the last event, all of it."""
        if kind == "response.failed":
            failure, used = response.error or {"message": None}, self._usage(response)
            return AnswerFacts(response.model, None, used, failure, service_tier=response.service_tier)
        if kind not in _ENDS:  # created, queued, in_progress
            return AnswerFacts(response.model, [Choice(0, None, delta=Delta())])
        said = [] if self._items else [Choice(0, None, delta=each) for each in _said(response)]
        said.append(Choice(0, _reason(response, kind.removeprefix("response.")), delta=Delta()))
        return LastFacts(response.model, said, self._usage(response), service_tier=response.service_tier)

    def _whole(self, response: _Response) -> AnswerFacts:
        """A whole response. One that has failed is no answer, as its provider says by the status alone."""
        if response.status == "failed":
            return AnswerFacts(response.model, [], self._usage(response), response.error or {"message": None})
        choices = [Choice(0, None, message=each) for each in _said(response)]
        choices.append(Choice(0, _reason(response, response.status), message=Delta()))
        used, tier = self._usage(response), response.service_tier
        return AnswerFacts(response.model, choices, used, response.error, service_tier=tier)

    def _usage(self, response: _Response) -> ReportedUsage | None:
        """The usage, with the searches of the web that are paid for: OpenAI tells them beside it, or by their items."""
        usage, told = response.usage, response.tool_usage
        if usage is None:
            return None
        if told is not None and told.web_search is not None and told.web_search.num_requests is not None:
            number = told.web_search.num_requests
        else:
            number = max(self._searches, sum([searches(item) for item in response.output or ()]))
        if not number:
            return usage
        size = usage.search_context_size or search_context_size(response.tools)
        return msgspec.structs.replace(usage, num_search_queries=number, search_context_size=size)


def _what_fits(value: dict[str, Any]) -> _Event:
    """An event of which some members have another type than OpenAI's: these count as absent."""
    event = struct_of_what_fits(value, _Event) or _Event()
    _mend(event, value)
    if isinstance(inner := value.get("response"), dict):
        event.response = struct_of_what_fits(inner, _Response) or _Response()
        _mend(event.response, inner)
    return event


def _mend(response: _Response, value: dict[str, Any]) -> None:
    response.usage = struct_of_what_fits(value.get("usage"), ReportedUsage)
    output = value.get("output")
    response.output = [item for item in output if isinstance(item, dict)] if isinstance(output, list) else None


def _kind_of(event: _Event, name: bytes) -> str | None:
    """The type of an event that names none: the name of the server-sent event, or what the state of it tells."""
    if name:
        return name.decode("latin-1")
    if event.response is not None and event.response.status is not None:
        return f"response.{event.response.status}"
    return None


def _says(said: Delta) -> AnswerFacts:
    return AnswerFacts(choices=[Choice(0, None, delta=said)])


def _said(response: _Response) -> list[Delta]:
    return [each for number, item in enumerate(response.output or ()) for each in said_in(item, number)]


def _reason(response: _Response, status: str | None) -> str | None:
    """The reason of OpenAI's chat completions that says the same."""
    if status == "completed":
        return "tool_calls" if any(calls_its_client(item) for item in response.output or ()) else "stop"
    if status == "incomplete":
        why = None if response.incomplete_details is None else response.incomplete_details.reason
        return {"content_filter": "content_filter", "steered": "stop"}.get(why or "", "length")
    return status if status == "cancelled" else None


RESPONSES: Final = Responses()
