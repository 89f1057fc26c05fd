"""What the fake provider does with one request: its answer, its timing and its faults."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from crplugins.testing.refusal import error_body

UsageMode = Literal["asked", "on", "off", "in_finish_chunk"]
Headers = Mapping[str, str] | Sequence[tuple[str, str]]
EVENT_STREAM = "text/event-stream; charset=utf-8"
_FRAME_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")


@dataclass(frozen=True, kw_only=True)
class Script:
    """One answer. `Script()` is the deterministic fake model; every field changes one thing.

    Answer (the first one given counts): `body`, a plain answer or an error, a dict is sent as JSON; `events`, the
    frames of a stream, sent as they are; else a status of 400 or more gives an error, and 200 the fake model. It says
    `text` and calls `tool_calls` (names, and arguments in JSON) in place of what it would say, `chunk_size` characters
    per chunk, and thinks `reasoning` before. All of it is in the form of the protocol that was asked in.

    Usage of the fake model: `asked` as OpenAI does, `on` also in streams that did not ask, `off` nowhere,
    `in_finish_chunk` asked or not, beside the finish reason. `usage_object` replaces the numbers: `usage_object(...)`
    is told in the words of each protocol, any other object as it stands.

    Timing, in seconds: `delay` before the headers, `slow_headers` between single bytes of them, `first_byte_delay`
    before the body, `frame_delay` between writes. `write`: one write per frame, all in one, or n bytes per write.

    Faults, after k writes (k frames unless `write` is a number): `cut_after` ends the body cleanly (a chunked body
    looks complete, one with a length does not), `close_after` closes the connection in the middle of the body,
    `reset_after` drops it with RST, `stall_after` sends nothing more until the client goes. After k frames,
    `malformed_after` puts one of broken JSON and goes on, and `error_after` puts an error, which ends the stream.
    `refuse_connection` resets before any answer. `refuse_stream_options=400` (or 422) refuses a request that has
    `stream_options` with an error that names it, and answers others.
    """

    status: int = 200
    headers: Headers = ()
    content_type: str | None = None
    body: bytes | Mapping[str, Any] | None = None
    events: Sequence[bytes] | None = None
    text: str | None = None
    chunk_size: int | None = None
    reasoning: str | None = None
    tool_calls: Sequence[tuple[str, str]] | None = None

    usage: UsageMode = "asked"
    usage_object: Mapping[str, Any] | None = None

    delay: float = 0.0
    slow_headers: float | None = None
    first_byte_delay: float = 0.0
    frame_delay: float = 0.0
    write: Literal["frame", "all"] | int = "frame"

    cut_after: int | None = None
    close_after: int | None = None
    reset_after: int | None = None
    stall_after: int | None = None
    malformed_after: int | None = None
    error_after: int | None = None
    refuse_connection: bool = False
    refuse_stream_options: int | None = None

    @classmethod
    def replay(
        cls,
        recording: bytes | str | Path,
        content_type: str = EVENT_STREAM,
        status: int = 200,
        headers: Headers = (),
        **options: Any,
    ) -> Self:
        """A recorded body, byte for byte: the bytes, or the path of a file that holds them.

        An event stream is cut into its frames, anything else is one plain body. OSError if the file cannot be read.
        """
        data = recording if isinstance(recording, bytes) else Path(recording).read_bytes()
        if content_type.startswith("text/event-stream"):
            options["events"] = split_frames(data)
        else:
            options["body"] = data
        return cls(status=status, headers=headers, content_type=content_type, **options)

    @classmethod
    def error(
        cls,
        status: int,
        message: str,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        **options: Any,
    ) -> Self:
        """An answer with OpenAI's error object, put into the form of the protocol that was asked in.

        `options` are other fields of the script (`headers`, `delay`...).
        """
        return cls(status=status, body=error_body(message, type, param, code), **options)

    @classmethod
    def rate_limited(cls, retry_after: int | None = 20, headers: Headers = (), **options: Any) -> Self:
        """OpenAI's 429; `retry_after` in seconds, None sends no such header."""
        waits = [("retry-after", str(retry_after))] if retry_after is not None else []
        message = "Rate limit reached for requests. Please try again later."
        return cls.error(
            429, message, "requests", code="rate_limit_exceeded", headers=[*waits, *header_pairs(headers)], **options
        )


def header_pairs(headers: Headers) -> list[tuple[str, str]]:
    """Headers as pairs, names in lower case."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return [(name.lower(), value) for name, value in pairs]


def split_frames(data: bytes) -> tuple[bytes, ...]:
    """The frames of an event stream, each with its blank line; joined they are `data`."""
    ends = [match.end() for match in _FRAME_END.finditer(data)]
    starts = [0, *ends]
    return tuple(data[start:end] for start, end in zip(starts, [*ends, len(data)], strict=True) if end > start)
