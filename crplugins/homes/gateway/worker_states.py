"""WorkerStates: what each worker process of one server is doing, so that whichever is asked can tell for all.

`crplugins serve --workers` gives its workers a folder in which they share their metrics. Each writes what it is doing
into a file there once a second. A process alone needs none of it.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from crplugins.core.plugin import Plugin
from crplugins.core.processes import METRICS_DIRECTORY_VARIABLE
from crplugins.core.shared import Shared
from crplugins.core.waiting import stopped
from crplugins.homes.assembly import find
from crplugins.plugins.activity import Activity, RefusedRequest, RunningRequest
from crplugins.plugins.metrics.deployments import DeploymentStatus

WRITE_SECONDS: Final = 1.0
STALE_SECONDS: Final = 5.0
"""A worker whose file is older is dead, or so blocked that its state tells nothing."""

logger = logging.getLogger("crplugins.admin")


class WorkerState(msgspec.Struct, frozen=True):
    """What one process is doing."""

    pid: int
    running: list[RunningRequest]
    refused: list[RefusedRequest]
    deployments: list[DeploymentStatus]


def worker_state(plugins: Iterable[Plugin], deployments: Iterable[DeploymentStatus]) -> WorkerState:
    """What this process is doing now."""
    activity = find(Activity, plugins)
    return WorkerState(
        os.getpid(),
        [] if activity is None else list(activity.running()),
        [] if activity is None else activity.refused(),
        list(deployments),
    )


class WorkerStates(Shared):
    """A resource of the gateway, whichever configuration it serves by.

    Args:
        own: the state of this process.
        directory: where the workers share theirs; None for a process that is alone.
        now: the wall clock, by which files are dated.
    """

    def __init__(
        self,
        own: Callable[[], WorkerState],
        directory: Path | None,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._own = own
        self._now = now
        self._directory = directory
        self._writing: asyncio.Task[None] | None = None
        self._written = b""

    async def all(self) -> Sequence[WorkerState]:
        """Of every worker, this one's as it is and those of others as they were within the last second."""
        own = self._own()
        if self._directory is None:
            return [own]
        return [own, *await asyncio.to_thread(self._others, self._directory)]

    async def open(self) -> None:
        if self._directory is not None:
            self._writing = asyncio.create_task(self._write_on(self._directory))

    async def close(self) -> None:
        if self._writing is None or self._directory is None:
            return
        await stopped(self._writing)
        await asyncio.to_thread(_file_of(self._directory, os.getpid()).unlink, missing_ok=True)

    async def _write_on(self, directory: Path) -> None:
        while True:
            try:
                await asyncio.to_thread(self._write, directory, self._own())
            except OSError as error:  # a full disk, above all: the next state may fit
                logger.error("the state of this worker cannot be shared: %s", error)
            await asyncio.sleep(WRITE_SECONDS)

    def _others(self, directory: Path) -> list[WorkerState]:
        own = _file_of(directory, os.getpid())
        states = []
        for file in sorted(directory.glob("activity_*.json")):
            if file == own:
                continue
            with suppress(OSError, msgspec.DecodeError):  # its worker has just ended
                if self._now() - file.stat().st_mtime > STALE_SECONDS:
                    file.unlink(missing_ok=True)  # who was killed could not do it; who is only blocked writes it anew
                else:
                    states.append(msgspec.json.decode(file.read_bytes(), type=WorkerState))
        return states

    def _write(self, directory: Path, state: WorkerState) -> None:
        """In one step: who reads at the same time finds the old state or the new one, whole."""
        file, body = _file_of(directory, state.pid), msgspec.json.encode(state)
        if body == self._written:  # as it is most of the time, with nothing to do
            with suppress(FileNotFoundError):
                os.utime(file)
                return
        new = directory / f".activity_{state.pid}.new"
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(body)
        new.replace(file)
        self._written = body


def workers_directory() -> Path | None:
    """The folder that the workers of this server share; None for a process that is alone."""
    named = os.environ.get(METRICS_DIRECTORY_VARIABLE)
    return Path(named) if named else None


def _file_of(directory: Path, pid: int) -> Path:
    return directory / f"activity_{pid}.json"
