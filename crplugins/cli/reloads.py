"""Reloads: the configuration of a running `crplugins serve` is read anew: at SIGHUP, when somebody asks the admin API,
and when the file changes, if `server.watch` says so.

`OneProcess` does it where one process serves. Of several, `supervisor.py` has them all do it at the same moment.
"""

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from crplugins.cli.start import Start
from crplugins.cli.watch import LOOK_SECONDS, FileWatch
from crplugins.config import Config
from crplugins.homes.gateway.app import Gateway
from crplugins.homes.gateway.reloading import Reloaded, ReloadTurns, log, problems_of

if TYPE_CHECKING:
    from crplugins.cli.drain import DrainingConfig


class Reloads(ABC):
    """The reloads of one process, from when it serves."""

    def __init__(self, gateway: Gateway, server: "DrainingConfig", start: Start) -> None:
        self._start: Final = start
        self.gateway: Final = gateway
        self.server: Final = server
        self._loop: Final = asyncio.get_running_loop()
        self._running: set[asyncio.Task[Reloaded]] = set()
        gateway.reload_by(self.reload)

    @abstractmethod
    async def reload(self, why: str) -> Reloaded:
        """Read the configuration anew, in all processes."""

    def ask(self, why: str) -> None:
        """The same from a signal handler."""
        self._loop.call_soon_threadsafe(self._begin, why)

    def _begin(self, why: str) -> None:
        task = self._loop.create_task(self.reload(why))
        self._running.add(task)
        task.add_done_callback(self._running.discard)


class OneProcess(Reloads):
    """Of a process that serves alone."""

    def __init__(self, gateway: Gateway, server: "DrainingConfig", start: Start) -> None:
        super().__init__(gateway, server, start)
        self._turns: Final = ReloadTurns()
        self._file: FileWatch | None = None

    def watch(self) -> None:
        """Look at the file from now on, while `server.watch` is on."""
        if self._start.file is not None:
            self._file = FileWatch(self._start.file)
            self._watching = self._loop.create_task(self._watch(self._file))

    async def _watch(self, watch: FileWatch) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self.gateway.config.server.watch and await asyncio.to_thread(watch.changed):
                await self.reload(f"{watch.file} has changed")

    async def reload(self, why: str) -> Reloaded:
        return await self._turns.run(lambda: self._reload(why))

    async def _reload(self, why: str) -> Reloaded:
        try:
            config = await asyncio.to_thread(self._read)
            reloaded = await self.gateway.reload(config)
            self.server.configure(config)
        except Exception as error:
            self._start.restore()
            reloaded = Reloaded(problems=problems_of(error))
        self.gateway.loads.note(reloaded)
        log(reloaded, why)
        return reloaded

    def _read(self) -> Config:
        if self._file is not None:
            self._file.note()
        return self._start.read()
