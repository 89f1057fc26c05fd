"""Messages (Anthropic, "Create a Message"): what Claude Code and Anthropic's SDKs speak.

An answer is a list of blocks. A stream begins with `message_start`, which counts the input, tells pieces of each block,
ends with `message_delta`, which has the reason and the last count, and `message_stop`. A `ping` may stand anywhere.
Events of a kind that is not known here pass, as Anthropic asks of its clients (https://docs.anthropic.com/en/api/versioning).
"""

from typing import Any, Final

import msgspec

from crplugins.core.delta import Delta
from crplugins.core.dialects import messages_forms
from crplugins.core.dialects.dialect import TYPED, Dialect
from crplugins.core.errors import GatewayError
from crplugins.core.lenient_json import NOT_JSON, decode_leniently, struct_of_what_fits
from crplugins.core.reported_usage import ReportedUsage, changed_counts, read_usage
from crplugins.core.sse import Event, Splitter
from crplugins.core.usage import TokenUsage
from crplugins.core.wire import AnswerFacts, Choice, LastFacts, Misshapen, ProgressFacts


class _Piece(msgspec.Struct):
    """A `delta`, the block with which a block starts, or a whole block."""

    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None  # of a redacted_thinking block
    partial_json: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None
    content: Any = None  # the summary of a compaction, or what a tool of the provider's has found
    stop_reason: str | None = None


class _Message(msgspec.Struct):
    model: str | None = None
    usage: ReportedUsage | None = None


class _Event(msgspec.Struct):
    """An event of a stream, or a whole message."""

    type: str | None = None
    object: str | None = None  # `error`, of vLLM's errors
    message: _Message | None = None
    index: int = 0
    content_block: _Piece | None = None
    delta: _Piece | None = None
    usage: ReportedUsage | None = None
    error: Any = None
    model: str | None = None
    content: list[_Piece] | None = None
    stop_reason: str | None = None


_event: Final = msgspec.json.Decoder(_Event)

_REASONS: Final = {
    "end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls",
    "refusal": "content_filter", "model_context_window_exceeded": "length",
}  # fmt: skip
"""The reasons of Anthropic in OpenAI's words; any other (`pause_turn`, `compaction`) is an end too."""

_TYPES: Final = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 408: "timeout_error", 409: "conflict_error", 413: "request_too_large",
    429: "rate_limit_error", 503: "overloaded_error", 504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip
"""Anthropic's error types by status (https://docs.anthropic.com/en/api/errors)."""


class Messages(Dialect):
    """`POST /v1/messages`."""

    name = "messages"
    path = "/messages"
    prompt: tuple[str, ...] = ("messages", "system", "tools", "output_config")
    output_limits: tuple[str, ...] = ("max_tokens",)
    parameters: tuple[str, ...] = ("max_tokens", "temperature", "top_p")
    model_within = "message"
    id_headers = (b"x-request-id", b"request-id")
    version = ("anthropic-version", "2023-06-01")
    features = "anthropic-beta"
    queries = (b"beta=true",)
    models_in: tuple[str, ...] = ("fallbacks", "tools")  # an advisor is a tool
    own_fallbacks = True

    def read(self, data: bytes) -> AnswerFacts | None:
        return _Reader()(data)

    def splitter(self, limit: int | None = None) -> Splitter:
        return Splitter(limit, _Reader())

    def readable(self, event: Event) -> Event:
        """With the name of its type, without which Anthropic's SDKs pass an event over; and of a `message_start` with
        counts, without which they fail."""
        if event.name and event.name != _START:
            return event  # nearly every one
        if event.data is None or event.document or (kind := _type_of(event.data)) is None:
            return event
        if kind == _START and event.answer is not None and event.answer.usage is None:
            event = event.with_data(
                messages_forms.with_usage(event.data, messages_forms.usage_object(TokenUsage())), event.answer
            )
        if event.name:
            return event
        return msgspec.structs.replace(event, raw=b"event: " + kind + b"\n" + event.raw, name=kind)

    def stream_of(self, document: bytes) -> list[Event]:
        return self.splitter().feed(messages_forms.stream_of(document))

    def document_of(self, events: list[Event]) -> bytes:
        return messages_forms.document_of([event.data for event in events if event.data])

    def with_usage(self, event: Event, told: TokenUsage) -> Event:
        if event.data is None:
            return event
        usage = messages_forms.usage_object(told)
        facts = event.answer and msgspec.structs.replace(event.answer, usage=read_usage(usage))
        return event.with_data(messages_forms.with_usage(event.data, usage), facts)

    def error_body(self, error: GatewayError, request_id: str) -> bytes:
        """What OpenAI calls `code` and `param` stands in `details`, where Anthropic's SDKs look for an `error_code`."""
        told = error.error
        kind = _TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
        fields: dict[str, Any] = {"type": kind, "message": told.message}
        details = {name: value for name, value in (("error_code", told.code), ("param", told.param)) if value}
        if details:
            fields["details"] = details
        return msgspec.json.encode({"type": "error", "error": fields, "request_id": request_id})

    def error_event(self, error: GatewayError, request_id: str) -> Event:
        data = self.error_body(error, request_id)
        return Event.named(b"error", data, AnswerFacts(error={}))

    def closing_mark(self) -> Event:
        return Event.named(b"message_stop", b'{"type":"message_stop"}', _STOP)


_START: Final = b"message_start"
_STOP: Final = LastFacts(choices=[])
_PROGRESS: Final = ProgressFacts(choices=[])
_RESULT: Final = "tool_result"
"""How the types of blocks end that say what a tool of the provider's has found."""


