"""What the fake provider saw: each request, and how its answer went."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

CREDENTIALS = ("authorization", "x-api-key", "api-key")


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request; header names in lower case, `target` as sent (path and query)."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class _Counts(msgspec.Struct):
    prompt_tokens: int | float = 0
    completion_tokens: int | float = 0


class _WithUsage(msgspec.Struct):
    usage: _Counts | None = None


@dataclass(slots=True, eq=False)
class Progress:
    """How far an answer has come; written by the provider while it answers."""

    frames_sent: int = 0
    bytes_sent: int = 0
    usage: tuple[int, int] | None = None
    completed: bool = False
    client_gone: bool = False
    finished: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True, eq=False)
class ReceivedRequest:
    """A request as it arrived. Names in `headers` are lower case; credentials are kept apart from them.

    `json` is the decoded body, None if it was not JSON. `number` counts from 1 in order of arrival.
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
        """Prompt and completion tokens as reported to the client, None if no usage went out."""
        return self.progress.usage

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
        number, request.method, request.target, headers, request.body, _json(request.body), api_key, bearer
    )


def reported_usage(frames: Sequence[bytes]) -> tuple[int, int] | None:
    """Prompt and completion tokens of the last usage object in `frames` (SSE frames, or one JSON body)."""
    for one in reversed(frames):
        if b"_tokens" in one and (usage := _usage_in(one.removeprefix(b"data:").strip())):
            return int(usage.prompt_tokens), int(usage.completion_tokens)
    return None


def _usage_in(data: bytes) -> _Counts | None:
    try:
        return msgspec.json.decode(data, type=_WithUsage).usage
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
