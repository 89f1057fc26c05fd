"""Journals whose processes have died, and what they were about to commit."""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from crplugins.ledger.journal import SUFFIX, lines_of


def adopt_dead_journals(prefix: Path, keep: Callable[[Sequence[bytes]], object]) -> int:
    """Hands the lines of every dead journal of this `prefix` to `keep`, and deletes the file when that has returned.

    Returns the number of lines. A process that dies in here leaves the file to the next one, as an error of `keep`
    does; so whatever takes the lines may get some of them twice. Blocks. Raises OSError.
    """
    count = 0
    for path in _journals(prefix):
        with _if_dead(path) as lines:
            if lines:
                keep(lines)
            if lines is not None:
                path.unlink(missing_ok=True)
                count += len(lines)
    return count


def count_dead_lines(prefix: Path) -> int:
    """How many lines `adopt_dead_journals` would find. Blocks."""
    count = 0
    for path in _journals(prefix):
        with _if_dead(path) as lines:
            count += len(lines or ())
    return count


def _journals(prefix: Path) -> list[Path]:
    names = (path for path in prefix.absolute().parent.iterdir() if path.name.endswith(SUFFIX))
    return sorted(path for path in names if path.name.startswith(prefix.name + "."))


@contextmanager
def _if_dead(path: Path) -> Iterator[list[bytes] | None]:
    """The lines, while the lock is held that says so; None if it belongs to somebody who lives, or is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # another process was faster, or runs as somebody else
        yield None
        return
    try:
        yield list(lines_of(_read(descriptor))) if _lock(descriptor) and _is(path, descriptor) else None
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is(path: Path, descriptor: int) -> bool:
    """Whether the file still has that name: whoever held the lock before may have adopted and deleted it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _read(descriptor: int) -> bytes:
    with os.fdopen(os.dup(descriptor), "rb") as file:
        return file.read()
