"""What a client may send before anybody knows who it is: real sockets, and uvicorn with the connections of `serve`."""

import asyncio
import json
import logging
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest
from msgspec.structs import replace

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.cli import bounds
from crplugins.cli.bounds import LEAST_BODY_BYTES, Bounds
from crplugins.cli.connections import MOST_PIPELINED, BoundedHTTP, OpenConnections
from crplugins.config import parse_config
from crplugins.plugins.usage import Usage
from tests.conftest import serving

BOUNDS = Bounds(head_bytes=8192, head_seconds=0.3, body_seconds=0.3, connections=50)
PATIENT = replace(BOUNDS, head_seconds=60, body_seconds=60)
CHAT = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
QUESTION = b'{"model": "m", "messages": []}'


@dataclass
class App:
    """Answers with the size of the body. `/wait` waits for `go`, `/early` answers before the body is read, and `/late`
    waits for `go` between the head of its answer and the body."""

    go: asyncio.Event = field(default_factory=asyncio.Event)
    headers: list[list[tuple[bytes, bytes]]] = field(default_factory=list)

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        if scope["path"] == "/wait":
            await self.go.wait()
        size, more = 0, scope["path"] != "/early"
        while more:
            message = await receive()
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        self.headers.append(list(scope["headers"]))
        size = 10_000_000 if scope["path"] == "/large" else size
        body = b"x" * size if scope["path"] == "/large" else str(size).encode()
        length = (b"content-length", str(len(body)).encode())
        headers = [] if scope["path"] == "/stream" else [length]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["path"] == "/stream":
            for _ in range(3):
                await send({"type": "http.response.body", "body": b"piece\n", "more_body": True})
        if scope["path"] == "/late":
            await self.go.wait()
        await send({"type": "http.response.body", "body": body})


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 60)
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return int(head.split()[1]), await self.reader.readexactly(length)

    async def rest(self) -> bytes:
        """All that comes until the server closes."""
        try:
            return await asyncio.wait_for(self.reader.read(), 60)
        except ConnectionError:
            return b""


@dataclass
class Server:
    app: App
    port: int
    writers: list[asyncio.StreamWriter]

    async def connect(self) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**24)
        self.writers.append(writer)
        return Client(reader, writer)

    async def lives(self) -> bool:
        client = await self.connect()
        await client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        return (await client.answer())[0] == 200


@asynccontextmanager
async def server(bounds: Bounds = BOUNDS, plugins=(), **options) -> AsyncIterator[Server]:
    app = App()
    inside = PluginMiddleware(app, plugins=plugins) if plugins else app
    async with serving(inside, http=partial(BoundedHTTP, connections=OpenConnections(bounds)), **options) as url:
        here = Server(app, int(url.rpartition(":")[2]), [])
        try:
            yield here
        finally:
            app.go.set()
            for writer in here.writers:
                writer.close()


