"""Gives back to the operating system what a burst of requests has left free.

glibc keeps it: a piece that is in use at the end of its heap holds everything before it, until somebody asks for the
free pages between. What Python's own allocator keeps for small objects it gives back itself, a megabyte at a time, when
no object is left in it.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

WORTHWHILE_BYTES: Final = 16 << 20
"""By so much the process has grown since the last time: glibc walks over all that is free, which takes milliseconds."""

_SIZES: Final = Path("/proc/self/statm")

Trim = Callable[[int], object]


class FreeMemory:
    """What is free in this process, and how large the process was when it was given back for the last time.

    Args:
        resident: how many bytes of the process are in memory.
        trim: has the allocator give back its free pages; None where it cannot.
    """

    def __init__(self, resident: Callable[[], int], trim: Trim | None) -> None:
        self._resident, self._trim = resident, trim
        self._after = resident() if trim is not None else 0

    @classmethod
    def of_this_process(cls) -> "FreeMemory":
        """Blocks: it reads a file of the kernel's."""
        try:
            resident_bytes()
        except OSError:  # no Linux
            return cls(lambda: 0, None)
        return cls(resident_bytes, glibc_trim())

    def give_back(self) -> bool:
        """Blocks for some milliseconds: call it in a thread, while little goes on. Returns whether it was done."""
        if self._trim is None or self._resident() < self._after + WORTHWHILE_BYTES:
            return False
        self._trim(0)
        self._after = self._resident()
        return True


def resident_bytes() -> int:
    """Raises OSError where there is no Linux."""
    return int(_SIZES.read_bytes().split()[1]) * os.sysconf("SC_PAGESIZE")


def glibc_trim() -> Trim | None:
    """`malloc_trim(3)`, which does not hold the interpreter's lock; None with another library, such as musl."""
    import ctypes  # which nothing else needs

    trim: Trim | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim
