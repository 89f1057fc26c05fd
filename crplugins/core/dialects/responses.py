"""Responses (OpenAI, "Create a model response"): what Codex and the Agents SDK speak.

An answer is a list of items. A stream tells pieces of each item, and ends with an event that has the whole response and
its usage: `response.completed`, `response.incomplete` or `response.failed`. There is no `[DONE]`.
"""

from typing import Any, Final

import msgspec

from crplugins.core.dialects.dialect import NOT_JSON, Dialect
from crplugins.core.errors import GatewayError
from crplugins.core.reported_usage import ReportedUsage
from crplugins.core.sse import Event
from crplugins.core.wire import AnswerFacts, Choice, Delta, LastFacts, Misshapen


class _Reason(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    """A response, whole or as far as it has come."""

    object: str | None = None
    model: str | None = None
    status: str | None = None
    usage: ReportedUsage | None = None
    error: Any = None
    incomplete_details: _Reason | None = None
    service_tier: str | None = None
    output: list[dict[str, Any]] | None = None


class _Event(_Response):
    """An event of a stream, or a whole response."""

    type: str | None = None
    response: _Response | None = None
    output_index: int = 0
    delta: Any = None
    item: Any = None
    message: str | None = None


_event: Final = msgspec.json.Decoder(_Event)

_TEXTS: Final = frozenset({"response.output_text.delta", "response.refusal.delta"})
_THOUGHTS: Final = frozenset({"response.reasoning_text.delta", "response.reasoning_summary_text.delta"})
_ARGUMENTS: Final = frozenset({
    "response.function_call_arguments.delta", "response.mcp_call_arguments.delta",
    "response.custom_tool_call_input.delta", "response.code_interpreter_call_code.delta",
})  # fmt: skip
_CALLS: Final = frozenset({"function_call", "custom_tool_call", "mcp_call"})
_ENDS: Final = frozenset({"response.completed", "response.incomplete"})


class Responses(Dialect):
    """`POST /v1/responses`."""

    name = "responses"
    path = "/responses"
    prompt = ("input", "instructions", "tools")
    output_limits = ("max_output_tokens",)
    model_within = "response"

    def read(self, data: bytes) -> AnswerFacts | None:
        try:
            event = _event.decode(data)
        except msgspec.ValidationError:
            return Misshapen()
        except NOT_JSON:
            return None
        kind = event.type or ""
        if kind.endswith(".delta"):
            return _delta(kind, event)
        if kind == "response.output_item.added":
            return _added(event.item, event.output_index)
        if event.response is not None:
            return _state(kind, event.response)
        if kind == "error":
            return AnswerFacts(error=event.error or {"message": event.message})
        if event.object == "response":
            return _whole(event)
        return AnswerFacts(choices=[], error=event.error)

    def error_event(self, error: GatewayError, request_id: str) -> Event:
        told = error.error
        data = msgspec.json.encode(
            {"type": "error", "code": told.code or told.type, "message": told.message, "param": told.param}
        )
        return Event(b"event: error\ndata: " + data + b"\n\n", data, b"error", False, AnswerFacts(error={}))


def _delta(kind: str, event: _Event) -> AnswerFacts:
    """A piece of an item."""
    if kind in _TEXTS:
        return _piece(Delta(content=event.delta))
    if kind in _ARGUMENTS:
        return _piece(_call(event.output_index, arguments=event.delta))
    if kind in _THOUGHTS:
        return _piece(Delta(reasoning=event.delta))
    return AnswerFacts(choices=[])


def _state(kind: str, response: _Response) -> AnswerFacts:
    """How far the response has come; of the last event, all of it."""
    if kind in _ENDS:
        choices = [Choice(0, _reason(response, kind.removeprefix("response.")), delta=Delta())]
        return LastFacts(response.model, choices, response.usage, service_tier=response.service_tier)
    if kind == "response.failed":
        return AnswerFacts(response.model, None, response.usage, response.error or {})
    return AnswerFacts(response.model, [Choice(0, None, delta=Delta())])  # created, queued, in_progress


def _piece(said: Delta) -> AnswerFacts:
    return AnswerFacts(choices=[Choice(0, None, delta=said)])


def _call(index: int, name: object = None, arguments: object = None) -> Delta:
    return Delta(tool_calls=[{"index": index, "function": {"name": name, "arguments": arguments}}])


def _added(item: Any, index: int) -> AnswerFacts:
    if isinstance(item, dict) and item.get("type") in _CALLS:
        return _piece(_call(index, name=item.get("name")))
    return AnswerFacts(choices=[])


def _reason(response: _Response, status: str | None) -> str | None:
    """The reason of OpenAI's chat completions that says the same."""
    if status == "incomplete":
        why = response.incomplete_details.reason if response.incomplete_details is not None else None
        return "content_filter" if why == "content_filter" else "length"
    called = any(item.get("type") in _CALLS for item in response.output or ())
    return ("tool_calls" if called else "stop") if status == "completed" else None


def _whole(response: _Response) -> AnswerFacts:
    said = list[Delta]()
    for number, item in enumerate(response.output or ()):
        kind = item.get("type")
        if kind == "message":
            said.append(Delta(content=item.get("content")))
        elif kind == "reasoning":
            said.append(Delta(reasoning=[item.get("summary"), item.get("content")]))
        elif kind in _CALLS:
            said.append(_call(number, item.get("name"), item.get("arguments") or item.get("input")))
    choices = [Choice(0, None, message=each) for each in said]
    choices.append(Choice(0, _reason(response, response.status), message=Delta()))
    return AnswerFacts(response.model, choices, response.usage, response.error, service_tier=response.service_tier)


RESPONSES: Final = Responses()