class _Reader:
    """Reads the events of one stream, or one document.

    The counts of a stream are cumulative, and each event has those that have changed since the one before it: the
    facts of an event have all of them. The output that `message_start` counts is the first token or two.
    """

    __slots__ = ("_counted", "_usage")

    def __init__(self) -> None:
        self._usage: ReportedUsage | None = None
        self._counted = False

    def __call__(self, data: bytes, name: bytes = b"") -> AnswerFacts | None:
        try:
            event = _event.decode(data)
        except NOT_JSON:
            try:
                fields = decode_leniently(data)
            except NOT_JSON:
                return None
            if not isinstance(fields, dict):
                return Misshapen()
            event = _what_fits(fields)
        if event.type is None and name:
            event.type = name.decode("latin-1")
        return self._facts(event)

    def _facts(self, event: _Event) -> AnswerFacts:
        kind = event.type
        if kind == "content_block_delta" or kind == "content_block_start":
            piece = event.delta or event.content_block
            if piece is None or (said := _said(piece, event.index)) is None:
                return (
                    _PROGRESS if piece is not None and (piece.type or "").endswith(_RESULT) else AnswerFacts(choices=[])
                )
            return AnswerFacts(choices=[Choice(0, None, delta=said)])
        if kind == "message_start":
            started = event.message or _Message()
            self._usage = started.usage
            return AnswerFacts(started.model, [Choice(0, None, delta=Delta())], started.usage)
        if kind == "message_delta":
            reason = None if event.delta is None else _reason(event.delta.stop_reason)
            return AnswerFacts(choices=[Choice(0, reason, delta=Delta())], usage=self._count(event.usage, reason))
        if kind == "message_stop":
            return _STOP if event.usage is None else LastFacts(choices=[], usage=self._count(event.usage))
        if kind == "error" or event.error is not None or event.object == "error":
            return AnswerFacts(error=event.error or {})
        if event.content is not None:
            return _whole(event)
        return AnswerFacts(choices=None if kind is None or kind == "message" else [])

    def _count(self, now: ReportedUsage | None, reason: str | None = None) -> ReportedUsage | None:
        """All that has been counted up to now, with an event that counts this, or ends the answer for this reason."""
        if now is not None:
            self._counted |= bool(now.output_tokens)
            self._usage = now if self._usage is None else _counted_since(self._usage, now)
        if reason is not None and self._usage is not None and not self._counted:
            return msgspec.structs.replace(self._usage, output_tokens=0)  # nobody has counted what came since the start
        return None if now is None else self._usage


def _counted_since(before: ReportedUsage, now: ReportedUsage) -> ReportedUsage:
    return msgspec.structs.replace(before, **changed_counts(msgspec.structs.asdict(now)))


def _what_fits(fields: dict[str, Any]) -> _Event:
    """An event some of whose fields have another shape than Anthropic's."""
    event = struct_of_what_fits(fields, _Event) or _Event()
    event.usage = struct_of_what_fits(fields.get("usage"), ReportedUsage)
    event.delta = struct_of_what_fits(fields.get("delta"), _Piece)
    if (block := struct_of_what_fits(fields.get("content_block"), _Piece)) is not None:
        event.content_block = block
    if isinstance(started := fields.get("message"), dict):
        model = started.get("model")
        usage = struct_of_what_fits(started.get("usage"), ReportedUsage)
        event.message = _Message(model if isinstance(model, str) else None, usage)
    if isinstance(blocks := fields.get("content"), list):
        event.content = [block for each in blocks if (block := struct_of_what_fits(each, _Piece)) is not None]
    return event


def _reason(reason: str | None) -> str | None:
    return None if reason is None else _REASONS.get(reason, reason)


def _said(piece: _Piece, index: int) -> Delta | None:
    """What a piece of a block says; None for nothing. What a tool of the provider's has found is none of the output."""
    kind = piece.type or ""
    if kind.endswith("tool_use"):
        arguments = msgspec.json.encode(piece.input).decode() if piece.input else ""
        function = {"name": piece.name or "", "arguments": arguments}
        return Delta(tool_calls=[{"index": index, "id": piece.id, "function": function}])
    if piece.partial_json:
        return Delta(tool_calls=[{"index": index, "function": {"arguments": piece.partial_json}}])
    if piece.text or piece.thinking:
        return Delta(content=piece.text, reasoning=piece.thinking)
    if kind.startswith("compaction") and isinstance(piece.content, str) and piece.content:
        return Delta(content=piece.content)
    if piece.signature or piece.data:  # a sign of life of thoughts that nobody is shown
        return Delta(thinking_blocks=[{"type": kind}])
    return None


def _whole(message: _Event) -> AnswerFacts:
    texts, thoughts, hidden, calls = list[Any](), list[Any](), list[Any](), list[Any]()
    for number, block in enumerate(message.content or ()):
        if (said := _said(block, number)) is not None:
            texts += [said.content] if said.content else []
            thoughts += [said.reasoning] if said.reasoning else []
            hidden += said.thinking_blocks or []
            calls += said.tool_calls or []
    said = Delta(texts or None, reasoning=thoughts or None, thinking_blocks=hidden or None, tool_calls=calls or None)
    return AnswerFacts(message.model, [Choice(0, _reason(message.stop_reason), message=said)], message.usage)


def _type_of(data: bytes) -> bytes | None:
    """The type of an event, if it can be the name of one."""
    try:
        kind = TYPED.decode(data).type
    except NOT_JSON:
        return None
    return kind.encode() if kind and kind.isascii() and kind.isprintable() else None


MESSAGES: Final = Messages()
