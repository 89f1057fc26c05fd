"""How large a picture is, read from a few bytes of its head, and how long a recording lasts (`recordings.py`).

Nothing is fetched, and of a picture in base64 only the bytes that are asked for are read. What is not understood has no
size, and never raises.

Formats: PNG (W3C, section 11.2.2), GIF89a, JPEG (ITU-T T.81, annex B), WebP (RFC 9649).
"""

import binascii
from collections.abc import Callable
from typing import Final, NamedTuple

_MOST_SEGMENTS: Final = 64
"""Segments of a JPEG before its dimensions; a photograph with all its metadata has fewer than 30."""

_MOST_PIXELS: Final = 2**20
"""A side that is longer than this is nonsense."""

_PCM16_BYTES_PER_SECOND: Final = 48_000
"""OpenAI's `pcm16`, the one format of audio in a stream: 24 kHz, one channel, 16 bits."""

_PLAIN_BYTES_PER_SECOND: Final = 8_000
"""What is assumed of an unknown format in a request: 64 kbit/s."""


class Size(NamedTuple):
    """Pixels."""

    width: int
    height: int


class Base64:
    """The bytes behind a base64 text or a `data:` URL, read piece by piece."""

    __slots__ = ("_start", "_text", "size")

    def __init__(self, text: str) -> None:
        self._text = text
        self._start = 0
        if text[:5].lower() == "data:":
            self._start = text.find(",", 0, 256) + 1 or len(text)
        self.size = (len(text) - self._start) * 3 // 4

    def read(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from `offset`; none for what is no base64."""
        first = offset // 3
        begin = self._start + first * 4
        end = self._start + ((offset + count - 1) // 3 + 1) * 4
        piece = self._text[begin:end].replace("-", "+").replace("_", "/")
        try:
            data = binascii.a2b_base64(piece + "=" * (-len(piece) % 4))
        except ValueError:
            return b""
        skipped = offset - first * 3
        return data[skipped : skipped + count]


def image_size(text: str) -> Size | None:
    """The size of a picture in a `data:` URL or in base64; None for an address, or what is not understood."""
    return _size(Base64(text).read)


def picture_size(data: bytes) -> Size | None:
    """The same of a file."""
    return _size(lambda offset, count: data[offset : offset + count])


_Read = Callable[[int, int], bytes]
"""What reads so many bytes from an offset on."""


def _size(read: _Read) -> Size | None:
    head = read(0, 32)
    size = None
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        size = Size(_big(head[16:20]), _big(head[20:24]))
    elif head.startswith((b"GIF87a", b"GIF89a")):
        size = Size(_little(head[6:8]), _little(head[8:10]))
    elif head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        size = _webp(head)
    elif head.startswith(b"\xff\xd8"):
        size = _jpeg(read)
    if size is None or not (0 < size.width <= _MOST_PIXELS and 0 < size.height <= _MOST_PIXELS):
        return None
    return size


def _webp(head: bytes) -> Size | None:
    kind = head[12:16]
    if kind == b"VP8X":
        return Size(_little(head[24:27]) + 1, _little(head[27:30]) + 1)
    if kind == b"VP8L":
        bits = _little(head[21:25])
        return Size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 ":
        return Size(_little(head[26:28]) & 0x3FFF, _little(head[28:30]) & 0x3FFF)
    return None


def _jpeg(read: _Read) -> Size | None:
    """Walks from segment to segment to the frame header."""
    offset = 2
    for _ in range(_MOST_SEGMENTS):
        segment = read(offset, 9)
        if len(segment) < 9 or segment[0] != 0xFF:
            return None
        marker = segment[1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return Size(_big(segment[7:9]), _big(segment[5:7]))
        offset += 1 if marker == 0xFF else 2 + _big(segment[2:4])  # fill bytes are allowed before a marker
    return None


def audio_seconds(text: str, *, of_answer: bool = False) -> float:
    """How long a recording lasts, in base64 or a `data:` URL; 0 for an address elsewhere.

    `of_answer`: what has no head is OpenAI's `pcm16`, or a later chunk of it.
    """
    if not text or "://" in text[:16]:
        return 0.0
    data = Base64(text)
    read = data.read(0, data.size + 2)
    return recording_seconds(read or bytes(data.size), of_answer=of_answer)  # what is no base64 is long all the same


def recording_seconds(data: bytes, *, of_answer: bool = False) -> float:
    """The same for a file."""
    from crplugins.core.recordings import seconds_of  # most requests have none

    return seconds_of(data, _PCM16_BYTES_PER_SECOND if of_answer else _PLAIN_BYTES_PER_SECOND) if data else 0.0


def _big(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")
