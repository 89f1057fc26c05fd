"""The worker processes of `crplugins serve --workers`."""

import os
import signal
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path


def workers_of(process: int) -> set[int]:
    """The ids of a supervisor's workers; not that of multiprocessing's own process."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return {int(each) for each in children if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()}


@contextmanager
def answered_by(worker: int, workers: Set[int]) -> Iterator[None]:
    """No other of these workers takes a connection meanwhile: they share one queue of them.

    Left to the kernel, all of many connections may be taken by one worker, and are where the machine is busy.
    """
    others = workers - {worker}
    for other in others:
        os.kill(other, signal.SIGSTOP)
    try:
        yield
    finally:
        for other in others:
            os.kill(other, signal.SIGCONT)
