"""Journal: lines that survive the death of the process before they are committed.

A commit takes milliseconds, in which a SIGKILL would lose records of requests that clients have been served. So each
line is copied into a memory-mapped file: the copy is in the page cache at once, without a system call, and the kernel
keeps that if the process dies. (A power cut loses it; only a commit survives that.)

The file is a header and some segments, each a sequence of lines with their lengths before them and a zero at the end:

    <length><line><length><line>...<0>

The line and the next zero are written first and the length last, so that a line is there as a whole or not at all. A
segment is reused when all its lines are committed; when the segment in use is full, another one is used.

Reports read the journals of running processes too. For each segment the header counts how often it was emptied, before
it is written over: a reader that finds the same number before and after has read lines that were all there at once.
"""

import fcntl
import logging
import mmap
import os
import secrets
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from crplugins.core.disk_space import allocate

logger = logging.getLogger("crplugins.ledger")

SUFFIX: Final = ".journal"
DAMAGED: Final = ".damaged"
SEGMENTS: Final = 16
SEGMENT_BYTES: Final = 1024 * 1024
"""About 1,300 lines each. Small, as what has been written once stays in the memory of the process."""

_MAGIC: Final = b"crplugins journal 1"
_HEADER: Final = struct.Struct("<32sQ")  # the magic and the size of a segment
_HEADER_BYTES: Final = 4096
_LENGTH: Final = struct.Struct("<I")
_COUNT: Final = struct.Struct("<Q")
_COUNTS: Final = 64
"""Where the header has the count of the first segment."""

_FIRST_READ: Final = 32 * 1024

_write_length: Final = _LENGTH.pack_into
_write_count: Final = _COUNT.pack_into


class Segment:
    """A part of the file from `start` to `stop`; its lines end at `end`. `counted` is where its count stands."""

    __slots__ = ("_counted", "_emptied", "_map", "end", "pending", "start", "stop")

    def __init__(self, memory: mmap.mmap, start: int, stop: int, counted: int) -> None:
        self._map, self._counted, self._emptied = memory, counted, 0
        self.start, self.stop = start, stop
        self.end = start
        self.pending = 0

    def append(self, line: bytes) -> bool:
        """Adds the line; False if there is no room for it."""
        end = self.end
        text = end + 4
        after = text + len(line)
        if after + 4 > self.stop:
            return False
        memory = self._map
        _write_length(memory, after, 0)
        memory[text:after] = line
        _write_length(memory, end, after - text)
        self.end = after
        self.pending += 1
        return True

    def release(self, number: int = 1) -> None:
        """To be called for each of its lines when that is committed, or once for so many."""
        self.pending -= number
        if not self.pending:
            self._emptied += 1
            _write_count(self._map, self._counted, self._emptied)
            self.end = self.start
            _write_length(self._map, self.start, 0)


class Journal:
    """The journal of this process. Its file is locked while it is open.

    `append` and the segments' methods are for one thread, and take less than a microsecond.
    """

    def __init__(self, path: Path, descriptor: int, segment_bytes: int, segments: int) -> None:
        self.path: Final = path
        self._descriptor = descriptor
        self._map = mmap.mmap(descriptor, _HEADER_BYTES + segments * segment_bytes)
        self._segments = [
            Segment(self._map, start, start + segment_bytes, counted)
            for start, counted in _segments(_HEADER_BYTES + segments * segment_bytes, segment_bytes)
        ]
        self._active = self._segments[0]

    @classmethod
    def create(cls, prefix: Path, *, segment_bytes: int = SEGMENT_BYTES, segments: int = SEGMENTS) -> Self:
        """A journal in a new file `PREFIX.PID-RANDOM.journal`. Blocks. Raises OSError.

        The file gets that name when it is locked, so an unlocked journal is one whose process has died.
        """
        name = f"{prefix}.{os.getpid()}-{secrets.token_hex(4)}"
        new, path = Path(name + ".new"), Path(name + SUFFIX)
        descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            allocate(descriptor, _HEADER_BYTES + segments * segment_bytes)
            os.pwrite(descriptor, _HEADER.pack(_MAGIC, segment_bytes), 0)
            new.rename(path)
            return cls(path, descriptor, segment_bytes, segments)
        except BaseException:
            os.close(descriptor)
            new.unlink(missing_ok=True)
            raise

    @property
    def pending(self) -> int:
        return sum(segment.pending for segment in self._segments)

    def append(self, line: bytes) -> Segment | None:
        """Keeps the line until `release` of the returned segment. None: not kept, because all segments are full."""
        if self._active.append(line):
            return self._active
        for segment in self._segments:
            if not segment.pending and segment.append(line):
                self._active = segment
                return segment
        return None

    def close(self) -> None:
        """Closes the journal, and deletes its file unless it has lines that are not committed. Blocks."""
        keeps = self.pending > 0
        self._map.close()
        if not keeps:
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)


class Remains(msgspec.Struct, frozen=True):
    """What a dead process has left: the lines of its journal, and whether all of the journal could be read."""

    lines: list[bytes] = msgspec.field(default_factory=list)
    whole: bool = True


