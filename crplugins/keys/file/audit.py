"""AuditFile: the audit log of a keys file, one JSON object on each line. Blocks; callers stand in a thread."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from crplugins.keys.audit import AuditEntry, AuditQuestion
from crplugins.keys.file.file import keep_owner
from crplugins.keys.store import KeyFileError
from crplugins.settings.errors import Problem

_BLOCK: Final = 64 * 1024


class AuditFile:
    """A file that grows. Whoever writes holds the lock of `keys`, the keys file, whose owner it belongs to."""

    def __init__(self, path: Path, keys: Path) -> None:
        self._path = path
        self._keys = keys

    @contextmanager
    def written(self, entry: AuditEntry) -> Iterator[None]:
        """The entry is durable before the block runs, and taken back if the block fails.

        Raises `KeyFileError` if it cannot be written; the block does not run then.
        """
        line = msgspec.json.encode(entry) + b"\n"
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise self._failure(error) from None
        with os.fdopen(descriptor, "ab", buffering=0) as file:
            keep_owner(descriptor, self._keys)
            before = file.seek(0, os.SEEK_END)
            try:
                _append(file, line if _ends_with_newline(descriptor, before) else b"\n" + line)
                yield
            except BaseException as error:
                os.ftruncate(descriptor, before)
                if isinstance(error, OSError):
                    raise self._failure(error) from None
                raise

    def answer(self, question: AuditQuestion) -> list[AuditEntry]:
        """The newest first. Raises `KeyFileError`."""
        found: list[AuditEntry] = []
        try:
            with self._path.open("rb") as file:
                for line in _lines_backwards(file):
                    entry = _decoded(line)
                    if entry is not None and question.wants(entry):
                        found.append(entry)
                        if len(found) == question.limit:
                            break
        except FileNotFoundError:
            pass
        except OSError as error:
            raise self._failure(error) from None
        return found

    def _failure(self, error: OSError) -> KeyFileError:
        return KeyFileError([Problem((), f"the audit log cannot be used ({error.strerror})")], self._path.name)


def _append(file: BinaryIO, line: bytes) -> None:
    written = 0
    while written < len(line):  # a raw file may take a part of it
        written += file.write(line[written:])
    os.fsync(file.fileno())


def _ends_with_newline(descriptor: int, size: int) -> bool:
    """A line that was cut by a loss of power must not swallow the next one."""
    return size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"


def _decoded(line: bytes) -> AuditEntry | None:
    """None for what is no entry: a line that was cut, or another program's."""
    try:
        return msgspec.json.decode(line, type=AuditEntry)
    except msgspec.DecodeError:
        return None


def _lines_backwards(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, the last one first: of a log of years only the end is read."""
    position, parts = file.seek(0, os.SEEK_END), list[bytes]()
    while position > 0:
        size = min(_BLOCK, position)
        position -= size
        file.seek(position)
        *whole, last = file.read(size).split(b"\n")[::-1]
        if whole:
            yield whole[0] + b"".join(reversed(parts))
            yield from whole[1:]
            parts = []
        parts.append(last)
    yield b"".join(reversed(parts))
