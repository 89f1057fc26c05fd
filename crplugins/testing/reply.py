"""From a script and a request to what goes over the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from crplugins.testing.model import complete
from crplugins.testing.openai_form import UsagePlace, full_answer, stream_frames
from crplugins.testing.refusal import SERVER_ERROR, ModelRefusal, error_body, refusal_of
from crplugins.testing.script import EVENT_STREAM, Script, header_pairs

JSON = "application/json"
MALFORMED = b'data: {"id":"chatcmpl-broken","object":"chat.completion.chunk","choices":[{"index":0,"del\n\n'


@dataclass(frozen=True, slots=True)
class ProviderReply:
    """An answer before it is written. A stream has many frames, a plain body is one."""

    status: int
    headers: list[tuple[str, str]]
    frames: tuple[bytes, ...]
    streamed: bool


def reply_to(script: Script, request: Any, *, id: str, created: int) -> ProviderReply:
    """The reply of `script` to a decoded JSON body (None if it was not JSON)."""
    if refusal := _refuses_stream_options(script, request):
        return refused(refusal)
    if script.body is not None:
        data = script.body if isinstance(script.body, bytes) else msgspec.json.encode(script.body)
        return _reply(script, (data,), JSON)
    if script.events is not None:
        return _reply(script, tuple(script.events), EVENT_STREAM)
    if script.status >= 400:
        return _reply(script, (msgspec.json.encode(SERVER_ERROR.body),), JSON)
    if refusal := refusal_of(request):
        return refused(refusal)
    return _modelled(script, request, id, created)


def refused(refusal: ModelRefusal) -> ProviderReply:
    """A refusal as a plain JSON answer."""
    return plain(refusal.status, refusal.body)


def plain(status: int, body: Mapping[str, Any]) -> ProviderReply:
    """A JSON answer."""
    return ProviderReply(status, [("content-type", JSON)], (msgspec.json.encode(body),), streamed=False)


def _modelled(script: Script, request: dict[str, Any], id: str, created: int) -> ProviderReply:
    completion = complete(request, id=id, created=created, text=script.text, usage=script.usage_object)
    if not request.get("stream"):
        return _reply(script, (msgspec.json.encode(full_answer(completion, usage=script.usage != "off")),), JSON)
    frames = stream_frames(completion, usage=_usage_place(script, request), chunk_size=script.chunk_size)
    return _reply(script, tuple(frames), EVENT_STREAM)


def _usage_place(script: Script, request: Mapping[str, Any]) -> UsagePlace:
    asked = bool((request.get("stream_options") or {}).get("include_usage"))
    if script.usage == "in_finish_chunk":
        return "finish_chunk"
    return "own_chunk" if script.usage == "on" or (script.usage == "asked" and asked) else "none"


def _reply(script: Script, frames: tuple[bytes, ...], content_type: str) -> ProviderReply:
    streamed = content_type == EVENT_STREAM
    if script.malformed_after is not None:
        frames = (*frames[: script.malformed_after], MALFORMED, *frames[script.malformed_after :])
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
