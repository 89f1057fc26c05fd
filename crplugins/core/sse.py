"""Bytes to server-sent events and back, sans-IO (WHATWG HTML, section 9.2).

`Splitter` cuts a byte stream into events without changing a byte: the joined `raw` of all events plus the rest is the
input. Lines end with LF, CRLF or CR and nothing else; splitting text on U+2028, as str.splitlines does, corrupts JSON.
"""

import re
from collections.abc import Callable
from itertools import islice
from typing import Final

import msgspec

from crplugins.core.errors import DONE_FRAME
from crplugins.core.lenient_json import NOT_JSON
from crplugins.core.wire import AnswerFacts, Misshapen, UnnamedErrorFacts, plain_text, read_answer

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024

# A blank line. A CR that ends the buffer is not yet one: its LF may still be in flight, and half a CRLF written to a
# client makes simple parsers wait for the next event. After a bare CR line the blank CR counts at once.
_BLANK_LINE = re.compile(rb"\r\r|(?:\r\n|\n)(?:\n|\r\n|\r(?!\n|\Z))")
_LINE = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"
_MOST_LINES: Final = 50_000
"""Of one event; what follows them is taken for a part of the last one."""

_PADDING = b" \t\x00'\""
_LONGEST_DONE = 64


MAX_DOCUMENT_BYTES: Final = 64 * 1024 * 1024
"""The longest plain answer that is read."""

_BEFORE_ANSWER = re.compile(rb"(?:\xef\xbb\xbf)?(?:[ \t\r\n]++|:[^\r\n]*+[\r\n])*+")
"""Blank lines and comments, with which DeepSeek and OpenRouter keep a connection alive, also before a plain answer."""

_FIELDS = (b"data", b"event", b"retry", b"id", b"error:")  # "error" alone begins many a plain text
_LONGEST_PREAMBLE = 64 * 1024


def begins_stream(head: bytes) -> bool | None:
    """Whether a body that begins with `head` is a stream of events, whatever its headers say; None until that is seen.

    Comments alone for a long time are a stream.
    """
    if head.startswith((b"{", b"data:")):  # nearly every body
        return head[:1] == b"d"
    start = _end_of_preamble(head)
    word = head[start : start + len("error: ")]
    if word[:1] in (b":", b"") or any(field.startswith(word) for field in _FIELDS):
        return None if len(head) < _LONGEST_PREAMBLE else True
    return word.startswith(_FIELDS)


def without_comments(document: bytes) -> bytes:
    """A plain answer without the comments that some providers send before it."""
    return document if document[:1] == b"{" else document[_end_of_preamble(document) :]


def _end_of_preamble(data: bytes) -> int:
    match = _BEFORE_ANSWER.match(data)
    return 0 if match is None else match.end()


MOST_EVENTS: Final = 256
"""Events that are read at once, before other requests have their turn."""

FEW_BYTES: Final = 2 * MOST_EVENTS
"""Bytes that cannot hold more than so many."""


def first_events(data: bytes) -> tuple[bytes, bytes]:
    """What of `data` is read now and what later: a flood of heartbeats must not hold up the event loop.

    The pieces of an ordinary stream are read at once. Cut is after a blank line, so that a long event, for whose end
    a splitter looks, does not come in more pieces than it was sent in.
    """
    if len(data) <= FEW_BYTES or _blank_lines(data) <= MOST_EVENTS:
        return data, b""
    last = next(islice(_BLANK_LINE.finditer(data), MOST_EVENTS - 1, None), None)
    return (data, b"") if last is None else (data[: last.end()], data[last.end() :])


def _blank_lines(data: bytes) -> int:
    """How many there are, or more."""
    count = data.count(b"\n\n")
    return count if data.find(b"\r") < 0 else count + data.count(b"\n\r") + data.count(b"\r\r")


class EventTooLarge(Exception):
    """An event grew past the limit without ending."""


FRAME_BYTES: Final = len(b"data: \n\n")
"""How many bytes an event in OpenAI's framing has besides its data."""

