"""The answer of an ASGI app, read from the messages it sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from crplugins.testing.asgi import Message
from crplugins.testing.script import split_frames


@dataclass(frozen=True, slots=True)
class Answer:
    """The messages an app sent for one request, in order. They may end early."""

    messages: tuple[Message, ...]

    @property
    def status(self) -> int:
        """HTTP status. LookupError if the app never started a response."""
        return int(self._start["status"])

    @property
    def headers(self) -> dict[str, str]:
        """Headers with names in lower case; of repeated ones the last counts (`header_list` has all)."""
        return dict(self.header_list)

    @property
    def header_list(self) -> list[tuple[str, str]]:
        """Headers as sent, names in lower case."""
        pairs = self._start.get("headers", ())
        return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in pairs]

    @property
    def chunks(self) -> list[bytes]:
        """The body of each message that has one, empty ones left out."""
        bodies = (bytes(message.get("body", b"")) for message in self.messages)
        return [body for body in bodies if body]

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self.chunks)

    @property
    def complete(self) -> bool:
        """The app sent its last body message."""
        last = self.messages[-1] if self.messages else {}
        return last.get("type") == "http.response.body" and not last.get("more_body", False)

    def json(self) -> Any:
        """The body as JSON. msgspec.DecodeError if it is none."""
        return msgspec.json.decode(self.body)

    def events(self) -> list[Any]:
        """The decoded `data` of each SSE frame, `[DONE]` left out (see `done`). msgspec.DecodeError for broken JSON."""
        return [msgspec.json.decode(data) for data in self._data if data != b"[DONE]"]

    @property
    def done(self) -> bool:
        """The stream ends with `[DONE]`."""
        return bool(self._data) and self._data[-1] == b"[DONE]"

    @property
    def _start(self) -> Message:
        for message in self.messages:
            if message["type"] == "http.response.start":
                return message
        raise LookupError("the app sent no http.response.start")

    @property
    def _data(self) -> list[bytes]:
        lines = (line for frame in split_frames(self.body) for line in frame.splitlines())
        return [line[5:].strip() for line in lines if line.startswith(b"data:")]


def out_of_order(sent: Sequence[Message], message: Message) -> str | None:
    """Why ASGI does not allow `message` after `sent`; None if it does."""
    started = any(one["type"] == "http.response.start" for one in sent)
    if message["type"] == "http.response.start":
        return "the app started a second response" if started else None
    if message["type"] != "http.response.body":
        return None
    if not started:
        return "the app sent a body before http.response.start"
    ended = any(one["type"] == "http.response.body" and not one.get("more_body", False) for one in sent[-1:])
    return "the app sent a body after its last one" if ended else None
