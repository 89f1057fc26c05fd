"""How long recordings last: as real encoders make them, and with heads that claim less than is in them."""

import base64
import io
import struct
import time

import numpy as np
import pytest
import soundfile

from crplugins.core.media import audio_seconds, recording_seconds

SECONDS = 6


def encoded(kind: str, how: str, hertz: int = 16_000, channels: int = 1, seconds: float = SECONDS) -> bytes:
    """A recording of a tone and noise, by libsndfile."""
    times = np.arange(int(hertz * seconds)) / hertz
    noise = np.random.default_rng(1).uniform(-0.05, 0.05, len(times))
    tone = (0.3 * np.sin(times * 2765) + noise).astype("float32")
    file = io.BytesIO()
    soundfile.write(file, np.stack([tone] * channels, axis=1), hertz, format=kind, subtype=how)
    return file.getvalue()


@pytest.mark.parametrize("hertz", [8_000, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("kind", "how"),
    [
        *(("WAV", each) for each in ("PCM_16", "FLOAT", "ULAW", "ALAW", "MS_ADPCM", "IMA_ADPCM")),
        ("WAVEX", "PCM_24"), ("RF64", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"),
    ],
)  # fmt: skip
def test_a_recording_lasts_as_long_as_its_encoder_was_given(kind: str, how: str, hertz: int, channels: int) -> None:
    data = encoded(kind, how, hertz, channels)
    assert SECONDS <= recording_seconds(data) <= SECONDS + 0.3
    assert audio_seconds(base64.b64encode(data).decode()) == pytest.approx(recording_seconds(data))


def test_speech_that_telephones_record_and_opus_last_as_long_too() -> None:
    assert recording_seconds(encoded("WAV", "GSM610", 8_000)) == pytest.approx(SECONDS, rel=0.05)
    assert recording_seconds(encoded("OGG", "OPUS", 48_000)) == pytest.approx(SECONDS, rel=0.05)


def frame(kbits: int, hertz: int = 44_100) -> bytes:
    """A frame of MP3: of MPEG 1, and of MPEG 2.5 for 8,000 samples a second."""
    if hertz == 8_000:
        index = (8, 16, 24, 32).index(kbits) + 1
        return bytes((0xFF, 0xE3, index << 4 | 2 << 2, 0)).ljust(72 * kbits * 1000 // hertz, b"\0")
    index = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320).index(kbits) + 1
    return bytes((0xFF, 0xFB, index << 4, 0)).ljust(144 * kbits * 1000 // hertz, b"\0")


def test_a_first_frame_of_another_rate_makes_no_mp3_shorter() -> None:
    minute = frame(8, 8_000) * (60 * 8_000 // 576)
    assert recording_seconds(frame(320) + minute) == pytest.approx(60, rel=0.01)
    tag = b"ID3\x04\0\0" + bytes((0, 0, 2, 0)) + bytes(256)
    assert recording_seconds(tag + frame(320) + minute) == pytest.approx(60, rel=0.01)
    assert recording_seconds(frame(320) + b"APETAGEX\xff\xff" + minute) == pytest.approx(60, rel=0.01)


def test_an_mp3_of_many_rates_lasts_as_long_as_all_its_frames() -> None:
    frames = b"".join(frame(kbits) for kbits in (32, 320, 64, 128) * 500)
    assert recording_seconds(frames) == pytest.approx(2000 * 1152 / 44_100)


def test_a_tag_that_claims_the_whole_file_hides_nothing() -> None:
    tag = b"ID3\x04\0\0" + bytes((0x7F, 0x7F, 0x7F, 0x7F))
    assert recording_seconds(tag + bytes(80_000)) >= 10


def adts(length: int, place: int = 11) -> bytes:
    """A frame of AAC; `place` of its samples a second, 11 for 8,000."""
    head = bytes((0xFF, 0xF1, 0x40 | place << 2, length >> 11, length >> 3 & 0xFF, (length & 7) << 5, 0))
    return head.ljust(length, b"\0")


def test_aac_lasts_as_long_as_its_frames_however_few_bytes_they_have() -> None:
    assert recording_seconds(adts(700, 3) + adts(20) * 1000) == pytest.approx(1000 * 0.128, rel=0.01)


def test_what_the_pages_of_ogg_claim_of_the_time_makes_them_no_shorter() -> None:
    for how, hertz in (("VORBIS", 8_000), ("VORBIS", 48_000), ("OPUS", 48_000)):
        data = bytearray(encoded("OGG", how, hertz))
        at = data.find(b"OggS")
        while at >= 0:
            data[at + 6 : at + 14] = struct.pack("<Q", 1)
            at = data.find(b"OggS", at + 4)
        assert SECONDS <= recording_seconds(bytes(data)) <= SECONDS + 0.5


def test_two_streams_of_ogg_behind_each_other_are_both_heard() -> None:
    one, other = encoded("OGG", "VORBIS"), encoded("OGG", "VORBIS", seconds=2)
    renumbered = other.replace(other[14:18], b"\x01\x02\x03\x04")
    assert recording_seconds(one + renumbered) == pytest.approx(SECONDS + 2, rel=0.06)


def test_a_flac_whose_head_claims_a_sample_lasts_as_long_as_its_frames() -> None:
    data = bytearray(encoded("FLAC", "PCM_16"))
    data[21:26] = ((data[21] >> 4) << 36 | 1).to_bytes(5, "big")
    assert recording_seconds(bytes(data)) == pytest.approx(SECONDS, rel=0.05)


def test_bits_that_a_law_has_not_make_no_wav_shorter() -> None:
    data = bytearray(encoded("WAV", "ULAW"))
    at = data.find(b"fmt ")
    data[at + 22 : at + 24] = struct.pack("<H", 32)
    assert recording_seconds(bytes(data)) == pytest.approx(SECONDS, rel=0.02)


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", len(body) + 8) + kind + body


def mp4(samples: int, *, scale: int, ticks: int, place: int = 8) -> bytes:
    """A file of AAC; `place` of its samples a second, 8 for 16,000."""
    config = (2 << 11 | place << 7 | 1 << 3).to_bytes(2, "big")
    entry = box(
        b"mp4a", bytes(28), box(b"esds", bytes(4), b"\x03\x80\x80\x80\x22", bytes(3), b"\x05\x80\x80\x80\x02", config)
    )
    tables = box(b"stbl", box(b"stsd", bytes(8), entry), box(b"stsz", struct.pack(">III", 0, 0, samples)))
    clock = box(b"mdhd", struct.pack(">IIIII", 0, 0, 0, scale, ticks))
    head = box(b"mvhd", struct.pack(">IIIII", 0, 0, 0, scale, ticks))
    return box(b"ftyp", b"M4A ") + box(b"moov", head, clock, tables) + box(b"mdat", bytes(samples * 20))


def test_an_mp4_lasts_as_long_as_its_samples_and_its_head_say() -> None:
    assert recording_seconds(mp4(1000, scale=16_000, ticks=1_024_000)) == 64
    assert recording_seconds(mp4(1000, scale=2**32 - 1, ticks=1)) == 64
    assert recording_seconds(mp4(1000, scale=1, ticks=100)) == 100
    parts = b"".join(box(b"moof", box(b"trun", struct.pack(">II", 0, 100))) for _ in range(9))
    assert recording_seconds(mp4(100, scale=1, ticks=0) + parts) == 64


def webm(blocks: list[bytes]) -> bytes:
    """As browsers record: a segment and clusters whose sizes are left open."""
    open_size = b"\x01" + b"\xff" * 7
    name = b"\x86\x86A_OPUS"
    head = b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67" + open_size + b"\x16\x54\xae\x6b" + bytes((0x80 | len(name),)) + name
    packets = b"".join(b"\xa3" + bytes((0x80 | len(each) + 4,)) + b"\x81\0\0\x80" + each for each in blocks)
    return head + b"\x1f\x43\xb6\x75" + open_size + packets


def test_a_webm_of_opus_lasts_as_long_as_its_packets() -> None:
    second = [bytes((1 << 3, 0, 0))] * 50  # SILK, 20 ms
    assert recording_seconds(webm(second * 60)) == 60
    assert recording_seconds(webm([bytes((3 << 3 | 3, 2))] * 100)) == 12  # two frames of 60 ms in each


@pytest.mark.parametrize("ending", ["", "A", "=", "\n", "#"])
def test_base64_that_is_broken_is_not_free(ending: str) -> None:
    text = base64.b64encode(encoded("MP3", "MPEG_LAYER_III")).decode() + ending
    assert audio_seconds(text) >= 2


def taken(data: bytes) -> float:
    def once() -> float:
        began = time.process_time()
        recording_seconds(data)
        return time.process_time() - began

    return min(once() for _ in range(3))


@pytest.mark.parametrize(
    ("head", "unit"),
    [
        (b"", frame(8, 8_000)[:4] + b"\xff" * 60),
        (b"", frame(8, 8_000)[:24]),
        (b"", adts(7)),
        (b"fLaC" + bytes(14) + (16_000 << 44 | 1).to_bytes(8, "big"), b"\xff\xf8\x18\x08\0\0\0\0"),
        (b"", b"OggS"),
        (b"", b"OggS\0\2" + bytes(20) + b"\xff" + b"\1" * 255 + b"OpusHead".ljust(255, b"\0")),
        (box(b"ftyp", b"M4A "), b"trun\0\0\0\0\0\0\0\1"),
        (webm([]), b"\xa3\x86\x81\0\0\x80\x18\0"),
        (b"RIFF\0\0\0\0WAVE", b"\xff"),
    ],
    ids=["noise", "small frames", "AAC", "FLAC", "pages", "packets", "runs", "blocks", "chunks"],
)
def test_the_worst_is_looked_at_in_linear_time(head: bytes, unit: bytes) -> None:
    small, large = (head + unit * (size // len(unit)) for size in (100_000, 1_000_000))
    assert taken(large) < 40 * taken(small) + 40 * taken(b"")
