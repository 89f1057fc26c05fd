"""Several worker processes behind one port: each writes files, and whichever is scraped adds them all up.

prometheus_client does this where PROMETHEUS_MULTIPROC_DIR names a folder before it is imported. The price is in the
documentation: no exemplars, no metrics of the processes, and a scrape that takes longer. One worker per scrape target
needs none of it.
"""

import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

DIRECTORY_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"


def shared_directory() -> Path | None:
    """Where the processes keep their values; None for values in memory, of this process alone."""
    from prometheus_client import values

    shared = values.ValueClass is not values.MutexValue  # decided when it was imported
    directory = os.environ.get(DIRECTORY_VARIABLE)
    return Path(directory) if shared and directory else None


def sweep(directory: Path) -> None:
    """Forget what processes that no longer run had in flight: one that was killed could not take it back."""
    for file in directory.glob("gauge_live*_*.db"):
        if not _runs(file.stem.rpartition("_")[2]):
            file.unlink(missing_ok=True)


def _runs(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError):  # somebody else's process, or no pid: not ours to judge
        return True
    return True


def leave(directory: Path) -> None:
    """What this process had in flight is over."""
    from prometheus_client.multiprocess import mark_process_dead

    with suppress(FileNotFoundError):
        mark_process_dead(os.getpid(), str(directory))  # type: ignore[no-untyped-call]


def is_one_of_several(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process shares its port with others, as far as it shows.

    Of the workers of uvicorn, only the second says yes, so that one warning is logged and not one per worker.
    """
    arguments = sys.argv if arguments is None else arguments
    kind, _, number = multiprocessing.current_process().name.partition("-")
    if kind in ("SpawnProcess", "ForkProcess", "Process"):
        return number == "2" and "--reload" not in arguments
    return _announced(arguments, environment) > 1


def _announced(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """The number of workers that gunicorn and uvicorn take from the command line or WEB_CONCURRENCY."""
    text = environment.get("WEB_CONCURRENCY", "1")
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument in ("-w", "--workers"):
            text = following
        elif argument.startswith("--workers="):
            text = argument.partition("=")[2]
    return int(text) if text.isdecimal() else 1


# The folder in which several workers of one server add up their metrics.
#
# prometheus_client looks for it when it is imported, so workers must be started with it named. Nothing here imports
# prometheus_client.


@contextmanager
def multiprocess_directory() -> Iterator[Path]:
    """A folder for the workers that are started inside the block, named in their environment.

        with multiprocess_directory():
            supervisor.run()

    It is new, private and this server's alone: two servers with one folder would count each other's requests. It is
    emptied by who starts the workers, here and at the end, never by a worker, which would drop what the others have
    counted. A folder that the environment names already is used as it is, and left.
    """
    named = os.environ.get(DIRECTORY_VARIABLE)
    if named:
        yield Path(named)
        return
    directory = tempfile.mkdtemp(prefix="crplugins-metrics-")
    os.environ[DIRECTORY_VARIABLE] = directory
    try:
        yield Path(directory)
    finally:
        os.environ.pop(DIRECTORY_VARIABLE, None)
        shutil.rmtree(directory, ignore_errors=True)
