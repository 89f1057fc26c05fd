"""An upstream of raw bytes: what HTTP libraries of servers would never send, and when they would not send it."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

RESET = struct.pack("ii", 1, 0)


class Visit:
    """One connection of a client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.requests: list[bytes] = []

    async def request(self) -> bytes:
        """The next request, head and body. IncompleteReadError when the client has closed."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        whole = head + await self.reader.readexactly(int(lengths[0].split(b":")[1]) if lengths else 0)
        self.requests.append(whole)
        return whole

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def half_close(self) -> None:
        """FIN, while the other direction stays open."""
        self.writer.write_eof()

    def reset(self) -> None:
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.writer.transport.abort()

    async def closed(self) -> None:
        """Returns once the client has closed the connection."""
        try:
            while await self.reader.read(1 << 16):
                pass
        except ConnectionError:
            pass


class Upstream:
    """Counts who comes. `visits` are all connections so far."""

    def __init__(self) -> None:
        self.visits: list[Visit] = []
        self.url = ""
        self.port = 0

    @property
    def received(self) -> list[bytes]:
        return [request for visit in self.visits for request in visit.requests]


Behaviour = Callable[[Visit], Awaitable[None]]


@asynccontextmanager
async def upstream(behaviour: Behaviour, host: str = "127.0.0.1", **options: object) -> AsyncIterator[Upstream]:
    """Runs `behaviour` for each connection, and closes it behind that."""
    made = Upstream()
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = Visit(reader, writer)
        made.visits.append(visit)
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            await behaviour(visit)
        except (
            asyncio.IncompleteReadError,
            asyncio.CancelledError,
            ConnectionError,
        ):  # the client, or the test, is over
            pass
        finally:
            running.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, host, 0, **options)
    made.port = server.sockets[0].getsockname()[1]
    made.url = f"http://{f'[{host}]' if ':' in host else host}:{made.port}/v1/chat/completions"
    try:
        yield made
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for visit in made.visits:
            visit.writer.close()
        await server.wait_closed()


def answering(*answers: bytes) -> Behaviour:
    """A server that gives these answers, one for each request of a connection, and closes when it has no more."""

    async def behave(visit: Visit) -> None:
        for answer in answers:
            await visit.request()
            await visit.say(answer)

    return behave


def always(answer: bytes) -> Behaviour:
    async def behave(visit: Visit) -> None:
        while True:
            await visit.request()
            await visit.say(answer)

    return behave


def resolver(addresses: Callable[[], Sequence[str]]) -> Callable[..., Awaitable[list[Any]]]:
    """In the place of a loop's `getaddrinfo`: any name has these addresses, and an address has itself."""

    async def getaddrinfo(host: str, port: int, **_: object) -> list[Any]:
        numbers = [host] if host.startswith("127.") else addresses()
        await asyncio.sleep(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, port)) for number in numbers]

    return getaddrinfo


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def chunked(pieces: Sequence[bytes], head: bytes = b"HTTP/1.1 200 OK\r\n") -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"
