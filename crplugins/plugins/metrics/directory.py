"""The folder in which the worker processes of one server share their metrics (prometheus_client's multiprocess mode).

Each worker writes files there, and whichever is scraped adds them all up. prometheus_client does this if
PROMETHEUS_MULTIPROC_DIR names a folder when it is imported, so workers must be started with the variable set
(`multiprocess_directory`). For that reason importing this module does not import prometheus_client.

The price: no exemplars, no metrics of the processes, and slower scrapes. One worker per scrape target needs none of it.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from crplugins.core.disk_space import allocate
from crplugins.core.processes import METRICS_DIRECTORY_VARIABLE
from crplugins.settings.errors import ConfigError, Problem

_FILES: Final = {"counter": 1 << 20, "histogram": 1 << 20, "gauge_livesum": 1 << 16, "gauge_mostrecent": 1 << 16}
"""The files that a process has, by the kinds and modes of our metrics, and bytes of each: a mebibyte holds about 5,000
series."""


@contextmanager
def multiprocess_directory() -> Iterator[Path]:
    """A folder for the workers that are started inside the block, named in their environment.

        with multiprocess_directory():
            supervisor.run()

    It is new, private and for this server only: two servers with one folder would count each other's requests. It is
    created and deleted by the process that starts the workers, never by a worker, which would delete what the others
    have counted. If the environment names a folder already, it is used as it is and not deleted.
    """
    named = os.environ.get(METRICS_DIRECTORY_VARIABLE)
    if named:
        yield Path(named)
        return
    directory = tempfile.mkdtemp(prefix="crplugins-metrics-")
    os.environ[METRICS_DIRECTORY_VARIABLE] = directory
    try:
        yield Path(directory)
    finally:
        os.environ.pop(METRICS_DIRECTORY_VARIABLE, None)
        shutil.rmtree(directory, ignore_errors=True)


def shared_directory() -> Path | None:
    """Where the processes keep their values; None if this process keeps its values in memory."""
    if METRICS_DIRECTORY_VARIABLE not in os.environ and METRICS_DIRECTORY_VARIABLE.lower() not in os.environ:
        return None  # without an import, which is left to the first scrape
    from prometheus_client import values

    shared = values.ValueClass is not values.MutexValue  # decided when it was imported
    directory = os.environ.get(METRICS_DIRECTORY_VARIABLE)
    return Path(directory) if shared and directory else None


def open_shared_directory() -> None:
    """Creates the files of this process with room for a while, where it keeps its values in a folder.

    prometheus_client by itself makes them without: the disk being full later, the next new series would kill the
    process. Raises `ConfigError` if that cannot be done.
    """
    directory = shared_directory()
    if directory is None:
        return
    if not (directory.is_dir() and os.access(directory, os.W_OK | os.X_OK)):
        raise _unusable(directory, "which is no folder that can be written to")
    try:
        hidden_file(directory, os.getpid()).unlink(missing_ok=True)  # of an earlier process of this number
        for kind, size in _FILES.items():
            descriptor = os.open(directory / f"{kind}_{os.getpid()}.db", os.O_RDWR | os.O_CREAT, 0o644)
            try:
                allocate(descriptor, size)
            finally:
                os.close(descriptor)
    except OSError as error:
        raise _unusable(directory, f"in which no file can be created: {error.strerror}") from None


def hidden_file(directory: Path, pid: int | str) -> Path:
    """Where a process says which keys have no place in it any more."""
    return directory / f"keys_{pid}.hidden"


def _unusable(directory: Path, why: str) -> ConfigError:
    return ConfigError([Problem(("metrics",), f"{METRICS_DIRECTORY_VARIABLE} names {directory}, {why}")])


def sweep(directory: Path) -> None:
    """Remove the in-flight gauges of processes that no longer run: a process that was killed could not do it itself."""
    for file in directory.glob("gauge_live*_*.db"):
        if not runs(file.stem.rpartition("_")[2]):
            file.unlink(missing_ok=True)


def runs(pid: str) -> bool:
    """Whether the process that a file is named after does."""
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError):  # somebody else's process, or no pid: not ours to judge
        return True
    return True


def leave(directory: Path) -> None:
    """Remove the in-flight gauges of this process."""
    from prometheus_client.multiprocess import mark_process_dead

    with suppress(FileNotFoundError):
        mark_process_dead(os.getpid(), str(directory))  # type: ignore[no-untyped-call]
