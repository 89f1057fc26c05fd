"""Worker: what makes the app of each process of `crplugins serve --workers N`, and what that does once it serves.

Made by the supervisor, and pickled into the process of the worker.
"""

import asyncio
import atexit
import logging
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Final

from crplugins.asgi.lifespan import FrozenAfterStartup
from crplugins.cli.logs import StderrLog
from crplugins.cli.reloads import Reloads
from crplugins.cli.start import Start
from crplugins.config import Config
from crplugins.core.free_memory import share_one_heap
from crplugins.homes.gateway.app import Gateway, Prepared
from crplugins.homes.gateway.reloading import LoadedAs, Reloaded, problems_of

if TYPE_CHECKING:
    from crplugins.cli.drain import DrainingConfig


logger = logging.getLogger("crplugins.config")


@dataclass(frozen=True, slots=True)
class ReloadAsked:
    """To the supervisor: read the configuration anew. `number` is None for who needs no answer."""

    number: int | None
    why: str


@dataclass(frozen=True, slots=True)
class ReloadAnswer:
    """To who has asked: how it ended."""

    number: int
    reloaded: Reloaded


@dataclass(frozen=True, slots=True)
class Prepare:
    """To each worker: open what the configuration needs that the file says now, and wait."""

    number: int
    text: str | None


@dataclass(frozen=True, slots=True)
class Ready:
    """To the supervisor: it is open; or what is wrong with it."""

    number: int
    reloaded: Reloaded


@dataclass(frozen=True, slots=True)
class Conclude:
    """To each worker: what is prepared counts from now on; or, with problems, is closed."""

    number: int
    reloaded: Reloaded


@dataclass(frozen=True, slots=True)
class Concluded:
    """To the supervisor: the next request to this worker is served as it was told."""

    number: int


class Worker:
    """
    Args:
        channel: its end of the pipe to the supervisor.
        loaded: how the loading of the configuration has gone in the other processes.
    """

    def __init__(self, start: Start, channel: Connection, loaded: LoadedAs) -> None:
        self._start, self._channel, self._loaded = start, channel, loaded

    def __call__(self) -> FrozenAfterStartup:
        """The gateway, which logs to stderr until the process ends."""
        share_one_heap()
        gateway = Gateway.from_config(self._start.read())
        gateway.loads.are(self._loaded)
        self._log = StderrLog(gateway.config, self._start.log_level)
        atexit.register(self._log.close)
        return FrozenAfterStartup(gateway)

    def serving(self, server: "DrainingConfig", app: FrozenAfterStartup) -> None:
        """Called on the event loop."""
        assert isinstance(app.app, Gateway), "as made above"
        server.log = self._log
        reloads = WorkerReloads(app.app, server, self._channel, self._start)
        signal.signal(signal.SIGHUP, lambda _number, _frame: reloads.ask("SIGHUP"))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # the supervisor has blocked it for the start


class WorkerReloads(Reloads):
    """The reloads of one of several processes, as the supervisor says."""

    def __init__(self, gateway: Gateway, server: "DrainingConfig", channel: Connection, start: Start) -> None:
        super().__init__(gateway, server, start)
        self._channel: Final = channel
        self._asked: dict[int, asyncio.Future[Reloaded]] = {}
        self._preparing: asyncio.Task[None] | None = None
        self._prepared: tuple[int, Config, Prepared] | None = None
        threading.Thread(target=self._listen, name="crplugins-reloads", daemon=True).start()

    async def reload(self, why: str) -> Reloaded:
        number = max(self._asked, default=0) + 1
        answer: asyncio.Future[Reloaded] = self._loop.create_future()
        self._asked[number] = answer
        self._channel.send(ReloadAsked(number, why))
        try:
            return await answer
        finally:
            del self._asked[number]

    def _begin(self, why: str) -> None:
        self._channel.send(ReloadAsked(None, why))

    def _listen(self) -> None:
        """Reads what the supervisor says, in a thread. Ends this process if the supervisor is gone: nobody would start
        another in its place, and the port would be held by processes that nobody knows."""
        with suppress(RuntimeError):  # the loop is closed: this process ends
            while True:
                try:
                    message = self._channel.recv()
                except (EOFError, OSError):
                    break
                self._loop.call_soon_threadsafe(self._told, message)
            self._loop.call_soon_threadsafe(self._left_alone)

    def _left_alone(self) -> None:
        logger.error("the process that looks after the workers is gone, and this one ends")
        self.server.ending.tell()
        signal.raise_signal(signal.SIGTERM)

    def _told(self, message: Prepare | Conclude | ReloadAnswer) -> None:
        if isinstance(message, Prepare):
            self._preparing = self._loop.create_task(self._prepare(message))
        elif isinstance(message, Conclude):
            self._preparing = self._loop.create_task(self._conclude(message, self._preparing))
        elif (asked := self._asked.get(message.number)) is not None and not asked.done():
            asked.set_result(message.reloaded)

    async def _prepare(self, message: Prepare) -> None:
        try:
            config = await asyncio.to_thread(self._start.with_text(message.text).read)
            prepared = await self.gateway.prepare(config)
        except Exception as error:
            self._start.restore()
            self._channel.send(Ready(message.number, Reloaded(problems=problems_of(error))))
        else:
            self._prepared = message.number, config, prepared
            self._channel.send(Ready(message.number, prepared.reloaded))

    async def _conclude(self, message: Conclude, preparing: asyncio.Task[None] | None) -> None:
        if preparing is not None and not preparing.done():
            preparing.cancel()  # the others do not wait for it
            await asyncio.wait([preparing])
        try:
            await self._follow(message.reloaded)
        except Exception:
            logger.exception("this worker cannot serve as the others do, and another takes its place")
            signal.raise_signal(signal.SIGTERM)
        self.gateway.loads.note(message.reloaded)
        self._channel.send(Concluded(message.number))

    async def _follow(self, reloaded: Reloaded) -> None:
        if self._prepared is None:
            return
        (_, config, prepared), self._prepared = self._prepared, None
        if reloaded.problems:
            self._start.restore()
            await prepared.abandon()
        else:
            prepared.apply()
            self.server.configure(config)
