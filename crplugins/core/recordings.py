"""How long a recording lasts, by the frames, packets or samples in it, and never by what its head claims alone.

Who sends a recording may be who pays for it. A head is a claim: what is heard is what a decoder finds. So formats of
frames are walked frame by frame, and where only a head says it, no recording is shorter than its bytes can be. Nothing
is decoded. The work is linear, and what is beyond so many frames counts as the longest that its bytes can be.

Formats: WAV (RIFF); MPEG audio (ISO 11172-3 and 13818-3) and ADTS (ISO 13818-7); FLAC (RFC 9639, section 9); Ogg
(RFC 3533) with Opus (RFC 6716, section 3), Vorbis or Speex; MP4 (ISO 14496-12); Matroska and WebM (RFC 9559) with Opus.
"""

from functools import cache
from itertools import accumulate
from typing import Final

MOST_FRAMES: Final = 2**17
"""Frames or packets of one recording that are looked at: most of an hour of the shortest that are usual."""

_LEAST_BYTES_PER_SECOND: Final = 1_000
"""What lies after these: no encoder of frames is told to take fewer than 8 kbit/s."""

_MOST_CHUNKS: Final = 16
"""Chunks of a WAV before the one that says how it is to be decoded."""

_FLAC_BYTES_PER_SECOND: Final = 192_000
"""The most that FLAC takes: as two channels of 48 kHz that are not compressed."""

