"""Space on a disk for files that are written through mapped memory."""

import os


def allocate(descriptor: int, size: int) -> None:
    """Allocate `size` bytes of a file now: on a full disk, writing to mapped memory without them kills the process.

    What the file contains stays. Raises `OSError`. Blocks.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        there = os.fstat(descriptor).st_size
        os.pwrite(descriptor, bytes(max(0, size - there)), there)
