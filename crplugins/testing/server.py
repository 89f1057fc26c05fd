"""A scripted model provider on a real socket, in the protocols of OpenAI and Anthropic."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from crplugins.testing.cassettes import Cassette
from crplugins.testing.connection import Connection
from crplugins.testing.playback import play
from crplugins.testing.received import HttpRequest, ReceivedRequest, received
from crplugins.testing.refusal import SERVER_ERROR
from crplugins.testing.repertoire import Repertoire
from crplugins.testing.reply import ProviderReply, refused
from crplugins.testing.script import Script
from crplugins.testing.watch import Watch

logger = logging.getLogger(__name__)
BACKLOG = 4096  # thousands of clients may connect in the same moment


class FakeProvider:
    """`async with FakeProvider() as provider:` serves `provider.base_url` until the block ends.

    POST on any path that ends in that of a protocol (`/chat/completions`, `/completions`, `/responses`, `/messages`,
    `/embeddings`, `/rerank` ..., see `handlers.wires`) is answered in it by, in this order: the next script of
    `enqueue`, the script of the model (`script`), a recording (`cassettes`; header `x-cassette: <id>` or model
    `replay-<id>`), the `default` script, which is the deterministic fake model. GET on a path that ends in `/models`
    lists `models` and all scripted names. Recordings take timing and faults of `default`.

    `active` is the number of connections with a request in progress, `received` that of all requests so far,
    `connections_accepted` that of all connections. `keep_requests` bounds the log. `now` gives `created`, in seconds
    since 1970.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        default: Script | None = None,
        models: Sequence[str] = ("fake-model",),
        cassettes: Mapping[str, Cassette] | None = None,
        keep_requests: int = 1000,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.connections_accepted = 0
        self.received = 0
        self.active = 0
        self._address = (host, port)
        self._repertoire = Repertoire(default=default or Script(), models=models, cassettes=cassettes or {}, now=now)
        self._log: deque[ReceivedRequest] = deque(maxlen=keep_requests)
        self._open: set[Connection] = set()
        self._watch = Watch()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen. OSError if the port is taken."""
        host, port = self._address
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, host, port, backlog=BACKLOG)
        self._address = (host, self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and drop every connection; a later `start` takes the same port."""
        if self._server is None:
            return
        self._server.close()
        running = [connection.task for connection in self._open if connection.task is not None]
        for connection in list(self._open):
            connection.abandon()
        await asyncio.gather(*running, return_exceptions=True)
        await self._server.wait_closed()
        await asyncio.sleep(0)  # dropped connections close their sockets in the next turn of the loop
        self._server = None

    @property
    def default(self) -> Script:
        """The script of requests that nothing else answers; may be replaced while it serves."""
        return self._repertoire.default

    @default.setter
    def default(self, script: Script) -> None:
        self._repertoire.default = script

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._address[1]

    @property
    def base_url(self) -> str:
        """`http://127.0.0.1:PORT/v1`, as clients want it."""
        return f"http://{self._address[0]}:{self.port}/v1"

    @property
    def requests(self) -> list[ReceivedRequest]:
        """The requests seen, oldest first, models lists included."""
        return list(self._log)

    @property
    def last_request(self) -> ReceivedRequest:
        """The request seen last. IndexError if there was none."""
        return self._log[-1]

    @property
    def connections(self) -> int:
        """Open connections, idle ones included."""
        return len(self._open)

    def enqueue(self, *scripts: Script) -> None:
        """Answer the next requests with these, one each, whatever their model."""
        self._repertoire.queue.extend(scripts)

    def script(self, model: str, script: Script) -> None:
        """Answer every request for `model` with `script`, also under a `provider/` prefix."""
        self._repertoire.by_model[model] = script

    def clear(self) -> None:
        """Forget the log, the queue and the scripts of models."""
        self._log.clear()
        self._repertoire.queue.clear()
        self._repertoire.by_model.clear()
        self.received = 0

    async def wait_for_requests(self, count: int, within: float = 30.0) -> list[ReceivedRequest]:
        """Wait until `count` requests have arrived since the start (or `clear`); returns those kept in the log."""
        await self._watch.until(lambda: self.received >= count, f"{count} requests", within)
        return self.requests

    async def wait_idle(self, within: float = 30.0) -> None:
        """Wait until no request is in progress. TimeoutError after `within` seconds."""
        await self._watch.until(lambda: self.active == 0, "no request in progress", within)

    def _accept(self) -> Connection:
        self.connections_accepted += 1
        return Connection(self._serve, self._open)

    async def _serve(self, connection: Connection, http: HttpRequest) -> None:
        self.received += 1
        self.active += 1
        request = received(self.received, http)
        self._log.append(request)
        self._watch.notify()
        script, reply = self._answer(request)
        request.progress.frames = reply.frames
        try:
            await play(script, reply, connection, request.progress)
        finally:
            self._finish(request, client_gone=connection.client_gone)

    def _answer(self, request: ReceivedRequest) -> tuple[Script, ProviderReply]:
        try:
            return self._repertoire.answer(request)
        except Exception:
            # A request of a shape the fake model does not know (a tool without a name) must not look like a fault.
            logger.exception("the fake model cannot answer request %d", request.number)
            return Script(), refused(SERVER_ERROR)

    def _finish(self, request: ReceivedRequest, *, client_gone: bool) -> None:
        progress = request.progress
        progress.usage, progress.frames = request.usage, ()
        progress.client_gone = client_gone and not progress.completed
        self.active -= 1
        progress.finished.set()
        self._watch.notify()