def _segments(size: int, segment_bytes: int) -> Iterator[tuple[int, int]]:
    """Where each segment begins, and where the header counts how often it was emptied."""
    for number, start in enumerate(range(_HEADER_BYTES, size, segment_bytes)):
        yield start, _COUNTS + number * _COUNT.size


def _segment_bytes(content: bytes) -> int | None:
    """The size of the segments, from the header; None if this is no journal."""
    if len(content) < _HEADER.size:
        return None
    magic, segment_bytes = _HEADER.unpack_from(content)
    known: bool = magic.rstrip(b"\0") == _MAGIC and segment_bytes > 4
    return segment_bytes if known else None


def read_remains(content: bytes) -> Remains:
    """The content of a journal, whose process may have died at any instruction, and whose disk may have failed."""
    segment_bytes = _segment_bytes(content)
    if segment_bytes is None:
        return Remains(whole=False)
    remains = Remains()
    for start, _ in _segments(len(content), segment_bytes):
        lines, ended = _lines_from(content, start, min(start + segment_bytes, len(content)))
        good = [line for line in lines if _is_object(line)]
        remains = Remains(remains.lines + good, remains.whole and ended and len(good) == len(lines))
    return remains


def _lines_from(content: bytes, position: int, stop: int) -> tuple[list[bytes], bool]:
    """The lines of a segment, and whether it ends as Segment lets it end."""
    lines: list[bytes] = []
    while position + 4 <= stop:
        (length,) = _LENGTH.unpack_from(content, position)
        position += 4
        if not length or position + length > stop:
            return lines, not length
        lines.append(content[position : position + length])
        position += length
    return lines, False


def _is_object(line: bytes) -> bool:
    try:
        msgspec.json.decode(line, type=dict[str, Any])
        line.decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def adopt_dead_journals(prefix: Path, keep: Callable[[Sequence[bytes]], object]) -> int:
    """Passes the lines of every dead process's journal with this `prefix` to `keep`, then deletes the file.

    One that cannot be read whole is kept aside, under its name and `DAMAGED`: somebody may still get records out of it.

    Returns the number of lines. If this process dies or `keep` raises, the file remains for the next process; so `keep`
    may get some lines twice. Blocks. Raises OSError.
    """
    count = 0
    for path in _journals(prefix):
        with _if_dead(path) as remains:
            if remains is None:
                continue
            if remains.lines:
                keep(remains.lines)
            count += len(remains.lines)
            if remains.whole:
                path.unlink(missing_ok=True)
                continue
            aside = path.with_name(path.name + DAMAGED)
            path.rename(aside)
            logger.error(
                "the journal of a process that died is damaged: %d records are taken from it, and it is kept in %s",
                len(remains.lines),
                aside,
            )
    return count


def read_journals(prefix: Path) -> list[bytes]:
    """The lines in all journals with this `prefix`, of processes that run and of dead ones. Changes nothing.

    Every line that was there at the call and is not committed is among them. So are some that are committed. Blocks.
    Raises OSError.
    """
    lines: list[bytes] = []
    for path in _journals(prefix):
        try:
            with path.open("rb") as file:
                lines += _uncommitted(file.fileno())
        except FileNotFoundError:  # its process has ended meanwhile, and left nothing or another name
            continue
    return lines


def _uncommitted(descriptor: int) -> Iterator[bytes]:
    segment_bytes = _segment_bytes(os.pread(descriptor, _HEADER.size, 0))
    if segment_bytes is None:
        return
    for start, counted in _segments(os.fstat(descriptor).st_size, segment_bytes):
        before = os.pread(descriptor, _COUNT.size, counted)
        lines = _read_segment(descriptor, start, segment_bytes)
        if os.pread(descriptor, _COUNT.size, counted) == before:  # else they were all committed meanwhile
            yield from lines


def _read_segment(descriptor: int, start: int, segment_bytes: int) -> list[bytes]:
    """Its lines, of which there are few as a rule. Read, not mapped: a file that is cut off would kill the process."""
    size = min(_FIRST_READ, segment_bytes)
    while True:
        content = os.pread(descriptor, size, start)
        lines, ended = _lines_from(content, 0, len(content))
        if ended or size == segment_bytes:
            return lines
        size = min(8 * size, segment_bytes)


def _journals(prefix: Path) -> list[Path]:
    folder = prefix.absolute().parent
    names = (path for path in folder.iterdir() if path.name.endswith(SUFFIX)) if folder.is_dir() else ()
    return sorted(path for path in names if path.name.startswith(prefix.name + "."))


@contextmanager
def _if_dead(path: Path) -> Iterator[Remains | None]:
    """A dead process's journal, while this one holds its lock; None if its process lives or it is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if not isinstance(error, FileNotFoundError):  # else another process was faster
            logger.error("the records in %s wait: it cannot be read (%s)", path, error.strerror)
        yield None
        return
    try:
        yield read_remains(_read(descriptor)) if _lock(descriptor) and _is(path, descriptor) else None
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is(path: Path, descriptor: int) -> bool:
    """Whether the file still has that name: another process may have taken it over and deleted it before the lock."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _read(descriptor: int) -> bytes:
    with os.fdopen(os.dup(descriptor), "rb") as file:
        return file.read()
