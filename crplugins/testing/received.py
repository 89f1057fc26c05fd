"""What the fake provider saw: each request, and how its answer went."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from crplugins.core.errors import GatewayError
from crplugins.core.form_body import FormBody

CREDENTIALS = ("authorization", "x-api-key", "api-key")


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request; header names in lower case, `target` as sent (path and query)."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class _Counts(msgspec.Struct):
    """In the words of chat completions, of Responses, and of Anthropic, which counts a cached prompt apart."""

    prompt_tokens: int | float | None = None
    completion_tokens: int | float | None = None
    input_tokens: int | float = 0
    output_tokens: int | float = 0
    cache_creation_input_tokens: int | float | None = None
    cache_read_input_tokens: int | float | None = None

    @property
    def both(self) -> tuple[int, int]:
        """Prompt and completion tokens."""
        cached = (self.cache_read_input_tokens or 0) + (self.cache_creation_input_tokens or 0)
        prompt = self.input_tokens + cached if self.prompt_tokens is None else self.prompt_tokens
        made = self.output_tokens if self.completion_tokens is None else self.completion_tokens
        return int(prompt), int(made)


class _Within(msgspec.Struct):
    usage: _Counts | None = None


class _WithUsage(_Within):
    """A document or an event; Responses have theirs in `response`, the first event of Anthropic's in `message`."""

    response: _Within | None = None
    message: _Within | None = None


@dataclass(slots=True, eq=False)
class Progress:
    """How far an answer has come; written by the provider while it answers. `frames` are those of the answer, until it
    is over."""

    frames: Sequence[bytes] = ()
    frames_sent: int = 0
    bytes_sent: int = 0
    usage: tuple[int, int] | None = None
    completed: bool = False
    client_gone: bool = False
    finished: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True, eq=False)
class ReceivedRequest:
    """A request as it arrived. Names in `headers` are lower case; credentials are kept apart from them.

    `json` is the decoded body, of a form its fields, None if it was neither. `number` counts from 1 in order of
    arrival.
    """

    number: int
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    json: Any
    api_key: str | None = field(repr=False)
    bearer: str | None = field(repr=False)
    progress: Progress = field(repr=False, default_factory=Progress)

    @property
    def model(self) -> str | None:
        """The model asked for."""
        model = self.json.get("model") if isinstance(self.json, dict) else None
        return model if isinstance(model, str) else None

    @property
    def authorization_digest(self) -> str | None:
        """SHA-256 of the key, in hex: safe to print. None if no key came."""
        return None if self.api_key is None else hashlib.sha256(self.api_key.encode()).hexdigest()

    @property
    def frames_sent(self) -> int:
        """Frames of the answer that went out whole (1 for a plain answer)."""
        return self.progress.frames_sent

    @property
    def bytes_sent(self) -> int:
        """Bytes of the answer's body that went out."""
        return self.progress.bytes_sent

    @property
    def usage(self) -> tuple[int, int] | None:
        """Prompt and completion tokens as reported to the client, None if no usage went out.

        Whoever has read the answer to its end may look at once.
        """
        frames = self.progress.frames
        return reported_usage(frames[: self.progress.frames_sent]) if frames else self.progress.usage

    @property
    def completed(self) -> bool:
        """The whole answer went out, without a fault."""
        return self.progress.completed

    @property
    def client_gone(self) -> bool:
        """The client closed before the answer was complete."""
        return self.progress.client_gone

    async def wait_finished(self, within: float = 30.0) -> ReceivedRequest:
        """Wait until the provider is done with the request, whatever the end. TimeoutError after `within` seconds."""
        async with asyncio.timeout(within):
            await self.progress.finished.wait()
        return self


def received(number: int, request: HttpRequest) -> ReceivedRequest:
    """The log entry of a parsed request."""
    headers = {name: value for name, value in request.headers.items() if name not in CREDENTIALS}
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    bearer = token if scheme.lower() == "bearer" else None
    api_key = bearer or request.headers.get("x-api-key") or request.headers.get("api-key")
    return ReceivedRequest(
        number, request.method, request.target, headers, request.body, _json(request), api_key, bearer
    )


def reported_usage(frames: Sequence[bytes]) -> tuple[int, int] | None:
    """Prompt and completion tokens of the last usage object in `frames` (SSE frames, or one JSON body)."""
    for one in reversed(frames):
        if b"_tokens" in one and (usage := _usage_in(_data_of(one))):
            return usage.both
    return None


def _data_of(one: bytes) -> bytes:
    """The JSON of a body, or of a frame, which may have its name before it."""
    return (one.partition(b"\n")[2] if one.startswith(b"event:") else one).removeprefix(b"data:").strip()


def _usage_in(data: bytes) -> _Counts | None:
    try:
        told = msgspec.json.decode(data, type=_WithUsage)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return next((each.usage for each in (told, told.response, told.message) if each is not None and each.usage), None)


def _json(request: HttpRequest) -> Any:
    kind = request.headers.get("content-type", "")
    try:
        if kind.lower().startswith("multipart/form-data"):
            form = FormBody(request.body, kind.encode("latin-1"))
            return {name: form.get(name) for name in form}
        return msgspec.json.decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, GatewayError):
        return None
