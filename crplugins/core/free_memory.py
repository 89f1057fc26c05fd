"""Gives back to the operating system what a burst of requests has left free.

glibc keeps it: a piece that is in use at the end of its heap holds everything before it, until somebody asks for the
free pages between. What Python's own allocator keeps for small objects it gives back itself, a megabyte at a time, when
no object is left in it; see `free_lists.py`.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from crplugins.core.free_lists import forget_attributes

if TYPE_CHECKING:
    from ctypes import CDLL

WORTHWHILE_BYTES: Final = 16 << 20
"""By so much the process is larger than usual: glibc walks over all that is free, which takes milliseconds."""

NOTICEABLE_BYTES: Final = 1 << 20
"""If less was given back, the process has come to need what it has."""

_SIZES: Final = Path("/proc/self/statm")

_ARENA_MAX: Final = -8
"""`M_ARENA_MAX` of malloc.h."""

Trim = Callable[[int], object]


class FreeMemory:
    """What is free in this process, and how large the process is where nothing more can be given back.

    Args:
        resident: how many bytes of the process are in memory.
        trim: has the allocator give back its free pages; None where it cannot.
    """

    def __init__(self, resident: Callable[[], int], trim: Trim | None) -> None:
        self._resident, self._trim = resident, trim
        self._usual = self._before = resident() if trim is not None else 0

    @classmethod
    def of_this_process(cls) -> "FreeMemory":
        """Blocks: it reads a file of the kernel's."""
        try:
            resident_bytes()
        except OSError:  # no Linux
            return cls(lambda: 0, None)
        trim = glibc_trim()
        if trim is not None:
            trim(0)  # what imports have left free
        return cls(resident_bytes, trim)

    def has_grown(self) -> bool:
        """Whether it is worthwhile to give back. Blocks: it reads a file of the kernel's."""
        if self._trim is None:
            return False
        self._before = self._resident()
        return self._before >= self._usual + WORTHWHILE_BYTES

    def give_back(self) -> None:
        """Blocks for some milliseconds: call it in a thread, while little goes on.

        What is still there may be given back later, such as what connections have that are kept for a minute. So the
        process has grown until it is as large as before, or until nothing came of giving back.
        """
        assert self._trim is not None, "it has grown"
        forget_attributes()
        self._trim(0)
        after = self._resident()
        self._usual = min(self._usual, after) if self._before - after >= NOTICEABLE_BYTES else after


def share_one_heap() -> None:
    """Has the threads that begin from now on allocate where the first one does. glibc gives each a heap of its own, in
    which stays what the thread has left free: megabytes, and of Python's threads only one at a time allocates anyway.
    """
    mallopt = getattr(_libc(), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)


def resident_bytes() -> int:
    """Raises OSError where there is no Linux."""
    return int(_SIZES.read_bytes().split()[1]) * os.sysconf("SC_PAGESIZE")


def glibc_trim() -> Trim | None:
    """`malloc_trim(3)`, which does not hold the interpreter's lock; None with another library, such as musl."""
    trim: Trim | None = getattr(_libc(), "malloc_trim", None)
    return trim


def _libc() -> "CDLL":
    import ctypes  # which nothing else needs

    return ctypes.CDLL(None)
