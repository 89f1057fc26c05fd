"""From a script and a request to what goes over the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from crplugins.handlers.wires.chat import CHAT_WIRE
from crplugins.handlers.wires.completion import Completion, merged
from crplugins.handlers.wires.wire import JSON, UsagePlace, Wire
from crplugins.testing.model import complete
from crplugins.testing.refusal import SERVER_ERROR, ModelRefusal, error_body, refusal_of
from crplugins.testing.script import EVENT_STREAM, Script, header_pairs

MALFORMED = b'data: {"id":"chatcmpl-broken","object":"chat.completion.chunk","choices":[{"index":0,"del\n\n'


@dataclass(frozen=True, slots=True)
class ProviderReply:
    """An answer before it is written. A stream has many frames, a plain body is one."""

    status: int
    headers: list[tuple[str, str]]
    frames: tuple[bytes, ...]
    streamed: bool


def reply_to(script: Script, request: Any, *, id: str, created: int, wire: Wire = CHAT_WIRE) -> ProviderReply:
    """The reply of `script` to a decoded JSON body (None if it was not JSON), in the form of `wire`."""
    if refusal := _refuses_stream_options(script, request):
        return refused(refusal, wire)
    if script.body is not None:
        told = script.body if isinstance(script.body, bytes) else wire.error(script.body, script.status)
        data = told if isinstance(told, bytes) else msgspec.json.encode(told)
        return _reply(script, (data,), JSON, wire)
    if script.events is not None:
        return _reply(script, tuple(script.events), EVENT_STREAM, wire)
    if script.status >= 400:
        return _reply(script, (msgspec.json.encode(wire.error(SERVER_ERROR.body, script.status)),), JSON, wire)
    if refusal := refusal_of(request, wire):
        return refused(refusal, wire)
    return _modelled(script, request, id, created, wire)


def refused(refusal: ModelRefusal, wire: Wire = CHAT_WIRE) -> ProviderReply:
    """A refusal as a plain JSON answer."""
    return plain(refusal.status, wire.error(refusal.body, refusal.status))


def plain(status: int, body: Mapping[str, Any]) -> ProviderReply:
    """A JSON answer."""
    return ProviderReply(status, [("content-type", JSON)], (msgspec.json.encode(body),), streamed=False)


def _modelled(script: Script, request: dict[str, Any], id: str, created: int, wire: Wire) -> ProviderReply:
    completion = _completion(script, request, id, created, wire)
    if (raw := wire.raw(completion, request)) is not None:
        return _reply(script, (raw[0],), raw[1], wire)
    if not (request.get("stream") and wire.streams):
        whole = wire.whole(completion, request, usage=script.usage != "off")
        return _reply(script, (msgspec.json.encode(whole),), JSON, wire)
    usage = _usage_place(script, request, wire)
    frames = wire.frames(completion, request, usage=usage, chunk_size=script.chunk_size)
    return _reply(script, tuple(frames), EVENT_STREAM, wire)


def _completion(script: Script, request: dict[str, Any], id: str, created: int, wire: Wire) -> Completion:
    said = [
        complete(
            asked, id=id, created=created, text=script.text, reasoning=script.reasoning, tool_calls=script.tool_calls
        )
        for asked in wire.asks(request)
    ]
    completion = merged(said) if said else Completion(id, created, request["model"], (), {})
    return replace(completion, usage=script.usage_object or wire.usage(completion, request))


def _usage_place(script: Script, request: Mapping[str, Any], wire: Wire) -> UsagePlace:
    if wire.always_tells_usage:
        return "none" if script.usage == "off" else "own_chunk"
    asked = bool((request.get("stream_options") or {}).get("include_usage"))
    if script.usage == "in_finish_chunk":
        return "finish_chunk"
    return "own_chunk" if script.usage == "on" or (script.usage == "asked" and asked) else "none"


def _reply(script: Script, frames: tuple[bytes, ...], content_type: str, wire: Wire) -> ProviderReply:
    streamed = content_type == EVENT_STREAM
    if script.malformed_after is not None:
        frames = (*frames[: script.malformed_after], MALFORMED, *frames[script.malformed_after :])
    if script.error_after is not None and streamed:
        frames = (*frames[: script.error_after], wire.error_frame(SERVER_ERROR.body, 500))
    headers = header_pairs(script.headers)
    if script.content_type is not None or all(name != "content-type" for name, _ in headers):
        headers.insert(0, ("content-type", script.content_type or content_type))
    return ProviderReply(script.status, headers, frames, streamed)


def _refuses_stream_options(script: Script, request: Any) -> ModelRefusal | None:
    """The refusal of a provider that does not know `stream_options`: 400 in OpenAI's form, 422 in FastAPI's."""
    if script.refuse_stream_options is None or not isinstance(request, dict) or "stream_options" not in request:
        return None
    if script.refuse_stream_options == 422:
        where = {"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}
        return ModelRefusal(422, {"detail": [{**where, "input": request["stream_options"]}]})
    message = "Unrecognized request argument supplied: stream_options"
    return ModelRefusal(script.refuse_stream_options, error_body(message, param="stream_options"))
