"""Connections with TLS before their handshake is over: real sockets, with asyncio's event loop and uvloop's."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import islice

import pytest
import uvicorn
import uvloop
from msgspec.structs import replace
from uvicorn.server import ServerState

from crplugins.cli.bounds import Bounds
from crplugins.cli.connections import OpenConnections
from crplugins.cli.handshakes import TlsHandshake
from tests.tls_setup import self_signed

BOUNDS = Bounds(head_bytes=8192, head_seconds=60, body_seconds=60, connections=3)
HASTY = replace(BOUNDS, head_seconds=0.3)
SIZE = 3_000_000
LARGE = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % SIZE + b"x" * SIZE
GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
ABOVE = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request):
    def run_in_a_loop(story: Callable[[], Awaitable[None]]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(asyncio.wait_for(story(), 60))

    return run_in_a_loop


@pytest.fixture
def certificate(tmp_path):
    return self_signed(tmp_path)


class Server:
    def __init__(self, certificate, go: asyncio.Event) -> None:
        self.go, self.port, self.open = go, 0, set()
        self._certificate = certificate
        self._clients: list[asyncio.StreamWriter] = []

    async def plain(self):
        return self._kept(await asyncio.open_connection("127.0.0.1", self.port))

    async def secured(self):
        context = ssl.create_default_context(cafile=self._certificate)
        opened = await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname="localhost")
        return self._kept(opened)

    def _kept(self, opened):
        self._clients.append(opened[1])
        return opened

    async def status(self) -> bytes:
        reader, writer = await self.secured()
        writer.write(ABOVE)
        answer = await reader.read()
        writer.close()
        return answer[9:12]

    async def close(self) -> None:
        """Both ends of all connections."""
        self.go.set()
        for writer in self._clients:
            writer.transport.abort()
        for connection in list(self.open):
            connection.shutdown()
        await self.nobody()
        await asyncio.gather(*(writer.wait_closed() for writer in self._clients), return_exceptions=True)

    async def nobody(self) -> None:
        """Returns when no connection is open."""
        while self.open:  # noqa: ASYNC110  # a set, of which nobody tells
            await asyncio.sleep(0.01)


@asynccontextmanager
async def server(certificate, bounds: Bounds) -> AsyncIterator[Server]:
    """Answers with the size of the body, `/wait` when it is told to."""
    here = Server(certificate, asyncio.Event())

    async def app(scope, receive, send):
        if scope["path"] == "/wait":
            await here.go.wait()
        size, more = 0, True
        while more:
            message = await receive()
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        body = f"{scope['scheme']} {size}".encode()
        head = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    config = uvicorn.Config(app, lifespan="off", log_config=None)
    config.load()
    config.tls = context
    state, connections = ServerState(), OpenConnections(bounds)
    here.open = state.connections
    make = lambda: TlsHandshake(config, state, {}, connections=connections)  # noqa: E731
    listening = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    here.port = listening.sockets[0].getsockname()[1]
    try:
        yield here
    finally:
        listening.close()
        await here.close()


async def answer_of(reader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    size = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return await reader.readexactly(size)


def test_a_request_is_answered_however_its_bytes_come(run, certificate):
    """The hello byte by byte; a request in one packet with the end of the handshake; then a large one."""

    async def story():
        async with server(certificate, BOUNDS) as here:
            reader, writer = await here.plain()
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            context = ssl.create_default_context(cafile=certificate)
            tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    for byte in outgoing.read():
                        writer.write(bytes([byte]))
                        await asyncio.sleep(0)
                    incoming.write(await reader.read(65536))
            tls.write(GET)
            writer.write(outgoing.read())
            got = b""
            while b"https 0" not in got:
                incoming.write(await reader.read(65536))
                with suppress(ssl.SSLWantReadError):
                    got += tls.read(65536)
            writer.close()
            reader, writer = await here.secured()
            for request, answer in ((GET, b"https 0"), (LARGE, b"https %d" % SIZE), (GET, b"https 0")):
                writer.write(request)
                assert await answer_of(reader) == answer
            writer.close()
            await here.nobody()

    run(story)


def test_connections_that_say_nothing_are_counted_and_the_oldest_give_way(run, certificate, caplog):
    async def story():
        async with server(certificate, BOUNDS) as here:
            silent = [await here.plain() for _ in range(10)]
            assert await here.status() == b"200"
            assert len(here.open) <= BOUNDS.connections
            ends = [asyncio.create_task(reader.read()) for reader, _ in silent]
            for end in islice(asyncio.as_completed(ends), len(silent) - BOUNDS.connections):
                assert await end == b""

    caplog.set_level(logging.WARNING)
    run(story)
    assert "3 connections are open" in caplog.text


@pytest.mark.parametrize("begun", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", GET])
def test_a_handshake_that_does_not_end_in_time_or_is_none_ends_the_connection(run, certificate, begun):
    async def story():
        async with server(certificate, HASTY) as here:
            reader, writer = await here.plain()
            writer.write(begun)
            await reader.read()
            assert not here.open
            assert await here.status() == b"200"
            writer.close()

    run(story)


def test_a_running_request_does_not_give_way_and_who_finds_no_room_is_told(run, certificate):
    async def story():
        async with server(certificate, replace(BOUNDS, connections=1)) as here:
            reader, writer = await here.secured()
            writer.write(GET.replace(b"/ ", b"/wait ", 1))
            await writer.drain()
            silent, _ = await here.plain()
            assert await here.status() == b"503"
            assert await silent.read() == b""
            here.go.set()
            assert await answer_of(reader) == b"https 0"
            writer.close()

    run(story)


REFUSED = {
    b"400": b"NONSENSE\r\n\r\n",
    b"431": b"GET / HTTP/1.1\r\nx: " + b"a" * 20_000 + b"\r\n\r\n",
    b"408": b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5000\r\n\r\n",
}


@pytest.mark.parametrize("status", REFUSED)
def test_who_is_refused_before_the_request_is_read_is_told_and_the_connection_ends(run, certificate, caplog, status):
    """A transport with TLS has no end of one side alone: to write that was an exception in place of the answer."""

    async def story():
        async with server(certificate, replace(BOUNDS, body_seconds=0.3)) as here:
            reader, writer = await here.secured()
            writer.write(REFUSED[status])
            got = await reader.read()
            assert got[9:12] == status
            assert b'"error"' in got
            writer.close()
            await here.nobody()

    run(story)
    assert "exception" not in caplog.text.lower()
