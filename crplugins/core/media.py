"""How large a picture is and how long a recording lasts, read from a few bytes of its head.

A head may lie: who sends a recording may be who pays for it. So it is read as decoders read it, and no recording is
shorter than its bytes can be. Nothing is decoded as a whole and nothing is fetched: of base64 only the bytes that are
asked for are read. What is not understood has no size, and never raises.

Formats: PNG (W3C, section 11.2.2), GIF89a, JPEG (ITU-T T.81, annex B), WebP (RFC 9649); WAV (RIFF), MP3
(ISO 11172-3, frame headers), FLAC (RFC 9639, section 8.2).
"""

import binascii
from typing import Final, NamedTuple

_MOST_SEGMENTS: Final = 64
"""Segments of a JPEG before its dimensions; a photograph with all its metadata has fewer than 30."""

_MOST_PIXELS: Final = 2**20
"""A side that is longer than this is nonsense."""

_PCM16_BYTES_PER_SECOND: Final = 48_000
"""OpenAI's `pcm16`, the one format of audio in a stream: 24 kHz, one channel, 16 bits."""

_PLAIN_BYTES_PER_SECOND: Final = 8_000
"""What is assumed of an unknown format in a request: 64 kbit/s."""

_MOST_CHUNKS: Final = 16
"""Chunks of a WAV before the one that says how it is to be decoded."""

_FLAC_BYTES_PER_SECOND: Final = 192_000
_OPUS_BYTES_PER_SECOND: Final = 64_000
"""The most that these take: FLAC as much as two channels of 48 kHz that are not compressed, Opus 510 kbit/s."""

_MP3_KBITS: Final = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # MPEG 1, layer III
_MP3_KBITS_2: Final = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)  # MPEG 2 and 2.5, layer III


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


class Plain:
    """The same for bytes that are no base64."""

    __slots__ = ("_data", "size")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, offset: int, count: int) -> bytes:
        return self._data[offset : offset + count]


def image_size(text: str) -> Size | None:
    """The size of a picture in a `data:` URL or in base64; None for an address, or what is not understood."""
    data = Base64(text)
    head = data.read(0, 32)
    size = None
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        size = Size(_big(head[16:20]), _big(head[20:24]))
    elif head.startswith((b"GIF87a", b"GIF89a")):
        size = Size(_little(head[6:8]), _little(head[8:10]))
    elif head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        size = _webp(head)
    elif head.startswith(b"\xff\xd8"):
        size = _jpeg(data)
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


def _jpeg(data: Base64) -> Size | None:
    """Walks from segment to segment to the frame header."""
    offset = 2
    for _ in range(_MOST_SEGMENTS):
        segment = data.read(offset, 9)
        if len(segment) < 9 or segment[0] != 0xFF:
            return None
        marker = segment[1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return Size(_big(segment[7:9]), _big(segment[5:7]))
        offset += 1 if marker == 0xFF else 2 + _big(segment[2:4])  # fill bytes are allowed before a marker
    return None


def audio_seconds(text: str, *, of_answer: bool = False) -> float:
    """How long a recording lasts, in base64 or a `data:` URL; 0 for an address elsewhere.

    `of_answer`: what has no head is OpenAI's `pcm16`, or a later chunk of it. An MP3 is taken to have one bit rate.
    """
    if not text or "://" in text[:16]:
        return 0.0
    return _seconds(Base64(text), _PCM16_BYTES_PER_SECOND if of_answer else _PLAIN_BYTES_PER_SECOND)


def recording_seconds(data: bytes, *, of_answer: bool = False) -> float:
    """The same for a file. Ogg (RFC 3533, section 6) says how long it lasts in its last page, by samples of Opus."""
    if data.startswith(b"OggS"):
        page = data.rfind(b"OggS")
        samples = _little(data[page + 6 : page + 14])
        if not 0 < samples < 2**63:
            return len(data) / _PLAIN_BYTES_PER_SECOND
        return max(samples / _OPUS_HERTZ, len(data) / _OPUS_BYTES_PER_SECOND)
    if data[:1] == b"\xff" and data[1:2] in _ADTS:
        return len(data) / _PLAIN_BYTES_PER_SECOND
    return _seconds(Plain(data), _PCM16_BYTES_PER_SECOND if of_answer else _PLAIN_BYTES_PER_SECOND)


_OPUS_HERTZ: Final = 48_000
_ADTS: Final = (b"\xf0", b"\xf1", b"\xf8", b"\xf9")
"""How a frame of AAC goes on, whose length depends on what is in it."""


def _seconds(data: Base64 | Plain, rate: float) -> float:
    """`rate`: bytes a second of what has no head."""
    head = data.read(0, 48).ljust(48, b"\0")
    if head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        rate = _wav_rate(data) or rate
    elif head.startswith(b"fLaC"):
        hertz, samples = _big(head[18:21]) >> 4, _big(head[21:26]) & 0xF_FFFF_FFFF
        return max(samples / hertz, data.size / _FLAC_BYTES_PER_SECOND) if hertz and samples else data.size / rate
    elif head.startswith(b"ID3"):
        tag = 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])
        rate = _mp3_rate(data.read(tag, 4)) or rate
    elif mp3 := _mp3_rate(head):
        rate = mp3
    return data.size / rate


def _wav_rate(data: Base64 | Plain) -> float:
    """Bytes per second of a WAV, by what a decoder goes by: samples, channels and bits, and not by the field for it."""
    offset = 12
    for _ in range(_MOST_CHUNKS):
        chunk = data.read(offset, 24).ljust(24, b"\0")
        if chunk.startswith(b"fmt "):
            channels, hertz, bits = _little(chunk[10:12]), _little(chunk[12:16]), _little(chunk[22:24])
            return channels * hertz * bits / 8  # 0 of an encoding that has no samples
        size = _little(chunk[4:8])
        offset += 8 + size + size % 2
    return 0


def _mp3_rate(frame: bytes) -> float:
    """Bytes per second by the header of a frame; 0 if it is none."""
    if len(frame) < 4 or frame[0] != 0xFF or frame[1] & 0xE6 != 0xE2:  # 11 bits of sync, layer III
        return 0
    table = _MP3_KBITS if frame[1] & 0x18 == 0x18 else _MP3_KBITS_2
    index = frame[2] >> 4
    return table[index] * 125 if index < len(table) else 0


def _big(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")
