"""Whether this process is one of several behind a port, of which each counts alone what it counts in memory.

Nothing tells an app so. What can be seen: how multiprocessing has named this process, what the command line and the
environment ask the usual servers for, and on Linux whether another child of the parent has the same listening socket.
"""

import multiprocessing
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_bytes
from typing import Final

METRICS_DIRECTORY_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Set for processes that share their metrics: by `crplugins serve --workers`, by vLLM for its API servers."""

_WORKERS: Final = ("-w", "--workers", "--num_workers", "--api-server-count")
"""Of gunicorn, uvicorn, hypercorn and granian; of LiteLLM's proxy; of vLLM."""

_LISTEN: Final = "0A"
"""The state in the fourth column of /proc/net/tcp (proc(5)); the tenth is the inode."""


def is_one_of_several(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process shares its port with others, as far as can be seen. Reads /proc.

    Of the workers that multiprocessing has started, it is True only for the second, so that one warning is logged and
    not one per worker.
    """
    arguments = sys.argv if arguments is None else arguments
    kind, _, number = multiprocessing.current_process().name.partition("-")
    if kind in ("SpawnProcess", "ForkProcess", "Process"):
        return number == "2" and "--reload" not in arguments
    if environment.get(METRICS_DIRECTORY_VARIABLE):
        return True
    announced = _announced(arguments, environment)
    return announced > 1 if announced is not None else _shares_its_port()


def announced_processes(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """How many processes share a port by what the command line and the environment say; 1 if they do not say."""
    return _announced(sys.argv if arguments is None else arguments, environment) or 1


def _announced(arguments: Sequence[str], environment: Mapping[str, str]) -> int | None:
    """The number of workers that servers take from the command line or the environment; None if neither says any."""
    if of_gunicorn := environment.get("GUNICORN_CMD_ARGS"):
        import shlex  # nothing else of a start needs it

        with suppress(ValueError):  # quotes that do not end
            arguments = [*shlex.split(of_gunicorn), *arguments]
    text = environment.get("WEB_CONCURRENCY")
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        name, equals, value = argument.partition("=")
        if name in _WORKERS:
            text = value if equals else following
        elif re.fullmatch(r"-w\d+", argument):
            text = argument.removeprefix("-w")
    return None if text is None else int(text) if text.isdecimal() else 1


def _shares_its_port() -> bool:
    """Whether another child of the parent has a listening socket of this process. False where /proc does not tell."""
    parent = os.getppid()
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split()
        ours = _sockets("self")
        shared = {inode for child in children if child != str(os.getpid()) for inode in ours & _sockets(child)}
        # The machine's sockets may be ten thousands, and mostly nothing is shared.
        return bool(shared) and bool(shared & _listening())
    except OSError:
        return False


def _sockets(process: str) -> set[str]:
    """The inodes of a process's sockets; none of a process that is somebody else's, or gone."""
    found = set()
    with suppress(OSError):
        for descriptor in Path(f"/proc/{process}/fd").iterdir():
            with suppress(OSError):
                kind, _, inode = str(descriptor.readlink()).partition(":")
                if kind == "socket":
                    found.add(inode.strip("[]"))
    return found


def _listening() -> set[str]:
    """The inodes of all sockets that listen for TCP. Raises OSError."""
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    return {row[9] for row in rows if row[3] == _LISTEN}


SECRET_VARIABLE: Final = "CRPLUGINS_PROCESS_SECRET"  # noqa: S105  # its name
"""Set by `crplugins serve` for its workers, which are to sign alike."""

_OWN_SECRET: Final = token_bytes(32)


def shared_secret(environment: Mapping[str, str] = os.environ) -> bytes:
    """A secret that the workers of one `crplugins serve` share, and no other process; another one each time."""
    return environment.get(SECRET_VARIABLE, "").encode() or _OWN_SECRET
