"""Sizes of pictures and lengths of recordings, read from their heads."""

import base64
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core.media import Size, audio_seconds, image_size, picture_size, recording_seconds


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def png(width: int, height: int) -> bytes:
    head = struct.pack(">II5B", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))


def jpeg(width: int, height: int, *, metadata: int = 40_000, marker: int = 0xC2) -> bytes:
    exif = b"\xff\xe1" + struct.pack(">H", metadata + 2) + b"e" * metadata
    tables = b"\xff\xdb" + struct.pack(">H", 67) + bytes(65) + b"\xff\xff\xc4" + struct.pack(">H", 3) + b"h"
    return b"\xff\xd8" + exif + tables + struct.pack(">BBHBHHB", 0xFF, marker, 17, 8, height, width, 3) + bytes(9)


def webp(kind: bytes, body: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 100) + b"WEBP" + kind + struct.pack("<I", len(body)) + body + bytes(20)


LOSSY = webp(b"VP8 ", b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 640, 480))
LOSSLESS = webp(b"VP8L", b"\x2f" + struct.pack("<I", 639 | 479 << 14))
EXTENDED = webp(b"VP8X", bytes(4) + (639).to_bytes(3, "little") + (479).to_bytes(3, "little"))
GIF = b"GIF89a" + struct.pack("<HH", 640, 480) + bytes(10)


@pytest.mark.parametrize(
    "data",
    [png(640, 480), jpeg(640, 480), jpeg(640, 480, metadata=60_000, marker=0xC0), GIF, LOSSY, LOSSLESS, EXTENDED],
)
@pytest.mark.parametrize("prefix", ["data:image/whatever;base64,", "DATA:;base64,", ""])
def test_the_size_of_a_picture_is_in_its_head(data: bytes, prefix: str) -> None:
    assert image_size(prefix + encoded(data)) == picture_size(data) == Size(640, 480)


def test_base64_for_urls_and_without_its_padding_is_read_too() -> None:
    text = base64.urlsafe_b64encode(jpeg(1000, 700)).decode().rstrip("=")
    assert image_size("data:image/jpeg;base64," + text) == Size(1000, 700)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "data:",
        "data:image/png;base64,",
        "https://example.org/picture.png",
        "data:image/png;base64,####",
        "data:image/png;base64,é" * 20,
        "data:image/svg+xml;base64," + encoded(b"<svg width='640'/>"),
        encoded(png(0, 480)),
        encoded(png(2**31, 480)),
        encoded(png(640, 480)[:18]),
        encoded(jpeg(640, 480)[:300]),
        encoded(b"\xff\xd8" + b"\xff\xe1\x00\x00" * 100_000),  # segments that lead nowhere
        encoded(b"\xff\xd8" + b"\xff" * 100_000),
    ],
)
def test_what_is_not_understood_has_no_size(text: str) -> None:
    assert image_size(text) is None


def wav(seconds: float, rate: int = 32_000) -> bytes:
    size = int(seconds * rate)
    return (
        b"RIFF"
        + bytes(4)
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, rate // 2, rate, 2, 16)
        + b"data"
        + bytes(size + 4)
    )


def mp3(seconds: float) -> bytes:
    frame = b"\xff\xfb\x90\x00".ljust(417, b"\0")  # MPEG 1, layer III, 128 kbit/s, 44.1 kHz
    return frame * int(seconds * 44_100 / 1152)


ID3 = b"ID3\x04\x00\x00" + bytes([0, 0, 2, 0]) + bytes(256)
FLAC = b"fLaC" + bytes(14) + ((44_100 << 44) | (4 * 44_100)).to_bytes(8, "big") + bytes(20)


@pytest.mark.parametrize(
    ("data", "seconds"),
    [(wav(4), 4), (wav(4, 96_000), 4), (mp3(4), 4), (ID3 + mp3(4), 4), (FLAC, 4), (b"OggS" + bytes(32_000), 4)],
)
def test_the_length_of_a_recording_is_in_its_head(data: bytes, seconds: float) -> None:
    assert audio_seconds(encoded(data)) == pytest.approx(seconds, rel=0.02)
    assert audio_seconds("data:audio/x;base64," + encoded(data)) == pytest.approx(seconds, rel=0.02)


def test_speech_of_an_answer_without_a_head_is_pcm16() -> None:
    assert audio_seconds(encoded(bytes(48_000)), of_answer=True) == pytest.approx(1)
    assert audio_seconds(encoded(wav(2)), of_answer=True) == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize("text", ["", "https://example.org/speech.wav", "data:"])
def test_an_address_has_no_length(text: str) -> None:
    assert audio_seconds(text) == 0


@given(
    st.binary(max_size=80),
    st.sampled_from([b"", b"\xff\xd8", b"RIFF....WEBP", b"RIFF....WAVE", b"ID3", b"fLaC", b"\xff\xfb"]),
)
def test_nonsense_never_fails(data: bytes, head: bytes) -> None:
    image_size(encoded(head + data))
    assert 0 <= audio_seconds(encoded(head + data)) < 10**7


@given(st.text(max_size=60))
def test_neither_does_text_that_is_no_base64(text: str) -> None:
    image_size(text)
    audio_seconds("data:x;base64," + text)


def test_a_recording_that_is_a_file_lasts_as_long_as_its_head_says() -> None:
    assert recording_seconds(wav(3)) == pytest.approx(3, rel=0.02)
    assert recording_seconds(mp3(2)) == pytest.approx(2, rel=0.02)
    assert recording_seconds(bytes(48_000), of_answer=True) == 1  # pcm
    assert recording_seconds(b"") == 0


def fmt(hertz: int, told: int, *, bits: int = 16) -> bytes:
    return b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, hertz, told, 2, bits)


MINUTE = bytes(60 * 32_000)  # of 16,000 samples a second


@pytest.mark.parametrize(
    ("data", "least"),
    [
        (b"RIFF" + bytes(4) + b"WAVE" + fmt(16_000, 2**32 - 1) + b"data" + bytes(4) + MINUTE, 60),
        (b"RIFF" + bytes(4) + b"WAVEJUNK" + struct.pack("<I", 28) + b"\xff" * 28 + fmt(16_000, 32_000) + MINUTE, 60),
        (b"RIFF" + bytes(4) + b"WAVEodd " + struct.pack("<I", 27) + b"\xff" * 28 + fmt(16_000, 32_000) + MINUTE, 60),
        (b"RIFF" + bytes(4) + b"WAVE" + fmt(16_000, 2**32 - 1, bits=0) + MINUTE, 60),
        (b"RIFF" + bytes(4) + b"WAVE" + b"\xff" * 500 + MINUTE, 60),
        (b"fLaC" + bytes(14) + ((16_000 << 44) | 1).to_bytes(8, "big") + MINUTE, 10),
        (b"fLaC" + bytes(14) + ((655_350 << 44) | 1).to_bytes(8, "big") + MINUTE, 10),
        (b"OggS" + bytes(10) + MINUTE + b"OggS" + bytes(2) + struct.pack("<Q", 1), 30),
    ],
)
def test_no_head_makes_a_recording_shorter_than_its_bytes_can_be(data: bytes, least: float) -> None:
    assert recording_seconds(data) >= least
    assert audio_seconds(encoded(data)) >= least


@given(st.binary(max_size=200), st.booleans())
def test_no_file_is_too_strange_to_have_a_length(data: bytes, of_answer: bool) -> None:
    for head in (b"", b"OggS", b"RIFF", b"fLaC", b"ID3", b"\xff"):
        assert recording_seconds(head + data, of_answer=of_answer) >= 0