_ERROR: Final = b"error"
"""The name of an event that is one, whatever its data."""

UNREAD: Final = AnswerFacts()
"""In place of the facts of an event: they are still to be decoded."""


class Event(msgspec.Struct, eq=False):
    """One server-sent event, or the one JSON document of a plain answer.

    `raw` are the bytes as received, blank line included; `data` is the joined payload, or None for a comment or a bare
    field; `name` is the event type (b"" for the default). `answer` are the facts of the chunk or document, decoded when
    the event is made, because everybody on its way reads them; None without JSON (comments, [DONE], malformed data).
    `text` is what a chunk says whose `plain_text` that is: whoever goes through the facts need not. None for any other.
    Never changed: `with_data` makes another, and an event that is the same object has the same bytes.
    """

    raw: bytes
    data: bytes | None
    name: bytes = b""
    document: bool = False
    answer: AnswerFacts | None = UNREAD
    text: str | None = None

    def __post_init__(self) -> None:
        if self.answer is not UNREAD:
            return
        self.answer, data = None, self.data
        if data and (data[:1] == b"{" or not self.is_done):
            try:
                self.answer = answer = read_answer(data)
            except NOT_JSON:
                if self.name == _ERROR:
                    self.answer = UnnamedErrorFacts(error={"message": data.decode("utf-8", "replace")})
                return
            if self.name == _ERROR and answer.error is None:
                self.answer = UnnamedErrorFacts(error={"message": None})
                return
            self.text = None if self.document else plain_text(answer)

    @classmethod
    def of(cls, data: bytes) -> "Event":
        """A new event for a stream, in OpenAI's framing."""
        return cls(_framed(data), data)

    @classmethod
    def named(cls, name: bytes, data: bytes, answer: AnswerFacts | None) -> "Event":
        """A new event of a protocol whose events have names."""
        return cls(named_frame(name, data), data, name, False, answer)

    @classmethod
    def json_document(cls, body: bytes) -> "Event":
        return cls(body, body, document=True)

    @property
    def is_done(self) -> bool:
        """The end mark: `[DONE]`, which some providers quote or pad with blanks, or that of another protocol."""
        data = self.data
        if data == b"[DONE]" or (self.answer is not None and self.answer.ends):
            return True
        return data is not None and len(data) < _LONGEST_DONE and data.strip(_PADDING) == b"[DONE]"

    @property
    def is_comment(self) -> bool:
        """No field at all: what a server sends while it has nothing to say."""
        return self.data is None and all(
            line[:1] in (b"", b":") for line in _LINE.split(self.raw.removeprefix(_BOM), _MOST_LINES)
        )

    @property
    def is_heartbeat(self) -> bool:
        """Data that is no part of an answer: none at all, `{}`, `{"type": "ping"}`. Most clients fail on it."""
        if not self.data:
            return not self.is_comment
        answer = self.answer
        return answer is not None and answer.is_empty

    @property
    def is_malformed(self) -> bool:
        """Data that nobody can read: no JSON, or JSON that is no chunk, no error and no heartbeat."""
        if not self.data or self.is_done:
            return False
        return self.answer is None or isinstance(self.answer, Misshapen)

    def with_data(self, data: bytes, answer: AnswerFacts | None = UNREAD) -> "Event":
        """The same event with another payload. Comments and fields beside the data are not kept.

        `answer` are the facts of `data`, from whoever knows them already; without them they are decoded.
        """
        if self.document:
            return Event(data, data, b"", True, answer)
        if not self.name and data.find(b"\n") < 0 and data.find(b"\r") < 0:
            return Event(b"data: " + data + b"\n\n", data, b"", False, answer)
        prefix = b"event: " + self.name + b"\n" if self.name else b""
        return Event(prefix + _framed(data), data, self.name, False, answer)

    def __repr__(self) -> str:
        return f"Event({self.raw!r})"


Read = Callable[[bytes, bytes], AnswerFacts | None]
"""Reads the data of an event, which has a name beside it or b""; see `Dialect.read`."""


