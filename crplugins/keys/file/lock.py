"""A lock between the processes that change one file."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crplugins.keys.file.document import KeyFileError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of `path`, waiting for it as long as it takes.

    It is a file beside it: a lock on the file itself would end when the file is replaced. Raises `KeyFileError` if
    there can be none.
    """
    try:
        file = path.with_name(f".{path.name}.lock").open("a+b")
    except OSError as error:
        raise KeyFileError(f"{path.name}: its folder cannot be written to ({error.strerror})") from None
    with file:
        _lock(file.fileno())
        yield  # closing the file gives the lock back, also when the process dies


if sys.platform == "win32":
    import msvcrt
    import time

    def _lock(descriptor: int) -> None:
        while True:
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                return
            except OSError:
                time.sleep(0.02)  # LK_LOCK gives up after ten attempts

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