def error_of(body: bytes) -> dict[str, object]:
    error = json.loads(body)["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return error


def head_of(size: int, kind: str) -> bytes:
    """A whole head of `size` bytes."""
    start, end = b"GET / HTTP/1.1\r\nhost: x\r\n", b"\r\n"
    room = size - len(start) - len(end)
    if kind == "value":
        return start + b"x: " + b"v" * (room - 5) + b"\r\n" + end
    if kind == "name":
        return start + b"n" * (room - 4) + b": \r\n" + end
    if kind == "spaces":
        return start + b"x:" + b" " * (room - 5) + b"v\r\n" + end
    if kind == "path":
        return start.replace(b" / ", b" /" + b"p" * room + b" ") + end
    if kind == "many":
        odd = room % 6
        return start + b"a: b\r\n" * (room // 6 - 1) + b"a: b" + b"b" * odd + b"\r\n" + end
    return b"\r\n" * (room // 2) + (b"" if room % 2 == 0 else b"\n") + start + end


KINDS = ["value", "name", "spaces", "path", "many", "lines"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_head_of_the_limit_passes_and_one_byte_more_is_431(kind):
    async with server(PATIENT) as here:
        for size, status in ((8192, 200), (8193, 431), (20_000, 431)):
            client = await here.connect()
            await client.send(head_of(size, kind))
            answered, body = await client.answer()
            assert answered == status
            if status == 431:
                assert error_of(body)["code"] == "headers_too_large"
                assert await client.rest() == b""


async def test_a_kept_connection_is_bounded_like_a_new_one():
    async with server(PATIENT) as here:
        client = await here.connect()
        for size, status in ((8192, 200), (100, 200), (8193, 431)):
            await client.send(head_of(size, "value"))
            assert (await client.answer())[0] == status


@pytest.mark.parametrize("kind", KINDS)
async def test_a_head_without_end_is_refused_and_costs_nobody_anything(kind):
    async with server(PATIENT) as here:
        client = await here.connect()
        endless = head_of(20_000_000, kind)[:-4]
        sending = asyncio.create_task(client.send(endless))
        assert await here.lives()
        assert (await client.answer())[0] == 431
        await asyncio.wait([sending])
        sending.exception()


async def test_a_refusal_has_the_headers_of_every_answer_and_is_logged_once(caplog):
    async with server(PATIENT) as here:
        for _ in range(3):
            client = await here.connect()
            await client.send(head_of(9000, "value"))
            answer = await client.rest()
            assert b"\r\nx-request-id: " in answer
            assert b"\r\nconnection: close\r\n" in answer
            assert b"\r\ncontent-type: application/json\r\n" in answer
    assert caplog.text.count("127.0.0.1 is refused before its request is read: The request line") == 1


@pytest.mark.parametrize("begun", [b"", b"G", b"\r\n", b"GET / HTTP/1.1\r\nhost: x\r\n"])
async def test_a_head_that_does_not_end_in_time_closes_the_connection_in_silence(begun):
    async with server() as here:
        client = await here.connect()
        await client.send(begun)
        assert await client.rest() == b""


async def test_dripping_does_not_prolong_the_time_of_a_head():
    async with server() as here:
        client, loop = await here.connect(), asyncio.get_running_loop()
        await client.send(b"GET / HTTP/1.1\r\nx: ")

        async def drip() -> None:
            while True:
                await client.send(b"x")
                await asyncio.sleep(0.02)

        dripping = loop.create_task(drip())
        assert await client.rest() == b""
        dripping.cancel()
        await asyncio.wait([dripping])
        # Nor does it in a connection that has been answered before.
        client = await here.connect()
        await client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await client.answer()
        await client.send(b"GET / HT")
        assert await client.rest() == b""


async def test_a_long_answer_is_not_bounded_by_the_time_of_a_head_or_a_body():
    async with server() as here:
        client = await here.connect()
        await client.send(b"POST /wait HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi")
        assert await here.lives()
        await client.send(b"GET / HTT")
        await asyncio.sleep(3 * BOUNDS.head_seconds)
        here.app.go.set()
        assert await client.answer() == (200, b"2")
        assert await client.rest() == b""  # of the second head, whose time begins with the answer


async def test_an_idle_connection_is_closed_also_behind_a_body_that_was_sent_too_late():
    async with server(timeout_keep_alive=1) as here:
        client = await here.connect()
        await client.send(b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n")
        assert (await client.answer())[0] == 200
        await client.send(b"late")
        assert await client.rest() == b""


@pytest.mark.parametrize("framing", [b"content-length: 5000\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n"])
async def test_a_body_that_does_not_come_is_408_in_the_answer_and_the_record(framing):
    records = []
    async with server(plugins=[Usage(sinks=[records.append])]) as here:
        client = await here.connect()
        await client.send(CHAT + framing)
        status, body = await client.answer()
        assert status == 408
        assert error_of(body)["code"] == "request_timeout"
        assert await client.rest() == b""
    assert here.app.headers == []


async def test_a_drop_now_and_then_is_no_progress():
    async with server() as here:
        client = await here.connect()
        await client.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5000\r\n\r\n")
        answer = asyncio.create_task(client.answer())
        while not answer.done():
            await client.send(b"x")
            await asyncio.wait([answer], timeout=0.02)
        assert (await answer)[0] == 408


async def test_a_slow_upload_that_goes_on_is_no_fault():
    pieces = 8
    async with server() as here:
        client = await here.connect()
        size = pieces * LEAST_BODY_BYTES
        await client.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(pieces):
            await client.send(b"x" * LEAST_BODY_BYTES)
            await asyncio.sleep(BOUNDS.body_seconds / 2)
        assert await client.answer() == (200, str(size).encode())


async def test_a_body_that_the_app_does_not_ask_for_is_not_the_clients_fault():
    async with server() as here:
        full, waiting = await here.connect(), await here.connect()
        await full.send(b"POST /wait HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n" + b"x" * 200_000)
        expecting = b"POST /wait HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
        await waiting.send(expecting)
        await asyncio.sleep(3 * BOUNDS.body_seconds)
        here.app.go.set()
        await full.send(b"x" * 800_000)
        assert await full.answer() == (200, b"1000000")
        assert await waiting.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await waiting.send(b"hi")
        assert await waiting.answer() == (200, b"2")


async def test_what_is_left_of_a_body_behind_its_answer_is_not_read_for_ever():
    async with server() as here:
        client = await here.connect()
        await client.send(b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 900000000\r\n\r\n")
        assert (await client.answer())[0] == 200
        closed = asyncio.create_task(client.rest())
        while not closed.done():
            try:
                await client.send(b"x" * 10_000)
            except ConnectionError:
                break
            await asyncio.wait([closed], timeout=0.01)


CHUNKED = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "endless",
    [b"5;ext=" + b"e" * 20_000, b"5\r\nhello\r\n0\r\nx: " + b"t" * 20_000, b"5\r\nhello\r\n0\r\n" + b"a: b\r\n" * 4000],
    ids=["extension", "trailer", "trailers"],
)
async def test_what_frames_a_chunked_body_is_bounded_like_a_head(endless):
    async with server(PATIENT) as here:
        client = await here.connect()
        await client.send(CHUNKED + endless)
        assert (await client.answer())[0] == 431


async def test_any_chunks_within_the_bounds_are_read_and_trailers_are_no_headers():
    body = b"".join(b"1;name=value\r\n%c\r\n" % byte for byte in b"x" * 5000) + b"0\r\nauthorization: Bearer t\r\n\r\n"
    async with server(PATIENT) as here:
        client = await here.connect()
        await client.send(CHUNKED + body)
        assert await client.answer() == (200, b"5000")
        assert [name for name, _ in here.app.headers[0]] == [b"host", b"transfer-encoding"]
        await client.send(CHUNKED + b"2\r\nhi\r\n0\r\n\r\n")
        assert await client.answer() == (200, b"2")


async def test_requests_sent_ahead_are_answered_in_order_up_to_a_number():
    async with server(PATIENT) as here:
        client = await here.connect()
        for size in range(MOST_PIPELINED):
            await client.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size)
        for size in range(MOST_PIPELINED):
            assert await client.answer() == (200, str(size).encode())
        client = await here.connect()
        await client.send(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n" * (MOST_PIPELINED + 2))
        assert await client.rest() == b""
        assert await here.lives()


class Writes(BoundedHTTP):
    """Notes what each write to the connection has."""

    written: list[bytes]

    def connection_made(self, transport):
        written = type(self).written = []

        class Noted:
            def __getattr__(self, name):
                return getattr(transport, name)

            def write(self, data):
                written.append(bytes(data))
                transport.write(data)

        super().connection_made(Noted())


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_head_of_an_answer_leaves_in_one_write_with_its_body(method):
    async with serving(App(), http=partial(Writes, connections=OpenConnections(BOUNDS))) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(f"{method} / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(), 60)
        writer.close()
    assert answer.endswith(b"\r\n\r\n0" if method == "GET" else b"\r\n\r\n")
    assert Writes.written == [answer]


async def test_a_head_does_not_wait_for_a_body_that_comes_later():
    async with server(PATIENT) as here:
        client = await here.connect()
        await client.send(b"GET /late HTTP/1.1\r\nhost: x\r\n\r\n")
        head = await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 60)
        assert head.startswith(b"HTTP/1.1 200 ")
        here.app.go.set()
        assert await client.reader.readexactly(1) == b"0"


@pytest.mark.parametrize("kept", [b"", b"connection: keep-alive\r\n"])
async def test_an_answer_over_http_1_0_has_no_chunks_and_ends_with_its_connection(kept):
    for path, body in ((b"/stream", b"piece\n" * 3 + b"0"), (b"/", b"0")):
        async with server(PATIENT) as here:
            client = await here.connect()
            await client.send(b"GET %b HTTP/1.0\r\n%b\r\n" % (path, kept))
            head, _, rest = (await client.rest()).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert b"transfer-encoding" not in head
            assert (b"content-length: 1" in head) == (path == b"/")
            assert rest == body


async def test_chunks_over_http_1_0_are_refused_as_a_proxy_may_not_have_seen_them():
    async with server(PATIENT) as here:
        client = await here.connect()
        await client.send(b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n")
        assert (await client.rest()).startswith(b"HTTP/1.1 400 ")
        assert not here.app.headers


@pytest.mark.parametrize("nonsense", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"CONNECT h:1 HTTP/1.1\r\n\r\n"])
async def test_what_is_no_http_is_400_in_the_shape_of_every_error(nonsense):
    async with server(PATIENT) as here:
        client = await here.connect()
        await client.send(nonsense)
        status, body = await client.answer()
        assert (status, error_of(body)["type"]) == (400, "invalid_request_error")


async def test_nonsense_behind_a_request_does_not_cut_its_answer():
    async with server(PATIENT) as here:
        client = await here.connect()
        await client.send(b"POST /wait HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi\x00\x00nonsense\r\n\r\n")
        await here.lives()
        here.app.go.set()
        assert await client.answer() == (200, b"2")
        assert await client.rest() == b""


JAVA = b"host: x\r\nconnection: Upgrade, HTTP2-Settings\r\nhttp2-settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
OFFER = JAVA + b"upgrade: h2c\r\n"
POST = b"POST / HTTP/1.1\r\n"
SHORT = b"content-length: 5\r\n\r\nhello"
OFFERS = {
    "a body of a length": POST + OFFER + SHORT,
    "a body in chunks": POST + OFFER + b"transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    "the offer last": POST + b"content-length: 5\r\nx:\r\n" + OFFER + b"\r\nhello",
    "two offers": POST + OFFER + b"upgrade: TLS/1.3\r\n" + SHORT,
    "an offer in a list": POST + JAVA + b"upgrade: h2c, TLS/1.3\r\n" + SHORT,
    "a body that looks like a request": POST + OFFER + b"content-length: 30\r\n\r\nGET /wait HTTP/1.1\r\nhost: x\r\n\r",
    "no body": b"GET / HTTP/1.1\r\n" + OFFER + b"\r\n",
}


@pytest.mark.parametrize("name", OFFERS)
@pytest.mark.parametrize("at_once", [10_000, 1])
async def test_an_offer_of_http2_is_passed_over_and_its_body_and_the_next_request_are_read(name, at_once, caplog):
    size = {"a body that looks like a request": b"30", "no body": b"0"}.get(name, b"5")
    data = OFFERS[name] * 2 + b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 7\r\n\r\nhello\r\n"
    async with server(PATIENT) as here:
        client = await here.connect()
        for start in range(0, len(data), at_once):
            await client.send(data[start : start + at_once])
            await asyncio.sleep(0)
        assert [await client.answer() for _ in range(3)] == [(200, size), (200, size), (200, b"7")]
        assert all(b"upgrade" not in dict(headers) for headers in here.app.headers)
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def test_an_offer_of_websocket_is_answered_and_nothing_may_follow_it(caplog):
    async with server(PATIENT) as here:
        client = await here.connect()
        request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
        await client.send(request + request)
        assert await client.answer() == (200, b"0")
        await here.lives()
        assert len(here.app.headers) == 2  # the first, and that of `lives`
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


REFUSED_OFFERS = {
    "two framings": (POST + OFFER + b"transfer-encoding: chunked\r\n" + SHORT, 400),
    "two lengths": (POST + OFFER + b"content-length: 4\r\n" + SHORT, 400),
    "two hosts": (POST + OFFER + b"host: y\r\n" + SHORT, 400),
    "a folded line": (POST + OFFER + b"x: a\r\n b\r\n" + SHORT, 400),
    "another coding": (POST + OFFER + b"transfer-encoding: gzip, chunked\r\n\r\n", 400),
    "CONNECT": (b"CONNECT x:1 HTTP/1.1\r\n" + OFFER + b"\r\n", 400),
    "a head that is too long": (POST + OFFER + b"x: " + b"a" * 9000 + b"\r\n" + SHORT, 431),
    "an endless one": (POST + OFFER + b"x: " + b"a" * 9000, 431),
}


@pytest.mark.parametrize("name", REFUSED_OFFERS)
async def test_an_offer_of_http2_opens_nothing_that_is_closed_without_it(name):
    data, refused = REFUSED_OFFERS[name]
    async with server(PATIENT) as here:
        client = await here.connect()
        await client.send(data)
        assert (await client.answer())[0] == refused
        assert await client.rest() == b""
        assert here.app.headers == []


async def test_a_head_of_the_limit_passes_with_an_offer_of_http2_and_so_do_only_so_many_at_once():
    start = POST + OFFER + b"content-length: 5\r\nx:"
    async with server(PATIENT) as here:
        for size, status in ((8192, 200), (8193, 431)):
            client = await here.connect()
            await client.send(start + b"a" * (size - len(start) - 4) + b"\r\n\r\nhello")
            assert (await client.answer())[0] == status
        client = await here.connect()
        await client.send(b"GET /wait HTTP/1.1\r\n" + OFFER + b"\r\n" + OFFERS["no body"] * (MOST_PIPELINED + 2))
        assert await client.rest() == b""
        assert await here.lives()


async def test_the_oldest_unfinished_heads_give_way_and_running_requests_never_do(caplog):
    async with server(replace(PATIENT, connections=4)) as here:
        busy = [await here.connect() for _ in range(2)]
        for client in busy:
            await client.send(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
        idle = await here.connect()
        await idle.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await idle.answer()
        half = await here.connect()
        await half.send(b"GET / HTTP/1.1\r\n")
        third = await here.connect()
        assert await half.rest() == b""
        await third.send(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
        fourth = await here.connect()
        assert await idle.rest() == b""
        await fourth.send(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
        fifth = await here.connect()
        status, body = await fifth.answer()
        assert (status, error_of(body)["type"]) == (503, "server_error")
        here.app.go.set()
        for client in (*busy, third, fourth):
            assert (await client.answer())[0] == 200
    assert "4 connections are open, as many as server.max_connections allows" in caplog.text


async def test_a_client_that_does_not_read_its_answer_gives_way_too():
    async with server(replace(PATIENT, connections=1)) as here:
        deaf = await here.connect()
        await deaf.send(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
        await deaf.reader.readexactly(1)
        deaf.writer.transport.pause_reading()
        while not await here.lives():
            pass


async def test_many_open_heads_keep_nobody_from_being_answered():
    async with server(replace(PATIENT, connections=300)) as here:
        for _ in range(500):
            client = await here.connect()
            await client.send(b"GET / HTTP/1.1\r\nhost: x\r\n")
        assert await here.lives()


@pytest.mark.parametrize(
    ("files", "connections"), [(1024, 492), (64, 12), (8, 1), (100_000, 4096), (resource.RLIM_INFINITY, 4096)]
)
def test_there_are_no_more_connections_than_file_descriptors_for_them_and_their_upstreams(
    monkeypatch, files, connections
):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    found = bounds.bounds_of(parse_config({}))
    assert found.connections == connections
    assert ("file descriptors are used up" in found.why) == (connections < 4096)


@pytest.mark.parametrize(
    ("soft", "hard", "raised"),
    [(1024, 4096, 4096), (1024, 1_000_000, 8232), (1024, resource.RLIM_INFINITY, 8232), (50_000, 60_000, None)],
)
def test_the_soft_limit_of_open_files_is_raised_as_far_as_connections_need(monkeypatch, soft, hard, raised):
    asked = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    bounds.allow_descriptors(parse_config({}))
    assert asked == ([] if raised is None else [(raised, hard)])