class Splitter:
    """Cuts a stream into events, whatever the sizes of the pieces it arrives in.

    Args:
        limit: the most bytes of one event; None for `MAX_EVENT_BYTES`.
        read: reads the data of an event; None for chunks of chat completions.

    Attributes:
        rest: bytes of the event that has not ended yet.
    """

    __slots__ = ("_begun", "_limit", "_read", "_searched", "rest")

    def __init__(self, limit: int | None = None, read: Read | None = None) -> None:
        self.rest = b""
        self._searched = 0
        self._limit = MAX_EVENT_BYTES if limit is None else limit
        self._read = read
        self._begun = False

    def feed(self, data: bytes) -> list[Event]:
        """Events completed by `data`.

        Raises `EventTooLarge` when the unfinished one passes the limit.
        """
        buffer = self.rest + data if self.rest else data
        events: list[Event] = []
        start = 0
        if self._read is None and not self.rest and buffer.find(b"\r") < 0:
            start = _take_plain(buffer, events)
            self._begun = self._begun or start > 0
            if start == len(buffer):
                self._searched = 0
                return events
        if start < len(buffer):
            for end in _ends(buffer, max(start, self._searched)):
                events.append(self._event(buffer[start:end]))
                start = end
        self.rest = buffer[start:]
        self._searched = max(len(self.rest) - 3, 0)
        if len(self.rest) > self._limit:
            raise EventTooLarge(f"a server-sent event exceeds {self._limit} bytes")
        return events

    def finish(self) -> Event | None:
        """What came after the last blank line, as an event with its bytes unchanged; None if nothing did."""
        rest, self.rest, self._searched = self.rest, b"", 0
        return self._event(rest) if rest else None

    def _event(self, raw: bytes) -> Event:
        text, read = raw, self._read
        if not self._begun:
            self._begun = True
            text = raw.removeprefix(_BOM)
        data, name = _fields_of(text)
        return Event(raw, data, name) if read is None else Event(raw, data, name, False, _facts(read, data, name))


def _take_plain(buffer: bytes, events: list[Event]) -> int:
    """Append the events that the buffer begins with, as far as each is `data: ...`, a blank line and nothing else: what
    nearly every event of every provider is. Returns where they end. The buffer has no CR."""
    start = 0
    while buffer.startswith(b"data: ", start):
        end = buffer.find(b"\n", start) + 2
        if not buffer.startswith(b"\n", end - 1):
            break
        raw = buffer[start:end]
        events.append(Event(raw, raw[6:-2]))
        start = end
    return start


def _ends(buffer: bytes, start: int) -> list[int]:
    """Offsets just after each blank line, searched from `start`."""
    if buffer.find(b"\r") >= 0:  # `in` looks for a number first, and takes eight times as long
        return [blank.end() for blank in _BLANK_LINE.finditer(buffer, start)]
    ends: list[int] = []
    end = buffer.find(b"\n\n", start)
    while end != -1:
        ends.append(end + 2)
        end = buffer.find(b"\n\n", end + 2)
    return ends


def _facts(read: Read, data: bytes | None, name: bytes) -> AnswerFacts | None:
    return read(data, name) if data and data != b"[DONE]" else None


def _fields_of(text: bytes) -> tuple[bytes | None, bytes]:
    """The data and the type of an event."""
    data: list[bytes] = []
    name = b""
    for line in _LINE.split(text, _MOST_LINES):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
        elif field == _ERROR:  # llama.cpp, until the end of 2025
            name, data = _ERROR, [value]
    return b"\n".join(data) if data else None, name


def named_frame(name: bytes, data: bytes) -> bytes:
    """An event with data of one line."""
    return b"event: " + name + b"\ndata: " + data + b"\n\n"


def _framed(data: bytes) -> bytes:
    return b"data: " + _LINE.sub(b"\ndata: ", data) + b"\n\n"


def done_event() -> Event:
    """The end mark. A new one each time: a plugin that changes it must not change another request's."""
    return Event(DONE_FRAME, b"[DONE]")
