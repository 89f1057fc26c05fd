"""Messages (Anthropic, "Create a Message"): what Claude Code and Anthropic's SDKs speak.

An answer is a list of blocks. A stream begins with `message_start`, which counts the input, tells pieces of each block,
ends with `message_delta`, which has the reason and counts the output, and `message_stop`. A `ping` may stand anywhere.
"""

from typing import Any, Final

import msgspec

from crplugins.core.dialects.dialect import NOT_JSON, Dialect
from crplugins.core.errors import GatewayError
from crplugins.core.reported_usage import ReportedUsage
from crplugins.core.sse import Event
from crplugins.core.wire import AnswerFacts, Choice, Delta, LastFacts, Misshapen


class _Piece(msgspec.Struct):
    """A `delta`, or the block with which a block starts."""

    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    id: str | None = None
    name: str | None = None
    stop_reason: str | None = None


class _Message(msgspec.Struct):
    model: str | None = None
    usage: ReportedUsage | None = None


class _Event(msgspec.Struct):
    """An event of a stream, or a whole message."""

    type: str | None = None
    message: _Message | None = None
    index: int = 0
    content_block: _Piece | None = None
    delta: _Piece | None = None
    usage: ReportedUsage | None = None
    error: Any = None
    model: str | None = None
    content: list[dict[str, Any]] | None = None
    stop_reason: str | None = None
    input_tokens: int | None = None  # of count_tokens


_event: Final = msgspec.json.Decoder(_Event)

_REASONS: Final = {
    "end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls",
    "refusal": "content_filter", "model_context_window_exceeded": "length",
}  # fmt: skip
"""The reasons of Anthropic in OpenAI's words; any other (`pause_turn`) is an end too."""

_TYPES: Final = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error",
    504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip
"""Anthropic's error types by status (https://docs.anthropic.com/en/api/errors)."""


class Messages(Dialect):
    """`POST /v1/messages`."""

    name = "messages"
    path = "/messages"
    prompt = ("messages", "system", "tools")
    output_limits = ("max_tokens",)
    model_within = "message"

    def read(self, data: bytes) -> AnswerFacts | None:
        try:
            event = _event.decode(data)
        except msgspec.ValidationError:
            return Misshapen()
        except NOT_JSON:
            return None
        kind = event.type
        if kind == "content_block_delta" or kind == "content_block_start":
            piece = event.delta or event.content_block
            said = None if piece is None else _said(piece, event.index)
            return AnswerFacts(choices=[] if said is None else [Choice(0, None, delta=said)])
        if kind == "message_start":
            started = event.message or _Message()
            return AnswerFacts(started.model, [Choice(0, None, delta=Delta())], started.usage)
        if kind == "message_delta":
            reason = None if event.delta is None else event.delta.stop_reason
            return AnswerFacts(choices=[Choice(0, _reason(reason), delta=Delta())], usage=event.usage)
        if kind == "message_stop":
            return LastFacts(choices=[])
        if kind == "error":
            return AnswerFacts(error=event.error or {})
        if kind == "message":
            return _whole(event)
        return AnswerFacts(choices=[])

    def error_body(self, error: GatewayError, request_id: str) -> bytes:
        kind = _TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
        told = {"type": kind, "message": error.error.message}
        return msgspec.json.encode({"type": "error", "error": told, "request_id": request_id})

    def error_event(self, error: GatewayError, request_id: str) -> Event:
        data = self.error_body(error, request_id)
        return Event(b"event: error\ndata: " + data + b"\n\n", data, b"error", False, AnswerFacts(error={}))


def _reason(reason: str | None) -> str | None:
    return None if reason is None else _REASONS.get(reason, reason)


def _said(piece: _Piece, index: int) -> Delta | None:
    if piece.type == "tool_use" or piece.type == "server_tool_use":
        return Delta(tool_calls=[{"index": index, "id": piece.id, "function": {"name": piece.name or ""}}])
    if piece.partial_json:
        return Delta(tool_calls=[{"index": index, "function": {"arguments": piece.partial_json}}])
    if piece.text or piece.thinking:
        return Delta(content=piece.text, reasoning=piece.thinking)
    return None


def _whole(message: _Event) -> AnswerFacts:
    texts, thoughts, calls = list[Any](), list[Any](), list[Any]()
    for number, block in enumerate(message.content or ()):
        kind = block.get("type")
        if kind == "text":
            texts.append(block.get("text"))
        elif kind == "thinking":
            thoughts.append(block.get("thinking"))
        elif kind in ("tool_use", "server_tool_use"):
            arguments = msgspec.json.encode(block.get("input")).decode()
            function = {"name": block.get("name"), "arguments": arguments}
            calls.append({"index": number, "id": block.get("id"), "function": function})
    said = Delta(content=texts or None, reasoning=thoughts or None, tool_calls=calls or None)
    choices = None if message.content is None else [Choice(0, _reason(message.stop_reason), message=said)]
    return AnswerFacts(message.model, choices, message.usage)


MESSAGES: Final = Messages()
