"""Drain: what `crplugins serve` does between the signal to end and uvicorn's own shutdown.

uvicorn closes the port first, so that nobody could be told that the process ends. Here the port stays open while
answers are running: /readyz is 503, chat completions get 503, and each answer is its connection's last. When nothing
runs any more, or `server.shutdown_seconds` are over, uvicorn shuts down; what still runs then ends with an error.
"""

import asyncio
import signal
import socket
import ssl
from collections.abc import Callable
from functools import partial
from math import ceil
from types import FrameType
from typing import Any, Final

import uvicorn

from crplugins.asgi.lifespan import FrozenAfterStartup
from crplugins.cli.bounds import bounds_of
from crplugins.cli.connections import BoundedHTTP, OpenConnections
from crplugins.cli.handshakes import TlsHandshake
from crplugins.cli.logs import StderrLog
from crplugins.config import Config

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

_UNTIL_CLOSED: Final = 0.3
"""Seconds until uvicorn, which looks ten times a second whether it is to end, has closed the port."""

OnSignal = Callable[[int, FrameType | None], Any]


class EndOfRun:
    """Whether all processes of a run end. A pair of sockets, which needs no file: a pod may have no place for one."""

    def __init__(self) -> None:
        self._told, self._tells = socket.socketpair()

    def tell(self) -> None:
        self._tells.send(b"x")

    def is_told(self) -> bool:
        """In any of the processes: what is looked at is not taken away."""
        try:
            return self._told.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b"x"
        except BlockingIOError:
            return False


class DrainingConfig(uvicorn.Config):
    """uvicorn's configuration, which puts a `DrainAtSignal` before its shutdown, in this process or in each worker's.

    Attributes:
        connections: those that are open in this process.
        log: that of this process, once it serves.
        tls: the certificate, where it serves with one.
        serving: called where it serves, once it listens for signals; in a worker it comes from another process.
        ending: every process that accepts on this port ends. Without it, one of several that is told to end is being
            replaced: it leaves the port to the others at once. Shared by the processes of a run.
    """

    def __init__(
        self,
        app: Callable[[], FrozenAfterStartup],
        *,
        connections: OpenConnections,
        shutdown_seconds: int,
        serving: "Serving",
        **options: Any,
    ) -> None:
        http = partial(TlsHandshake if options.get("ssl_certfile") else BoundedHTTP, connections=connections)
        super().__init__(
            app,
            factory=True,
            http=http,  # type: ignore[arg-type]  # it is called as a class is
            timeout_graceful_shutdown=shutdown_seconds,
            **options,
        )
        self.ending: Final = EndOfRun()
        if self.workers == 1:
            self.ending.tell()
        self.connections: Final = connections
        self.serving = serving
        self.tls: ssl.SSLContext | None = None
        self.log: StderrLog | None = None

    def configure(self, config: Config) -> None:
        """The configuration has changed: what counts for the log, for connections from now on, and for the end of the
        process. The supervisor of several loads no app, and accepts no connections."""
        self.connections.bounds = bounds_of(config)
        self.timeout_keep_alive = config.server.idle_timeout_seconds
        self.timeout_graceful_shutdown = config.server.shutdown_seconds
        if self.log is not None:
            self.log.configure(config)
        if self.tls is not None and config.server.tls is not None:
            config.server.tls.load_into(self.tls)

    def load(self) -> None:
        """Called by uvicorn where it serves: on the event loop, once it listens for signals."""
        super().load()
        self.tls, self.ssl = self.ssl, None  # uvicorn accepts as without it, and `TlsHandshake` does the rest
        assert isinstance(self.loaded_app, FrozenAfterStartup), "the app of `crplugins serve`"
        DrainAtSignal(self, self.loaded_app, self.connections).install()
        self.serving(self, self.loaded_app)


Serving = Callable[[DrainingConfig, FrozenAfterStartup], object]


class DrainAtSignal:
    """The end of one process that serves."""

    def __init__(self, config: DrainingConfig, app: FrozenAfterStartup, connections: OpenConnections) -> None:
        self._config = config
        self._app = app
        self._connections = connections
        self._uvicorn: dict[int, OnSignal] = {}
        self._task: asyncio.Task[None] | None = None

    def install(self) -> None:
        """Take the signals before uvicorn does, which gives them back to their first owner when it has ended."""
        self._loop = asyncio.get_running_loop()
        for number in SIGNALS:
            handler = signal.getsignal(number)
            assert callable(handler), "uvicorn listens for it already"
            self._uvicorn[number] = handler
            signal.signal(number, self._told)

    def _told(self, number: int, _frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._begin, number)

    def _begin(self, number: int) -> None:
        """Drain at the first signal. At a second Ctrl-C nothing is waited for; a second SIGTERM says nothing new."""
        if self._task is None:
            self._task = asyncio.create_task(self._drain(number))
        elif number == signal.SIGINT:
            self._task.cancel()

    async def _drain(self, number: int) -> None:
        if not self._config.ending.is_told():
            self._uvicorn[number](number, None)
            await asyncio.sleep(_UNTIL_CLOSED)  # who asks meanwhile is to find one that serves
            self._app.drain()
            return
        self._app.drain()
        until = self._loop.time() + (self._config.timeout_graceful_shutdown or 0)
        try:
            async with asyncio.timeout_at(until):
                await self._connections.drain()
            remaining = until - self._loop.time()
        except (TimeoutError, asyncio.CancelledError):
            remaining = 0.0
        self._config.timeout_graceful_shutdown = max(ceil(remaining), 0)
        self._uvicorn[number](number, None)