_KBITS: Final = {  # by version (1, or 2 and 2.5) and layer
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_AAC_HERTZ: Final = (
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350,
)  # fmt: skip
_FLAC_HERTZ: Final = (0, 88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)
_OPUS_QUARTERS: Final = (4, 8, 16, 24) * 3 + (4, 8) * 2 + (1, 2, 4, 8) * 4
"""How long a frame of each configuration lasts, in quarters of 10 ms."""

_MOST_OPUS_QUARTERS: Final = 48


def seconds_of(data: bytes, rate: float) -> float:
    """How long the recording lasts. `rate`: bytes a second of what is not understood."""
    if data.startswith(b"ID3") and len(data) >= 10:
        tag = 10 + (data[6] << 21 | data[7] << 14 | data[8] << 7 | data[9])
        return seconds_of(data[tag:], rate) if tag < len(data) else len(data) / rate
    if data.startswith((b"RIFF", b"RF64")) and data[8:12] == b"WAVE":
        return len(data) / (_wav_rate(data) or rate)
    found = 0.0
    if data.startswith(b"fLaC"):
        found = _flac(data) or len(data) / rate
    elif data.startswith(b"OggS"):
        found = _ogg(data)
    elif data.startswith(b"\x1a\x45\xdf\xa3"):
        found = _matroska(data)
    elif data[4:8] in (b"ftyp", b"styp", b"moov", b"moof"):
        found = _mp4(data)
    elif data[:1] == b"\xff" and data[1:3] in _frames():
        found = _framed(data, rate)
    return round(found, 6) or len(data) / rate  # of many small numbers the sum is a little off


def _wav_rate(data: bytes) -> float:
    """Bytes per second, by what a decoder goes by: encoding, samples, channels and bits, and not by the field for it.

    0 if nothing says how it is to be decoded.
    """
    offset = 12
    for _ in range(_MOST_CHUNKS):
        chunk = data[offset : offset + 34].ljust(34, b"\0")
        if chunk.startswith(b"fmt "):
            encoding, channels, hertz = _little(chunk[8:10]), _little(chunk[10:12]), _little(chunk[12:16])
            if encoding == _EXTENSIBLE:
                encoding = _little(chunk[32:34])
            bits = _little(chunk[22:24]) if encoding in _SAMPLES else _BITS.get(encoding)
            return _LEAST_BYTES_PER_SECOND if bits is None else channels * hertz * bits / 8
        size = _little(chunk[4:8])
        offset += 8 + size + size % 2
    return 0


_EXTENSIBLE: Final = 0xFFFE
_SAMPLES: Final = (1, 3)
"""PCM, as integers or floats."""

_BITS: Final = {2: 4, 6: 8, 7: 8, 17: 4, 49: 1.625}
"""Of a sample, whatever the head says: ADPCM of Microsoft, A-law, mu-law, ADPCM of the IMA, GSM 6.10."""


@cache
def _frames() -> dict[bytes, tuple[int, float]]:
    """How many bytes a frame of MPEG audio has and how long it lasts, by the second and third byte of its header."""
    found = {}
    for version, layer, protected in ((v, x, p) for v in (0, 2, 3) for x in (1, 2, 3) for p in (0, 1)):
        first, kind = 0xE0 | version << 3 | (4 - layer) << 1 | protected, 1 if version == 3 else 2
        for index, kbits in enumerate(_KBITS[kind, layer], 1):
            for place, full in enumerate((44_100, 48_000, 32_000)):
                hertz = full >> {3: 0, 2: 1, 0: 2}[version]
                samples = 384 if layer == 1 else 1152 if layer == 2 or kind == 1 else 576
                for low in range(4):  # padding, and a bit for nobody
                    size = samples // 8 * kbits * 1000 // hertz
                    size = (size // 4 + (low >> 1)) * 4 if layer == 1 else size + (low >> 1)
                    found[bytes((first, index << 4 | place << 2 | low))] = (size, samples / hertz)
    for first in (0xF0, 0xF1, 0xF8, 0xF9):  # ADTS, which says the length of each frame after these
        for third in range(256):
            if (place := third >> 2 & 15) < len(_AAC_HERTZ):
                found[bytes((first, third))] = (0, 1024 / _AAC_HERTZ[place])
    return found


def _framed(data: bytes, rate: float) -> float:
    """MPEG audio or ADTS, and what is neither between their frames: tags count as what is not understood."""
    frames, offset, size, seconds, unknown = _frames(), 0, len(data), 0.0, 0
    for _ in range(MOST_FRAMES):
        frame = frames.get(data[offset + 1 : offset + 3])
        if frame is None or data[offset] != 0xFF:
            begins = data.find(b"\xff", offset + 1)
            begins = size if begins < 0 else begins
            unknown, offset = unknown + begins - offset, begins
        else:
            length, lasts = frame
            if not length:
                length, lasts = _adts(data[offset : offset + 7], lasts)
            seconds, offset = seconds + lasts, offset + length
        if offset >= size - 2:
            return seconds + unknown / rate
    return seconds + unknown / rate + (size - offset) / _LEAST_BYTES_PER_SECOND


def _adts(head: bytes, lasts: float) -> tuple[int, float]:
    if len(head) < 7:
        return 7, 0.0
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return (length, lasts * (1 + (head[6] & 3))) if length > 6 else (1, 0.0)


def _flac(data: bytes) -> float:
    """By the samples of its frames, each of which has a header with a checksum; and never less than its head says."""
    hertz, samples = _big(data[18:21]) >> 4, _big(data[21:26]) & 0xF_FFFF_FFFF
    if not hertz:
        return 0.0
    seconds, rest, frames = 0.0, 0, MOST_FRAMES
    for sync in (b"\xff\xf8", b"\xff\xf9"):  # blocks of one size, or of several
        offset = data.find(sync)
        while offset >= 0 and frames:
            seconds, frames = seconds + _flac_frame(data[offset : offset + 16], hertz), frames - 1
            offset = data.find(sync, offset + 2)
        rest += 0 if offset < 0 else len(data) - offset
    return max(seconds, samples / hertz, len(data) / _FLAC_BYTES_PER_SECOND) + rest / _LEAST_BYTES_PER_SECOND


def _flac_frame(head: bytes, hertz: int) -> float:
    """How long the frame lasts; 0 if this is no header of one."""
    if len(head) < 16:
        return 0.0
    block, rate, number = head[2] >> 4, head[2] & 15, head[4]
    if not block:
        return 0.0
    at = 5 + (0 if number < 0x80 else 8 - (number ^ 0xFF).bit_length() - 1)
    if block in (6, 7):
        samples, at = _big(head[at : at + block - 5]) + 1, at + block - 5
    else:
        samples = 192 if block == 1 else 576 << block - 2 if block < 6 else 1 << block
    if 0 < rate < len(_FLAC_HERTZ):
        hertz = _FLAC_HERTZ[rate]
    elif rate in (12, 13, 14):
        width = 1 if rate == 12 else 2
        hertz, at = _big(head[at : at + width]) * {12: 1000, 13: 1, 14: 10}[rate], at + width
    if rate == 15 or not hertz or at >= len(head) or _checksum(head[:at]) != head[at]:
        return 0.0
    return samples / hertz


def _checksum(data: bytes) -> int:
    """CRC-8 with x^8 + x^2 + x + 1."""
    table, crc = _checksums(), 0
    for byte in data:
        crc = table[crc ^ byte]
    return crc


@cache
def _checksums() -> bytes:
    found = bytearray()
    for crc in range(256):
        for _ in range(8):
            crc = (crc << 1 ^ 7) & 0xFF if crc & 0x80 else crc << 1
        found.append(crc)
    return bytes(found)


def _ogg(data: bytes) -> float:
    """By the packets of its streams. What a page says of the time is a claim, and counts where it says more."""
    packets, offset, seconds = MOST_FRAMES, 0, 0.0
    lasts: dict[bytes, float | None] = {}  # by stream: how long a packet is at most, None for Opus
    ends: dict[bytes, float] = {}
    hertz: dict[bytes, int] = {}
    while packets > 0 and (offset := data.find(b"OggS", offset)) >= 0:
        table = data[offset + 27 : offset + 27 + data[offset + 26]] if offset + 26 < len(data) else b""
        stream, begins = data[offset + 14 : offset + 18], offset + 27 + len(table)
        if len(stream) < 4:
            break
        packets -= 1 + len(table)
        if data[offset + 5] & 2:
            lasts[stream], hertz[stream] = _ogg_packet(data[begins : begins + 80])
            ends[stream] = 0.0
        elif stream in lasts:
            longest = lasts[stream]
            if longest is None:
                seconds += _opus_page(data, begins, table, continued=bool(data[offset + 5] & 1))
            else:
                seconds += (len(table) - table.count(255)) * longest
            position = _little(data[offset + 6 : offset + 14])
            if position < 2**48:
                ends[stream] = max(ends[stream], position / hertz[stream])
        offset = begins + sum(table) if table else offset + 4
    rest = 0 if packets > 0 else len(data) - offset
    return max(seconds, sum(ends.values())) + rest / _LEAST_BYTES_PER_SECOND


def _ogg_packet(head: bytes) -> tuple[float | None, int]:
    """How long a packet of a stream with this head lasts at most, None for Opus; and the samples in a second of it."""
    if head.startswith(b"\x01vorbis"):
        hertz = _little(head[12:16]) or 1
        return (1 << (head[28] >> 4 if len(head) > 28 else 13)) / 2 / hertz, hertz
    if head.startswith(b"Speex   "):
        return 0.02 * max(1, _little(head[64:68])), _little(head[36:40]) or 1
    return None, 48_000  # what is neither is read as Opus, which is as long as any


def _opus_page(data: bytes, begins: int, table: bytes, *, continued: bool) -> float:
    """The packets that begin in a page; the two heads of a stream count too, which is a blink."""
    if 255 in table:
        starts, offset, fresh = [], begins, not continued
        for length in table:
            if fresh:
                starts.append(offset)
            offset, fresh = offset + length, length < 255
    else:
        starts = [begins + offset for offset in accumulate(table, initial=0)][:-1]
        starts = starts[1:] if continued else starts
    return sum([_opus_quarters(data[start : start + 2]) for start in starts]) / 400


def _opus_quarters(packet: bytes) -> int:
    if not packet:
        return 0
    lasts, code = _OPUS_QUARTERS[packet[0] >> 3], packet[0] & 3
    if code == 3:
        return min(lasts * (packet[1] & 63 if len(packet) > 1 else 1), _MOST_OPUS_QUARTERS)
    return lasts * 2 if code else lasts


def _mp4(data: bytes) -> float:
    """By its number of samples, each a frame of AAC or ALAC, and by the times that its boxes claim."""
    hertz, frame = 44_100, 4096 if b"alac" in data else 1024
    if (at := data.find(b"esds")) >= 0 and (config := data.find(b"\x05", at + 8, at + 80)) >= 0:
        config += 1
        while data[config : config + 1] == b"\x80":
            config += 1
        place = _big(data[config + 1 : config + 3]) >> 7 & 15
        hertz = _AAC_HERTZ[place] if place < len(_AAC_HERTZ) else hertz
    samples = 0
    for box, place in ((b"stsz", 12), (b"stz2", 12), (b"trun", 8)):
        at = data.find(box)
        for _ in range(MOST_FRAMES):
            if at < 0:
                break
            samples += min(_big(data[at + place : at + place + 4]), len(data))
            at = data.find(box, at + 4)
    claims = [_mp4_claim(data, box) for box in (b"mvhd", b"mdhd")]
    return max(samples * frame / hertz, *claims) if samples else 0.0


def _mp4_claim(data: bytes, box: bytes) -> float:
    at = data.find(box)
    if at < 0:
        return 0.0
    long = data[at + 4 : at + 5] == b"\x01"
    clock = at + (24 if long else 16)
    scale, ticks = _big(data[clock : clock + 4]), _big(data[clock + 4 : clock + (12 if long else 8)])
    return ticks / scale if scale and ticks < 2**48 else 0.0


_MASTERS: Final = (0x18538067, 0x1F43B675, 0xA0)
"""Elements that are gone into: segments, clusters, groups of blocks. Streams leave the sizes of these open."""

_BLOCKS: Final = (0xA3, 0xA1)


def _matroska(data: bytes) -> float:
    """By the packets in its blocks, if they are Opus's; 0 for other codecs."""
    if b"A_OPUS" not in data[:4096]:
        return 0.0
    offset, quarters = 0, 0
    for _ in range(MOST_FRAMES):
        if offset >= len(data):
            return quarters / 400
        kind, offset = _vint(data, offset, marked=True)
        size, offset = _vint(data, offset)
        if kind in _MASTERS:
            continue
        if kind in _BLOCKS:
            _, begins = _vint(data, offset)
            laced = data[begins + 2] & 6 if begins + 3 < len(data) else 0
            packet = data[begins + 3 : begins + 5]
            quarters += _MOST_OPUS_QUARTERS * (packet[0] + 1) if laced and packet else _opus_quarters(packet)
        offset += max(size, 0)
    return quarters / 400 + (len(data) - offset) / _LEAST_BYTES_PER_SECOND


def _vint(data: bytes, offset: int, *, marked: bool = False) -> tuple[int, int]:
    """A number of variable length, and what is after it. -1 for a size that is left open."""
    first = data[offset] if offset < len(data) else 0
    width = 9 - first.bit_length() if first else 1
    value = _big(data[offset : offset + width])
    if not marked:
        value &= (1 << 7 * width) - 1
        value = -1 if value == (1 << 7 * width) - 1 else value
    return value, offset + width


def _big(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")
