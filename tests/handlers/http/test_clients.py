"""What handlers rely on, of our own client and of aiohttp alike: framing, reuse, cuts, deadlines, errors."""

import asyncio
import gzip
import socket
import ssl
import time
import zlib

import pytest

from crplugins.handlers.http.client import HttpClient
from crplugins.handlers.http.interface import MAX_HEAD_BYTES, HttpError
from tests.handlers.http.conftest import CLIENTS, Asker, network, rest
from tests.handlers.http.raw_upstream import OK, Visit, always, answering, chunked, resolver, upstream
from tests.tls_setup import self_signed

BODY = b'{"choices":[]}'


def head(*lines: bytes, status: bytes = b"200 OK", version: bytes = b"1.1") -> bytes:
    return b"HTTP/%b %b\r\n" % (version, status) + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


LENGTH = b"Content-Length: %d" % len(BODY)

KEPT = {
    "a length": head(LENGTH) + BODY,
    "chunks": chunked([BODY[:3], BODY[3:]]),
    "chunk extensions": head(b"Transfer-Encoding: chunked") + b"E;a=b\r\n" + BODY + b"\r\n0\r\n\r\n",
    "trailers": head(b"Transfer-Encoding: chunked", b"Trailer: X-Sum")
    + b"e\r\n" + BODY + b"\r\n0\r\nX-Sum: 1\r\nStatus: 500\r\n\r\n",
    "interim answers": head(status=b"100 Continue") + head(b"Link: </a>", status=b"103 Early Hints") + head(LENGTH) + BODY,
    "an interim answer that was not asked for": head(b"X: y", status=b"102 Processing") + head(LENGTH) + BODY,
    "HTTP/1.0 that keeps alive": head(LENGTH, b"Connection: keep-alive", version=b"1.0") + BODY,
    "line feeds alone": (head(LENGTH) + BODY).replace(b"\r\n", b"\n"),
    "blanks around values": head(b"Content-Length:   %d  " % len(BODY)) + BODY,
    "no reason": head(LENGTH, status=b"200") + BODY,
    "letters outside ASCII": head(b"X-Tenant: gr\xc3\xbc\xc3\x9fe", b"X-Other: \xff", LENGTH) + BODY,
}  # fmt: skip
CLOSED = {
    "Connection: close": head(LENGTH, b"Connection: close") + BODY,
    "HTTP/1.0": head(LENGTH, version=b"1.0") + BODY,
    "until it closes": head() + BODY,
    "HTTP/1.0 until it closes": head(version=b"1.0") + BODY,
    "another coding until it closes": head(b"Transfer-Encoding: identity") + BODY,
    "chunks and Connection: close": chunked([BODY], head(b"Connection: close")[:-2]),
}


@pytest.mark.parametrize("form", KEPT)
async def test_a_whole_answer_leaves_its_connection_to_the_next_request(asker: Asker, form: str) -> None:
    async with upstream(always(KEPT[form])) as server:
        for _ in range(3):
            assert await asker.ask(server.url) == (200, BODY)
        assert [len(visit.requests) for visit in server.visits] == [3]


async def test_a_question_without_a_body_says_nothing_of_one_and_has_its_deadline(asker: Asker) -> None:
    async with upstream(always(KEPT["a length"])) as server:
        endpoint = asker.endpoint(server.url, {"X-A": "b"})
        for _ in range(2):
            response = await endpoint.get(seconds=30.0)
            assert (response.status, await rest(response)) == (200, BODY)
            response.close()
        assert [len(visit.requests) for visit in server.visits] == [2]
        first = server.received[0].lower()
        assert first.startswith(b"get /")
        assert b"x-a: b" in first
        assert b"content-length" not in first
        assert b"transfer-encoding" not in first
    async with upstream(Visit.closed) as server:
        with pytest.raises(TimeoutError):
            await asker.endpoint(server.url, {}).get(seconds=0.05)


@pytest.mark.parametrize("form", CLOSED)
async def test_an_answer_that_ends_its_connection_is_whole(asker: Asker, form: str) -> None:
    async with upstream(answering(CLOSED[form])) as server:
        for _ in range(2):
            assert await asker.ask(server.url) == (200, BODY)
        assert [len(visit.requests) for visit in server.visits] == [1, 1]


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_a_status_without_a_body_ends_at_its_head(asker: Asker, status: bytes) -> None:
    async with upstream(always(head(status=status))) as server:
        for _ in range(2):
            assert await asker.ask(server.url) == (int(status[:3]), b"")
        assert len(server.visits) == 1


async def test_any_status_and_its_headers_are_told_and_no_redirect_is_followed(asker: Asker) -> None:
    answer = head(b"Retry-After: 7", b"Location: /elsewhere", b"Content-Length: 0", status=b"307 Go")
    async with upstream(always(answer)) as server:
        response = await asker.post(server.url)
        assert (response.status, response.headers["retry-after"]) == (307, "7")
        response.close()
        assert len(server.received) == 1


async def test_the_request_is_sent_as_it_was_given(asker: Asker) -> None:
    async with upstream(always(OK)) as server:
        endpoint = asker.endpoint(
            server.url.replace("v1", "v1/ä b") + "?x=1 2", {"Authorization": "Bearer ü", "X": "1"}
        )
        response = await endpoint.post(b"\x00\xff", {"traceparent": "00-1"}, connect_seconds=9, seconds=9)
        response.close()
        lines, _, body = server.received[0].partition(b"\r\n\r\n")
        first, *others = lines.split(b"\r\n")
        assert first.replace(b"+", b"%20") == b"POST /v1/%C3%A4%20b/chat/completions?x=1%202 HTTP/1.1"
        sent = {line.split(b": ")[0].lower(): line.split(b": ")[1] for line in others}
        assert sent == {
            b"host": f"127.0.0.1:{server.port}".encode(), b"authorization": "Bearer ü".encode(), b"x": b"1",
            b"traceparent": b"00-1", b"content-length": b"2",
        } | {name: value for name, value in sent.items() if name == b"content-type"}  # fmt: skip
        assert body == b"\x00\xff"


@pytest.mark.parametrize("value", ["a\r\nX-Other: 1", "a\nb", "a\rb", "a\0b"])
async def test_a_header_that_would_end_its_line_is_not_sent(asker: Asker, value: str) -> None:
    async with upstream(always(OK)) as server:
        endpoint = asker.endpoint(server.url, {})
        with pytest.raises((ValueError, HttpError)):
            await endpoint.post(b"{}", {"traceparent": value}, connect_seconds=9, seconds=9)
        assert not server.received


async def test_a_large_request_arrives_whole(asker: Asker) -> None:
    body = bytes(range(256)) * 16_000
    async with upstream(always(OK)) as server:
        assert await asker.ask(server.url, body) == (200, b"ok")
        assert server.received[0].endswith(b"\r\n\r\n" + body)


# Connections that end, or say what nobody asked for.


async def test_a_request_is_never_sent_twice(asker: Asker) -> None:
    """The second one arrives on a connection that its server closes at that moment, and may have been worked on."""

    async def behave(visit: Visit) -> None:
        await visit.request()
        await visit.say(OK)
        await visit.request()

    async with upstream(behave) as server:
        assert await asker.ask(server.url) == (200, b"ok")
        with pytest.raises(HttpError):
            await asker.ask(server.url)
        assert len(server.received) == 2
        assert await asker.ask(server.url) == (200, b"ok")


@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-OpenSSH_9.6\r\n", head(b"Content-Length: 0", status=b"503 Busy")])
async def test_a_server_that_speaks_or_hangs_up_before_it_is_asked_is_a_failure(asker: Asker, greeting: bytes) -> None:
    async def behave(visit: Visit) -> None:
        await visit.say(greeting)

    async with upstream(behave) as server, asyncio.timeout(120):
        for _ in range(20):
            try:
                status, _ = await asker.ask(server.url)
                assert status == 503
            except HttpError:
                pass


async def test_a_reset_in_place_of_an_answer_is_no_reason_to_ask_again(asker: Asker) -> None:
    async def behave(visit: Visit) -> None:
        await visit.request()
        visit.reset()

    async with upstream(behave) as server:
        with pytest.raises(HttpError):
            await asker.ask(server.url)
        assert len(server.received) == 1


@pytest.mark.parametrize("farewell", [b"", head(b"Content-Length: 0", status=b"408 Request Timeout"), b"\r\n", b"\x00"])
async def test_a_connection_that_its_server_ends_while_it_is_idle_is_not_used(asker: Asker, farewell: bytes) -> None:
    if asker.name == "aiohttp" and farewell:
        pytest.skip("aiohttp takes the farewell for the next answer, or waits for one")

    async def behave(visit: Visit) -> None:
        await visit.request()
        await visit.say(OK)
        await say.wait()
        if farewell:
            await visit.say(farewell)
            await visit.closed()
        said.set()

    say, said = asyncio.Event(), asyncio.Event()
    async with upstream(behave) as server, asyncio.timeout(120):
        assert await asker.ask(server.url) == (200, b"ok")
        say.set()
        await said.wait()
        await asyncio.sleep(0.05)
        assert await asker.ask(server.url) == (200, b"ok")
        assert [len(visit.requests) for visit in server.visits] == [1, 1]


@pytest.mark.parametrize("more", [b"x", OK, b"HTTP/1.1 200 OK\r\n", b"\x00\xff"])
async def test_bytes_behind_an_answer_are_never_the_answer_to_the_next_request(asker: Asker, more: bytes) -> None:
    if asker.name == "aiohttp":
        pytest.skip("aiohttp refuses such an answer, or reads them as the next")

    async def behave(visit: Visit) -> None:
        await visit.request()
        await visit.say(head(b"Content-Length: 5") + b"first" + more)
        await visit.closed()

    async with upstream(behave) as server:
        for _ in range(2):
            assert await asker.ask(server.url) == (200, b"first")
        assert [len(visit.requests) for visit in server.visits] == [1, 1]


async def test_a_server_that_has_said_all_and_closes_its_side_is_not_asked_again_there(asker: Asker) -> None:
    async def behave(visit: Visit) -> None:
        await visit.request()
        await visit.say(OK)
        visit.half_close()
        await visit.closed()
        closed.set()

    closed = asyncio.Event()
    async with upstream(behave) as server:
        for number in range(2):
            assert await asker.ask(server.url) == (200, b"ok")
            await closed.wait()
            closed.clear()
            assert len(server.visits) == number + 1


async def test_a_server_that_closes_its_side_in_mid_answer_has_broken_it(asker: Asker) -> None:
    async def behave(visit: Visit) -> None:
        await visit.request()
        await visit.say(head(LENGTH) + BODY[:4])
        visit.half_close()
        await visit.closed()

    async with upstream(behave) as server:
        with pytest.raises(HttpError):
            await asker.ask(server.url)


async def test_an_answer_before_the_request_is_read_is_told_and_the_connection_not_used_again(asker: Asker) -> None:
    async def behave(visit: Visit) -> None:
        await visit.reader.readuntil(b"\r\n\r\n")
        await visit.say(head(b"Content-Length: 3", status=b"413 Too Large") + b"big")
        await told.wait()
        await visit.closed()

    told = asyncio.Event()
    async with upstream(behave) as server:
        response = await asker.post(server.url, b"x" * 40_000_000)
        assert (response.status, await rest(response)) == (413, b"big")
        response.close()
        if asker.name == "ours":  # aiohttp sends the rest first
            assert await asker.ask(server.url) == (413, b"big")
            assert len(server.visits) == 2
        told.set()
        await asker.client.close()


WHOLE = {
    "length": head(b"Content-Length: 4") + b"abcd",
    "chunked": chunked([b"ab", b"cd"]),
    "interim": head(status=b"100 Continue") + head(b"Content-Length: 4") + b"abcd",
}


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("form", WHOLE)
async def test_an_answer_that_is_cut_at_any_byte_is_a_failure(asker: Asker, form: str, end: str) -> None:
    answer = WHOLE[form]
    cuts = iter(range(len(answer)))

    async def behave(visit: Visit) -> None:
        await visit.request()
        await visit.say(answer[: next(cuts)])
        if end == "reset":
            visit.reset()

    async with upstream(behave) as server:
        for cut in range(len(answer)):
            with pytest.raises(HttpError):
                print(cut, await asker.ask(server.url))
        assert len(server.received) == len(answer)


@pytest.mark.parametrize("form", [*WHOLE, "until it closes"])
async def test_an_answer_in_pieces_of_any_size_is_the_same(asker: Asker, form: str) -> None:
    answer = WHOLE.get(form) or head(b"Connection: close") + b"abcd"
    sizes = iter(range(1, len(answer)))

    async def behave(visit: Visit) -> None:
        for size in sizes:
            await visit.request()
            for start in range(0, len(answer), size):
                await visit.say(answer[start : start + size])
                await asyncio.sleep(0)
            if b"close" in answer:
                return

    async with upstream(behave) as server:
        for _ in range(1, len(answer)):
            assert await asker.ask(server.url) == (200, b"abcd")


NO_HTTP = {
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03",
    "two lengths": head(b"Content-Length: 2", b"Content-Length: 3") + b"abc",
    "a length that is no number": head(b"Content-Length: two") + b"ab",
    "a negative length": head(b"Content-Length: -2") + b"ab",
    "a chunk without a size": head(b"Transfer-Encoding: chunked") + b"zz\r\nab\r\n0\r\n\r\n",
    "a head without an end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * (4 * MAX_HEAD_BYTES),
    "a head without an end, in many lines": b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * MAX_HEAD_BYTES,
    "a long head": head(*(b"X-%d: %b" % (n, b"x" * 8000) for n in range(20)), LENGTH) + BODY,
    "a chunk with a long extension": head(b"Transfer-Encoding: chunked") + b"2;" + b"x" * (4 * MAX_HEAD_BYTES),
    "endless trailers": head(b"Transfer-Encoding: chunked") + b"0\r\n" + b"X: x\r\n" * MAX_HEAD_BYTES,
}


@pytest.mark.parametrize("form", NO_HTTP)
async def test_what_is_no_answer_is_a_failure_in_words_of_ours(asker: Asker, form: str) -> None:
    if asker.name == "aiohttp" and form in ("a long head", "a chunk with a long extension", "endless trailers"):
        pytest.skip("aiohttp has other bounds")

    async def behave(visit: Visit) -> None:
        await visit.request()
        await visit.say(NO_HTTP[form])
        await visit.closed()

    async with upstream(behave) as server:
        with pytest.raises(HttpError) as failed:
            await asker.ask(server.url)
    assert "xxx" not in str(failed.value)
    assert "SSH" not in str(failed.value)


async def test_a_head_of_ordinary_size_is_read(asker: Asker) -> None:
    lines = [b"X-%d: %b" % (number, b"x" * 700) for number in range(50)]
    async with upstream(always(head(*lines, LENGTH) + BODY)) as server:
        response = await asker.post(server.url)
        assert response.headers["x-49"] == "x" * 700
        response.close()


# Deadlines and cancellation.


async def until_closed(visit: Visit, said: bytes) -> None:
    await visit.request()
    await visit.say(said)
    await visit.closed()


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200", head(LENGTH), head(LENGTH) + BODY[:3], chunked([BODY])[:-2]])
async def test_an_answer_that_stalls_ends_at_its_deadline_and_its_connection_with_it(asker: Asker, said: bytes) -> None:
    ended = asyncio.Event()

    async def behave(visit: Visit) -> None:
        await until_closed(visit, said)
        ended.set()

    async with upstream(behave) as server, asyncio.timeout(120):
        with pytest.raises(TimeoutError):
            await asker.ask(server.url, seconds=0.1)
        await ended.wait()


async def test_a_deadline_that_is_moved_holds_from_then_on(asker: Asker) -> None:
    async def behave(visit: Visit) -> None:
        await visit.request()
        await visit.say(head(LENGTH, b"Connection: close"))
        for place in range(len(BODY)):
            await asyncio.sleep(0.05)
            await visit.say(BODY[place : place + 1])

    async with upstream(behave) as server:
        response = await asker.post(server.url, seconds=0.3)
        read = b""
        while piece := await response.read():
            read += piece
            response.expire_in(0.3)
        assert read == BODY
        response.close()

    async def stop(visit: Visit) -> None:
        await until_closed(visit, head(LENGTH, b"Connection: close") + BODY[:3])

    async with upstream(stop) as server, asyncio.timeout(120):
        response = await asker.post(server.url, seconds=3600)
        response.expire_in(0.1)
        with pytest.raises(TimeoutError):
            await rest(response)
        response.close()


async def test_what_came_before_a_deadline_that_a_late_loop_finds_passed_was_in_time(asker: Asker) -> None:
    async def behave(visit: Visit) -> None:
        await visit.request()
        await visit.say(head(LENGTH, b"Connection: close"))
        await asyncio.sleep(0.1)
        await visit.say(BODY[:3])
        time.sleep(0.5)  # noqa: ASYNC251  # the whole process is late, with the bytes in its socket
        await asyncio.sleep(0.2)
        await visit.say(BODY[3:])

    async with upstream(behave) as server, asyncio.timeout(120):
        response = await asker.post(server.url, seconds=0.4)
        read = await response.read()
        response.expire_in(5)
        assert read + await rest(response) == BODY
        response.close()


@pytest.mark.parametrize("said", [b"", head(LENGTH) + BODY[:3]])
async def test_who_is_cancelled_closes_the_connection_at_once(asker: Asker, said: bytes) -> None:
    asked, ended = asyncio.Event(), asyncio.Event()

    async def behave(visit: Visit) -> None:
        await visit.request()
        await visit.say(said)
        asked.set()
        await visit.closed()
        ended.set()

    async with upstream(behave) as server, asyncio.timeout(120):
        task = asyncio.create_task(asker.ask(server.url))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await ended.wait()


async def test_who_closes_a_response_in_the_middle_closes_its_connection(asker: Asker) -> None:
    ended = asyncio.Event()

    async def behave(visit: Visit) -> None:
        await until_closed(visit, head(LENGTH) + BODY[:3])
        ended.set()

    async with upstream(behave) as server, asyncio.timeout(120):
        response = await asker.post(server.url)
        response.close(linger=0)
        response.close()
        await ended.wait()


@pytest.mark.parametrize("ends", [True, False])
async def test_a_connection_whose_answer_ends_a_moment_later_is_used_again(asker: Asker, ends: bool) -> None:
    async def behave(visit: Visit) -> None:
        while True:
            await visit.request()
            await visit.say(chunked([BODY])[:-5])
            await go.wait()
            if ends:
                await visit.say(b"0\r\n\r\n")

    go = asyncio.Event()
    async with upstream(behave) as server:
        for _ in range(2):
            go.clear()
            response = await asker.post(server.url)
            assert await response.read() == BODY
            response.close(linger=0.2)
            go.set()
            await asyncio.sleep(0.05 if ends else 0.4)
        assert len(server.visits) == (1 if ends else 2)


async def test_an_upstream_is_held_back_while_nobody_reads(asker: Asker) -> None:
    sent = 0

    async def behave(visit: Visit) -> None:
        nonlocal sent
        await visit.request()
        await visit.say(head(b"Content-Length: 200000000"))
        for _ in range(200_000_000 // 100_000):
            await visit.say(b"x" * 100_000)
            sent += 100_000

    async with upstream(behave) as server:
        response = await asker.post(server.url)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.2)
        assert sent < 30_000_000  # what the kernel holds
        assert len(response.take()) < 1_000_000
        size = 0
        while size < 20_000_000:
            size += len(await response.read())
        response.close()


# Bodies that are compressed although nobody asked for it.

TEXT = b'{"choices":["' + b"word " * 200_000 + b'"]}'
RAW = zlib.compressobj(wbits=-15)
PACKED = {
    b"gzip": gzip.compress(TEXT),
    b"deflate": zlib.compress(TEXT),
    b"Deflate": RAW.compress(TEXT) + RAW.flush(),
    b"GZIP": gzip.compress(TEXT),
    b"gzip ": b"".join(gzip.compress(TEXT[start : start + 300_000]) for start in range(0, len(TEXT), 300_000)),
    b"identity": TEXT,
    b"utf-8": TEXT,
    b"": TEXT,
}


@pytest.mark.parametrize("encoding", PACKED)
async def test_a_compressed_body_is_read(asker: Asker, encoding: bytes) -> None:
    packed = PACKED[encoding]
    pieces = [packed[start : start + 999] for start in range(0, len(packed), 999)]
    for answer in (chunked(pieces, head(b"Content-Encoding: " + encoding)[:-2]),):
        async with upstream(always(answer)) as server:
            for _ in range(2):
                assert await asker.ask(server.url) == (200, TEXT)
            assert len(server.visits) == 1


async def test_what_is_not_encoded_as_it_says_is_a_failure(asker: Asker) -> None:
    answer = head(b"Content-Encoding: gzip", LENGTH) + BODY
    async with upstream(always(answer)) as server:
        with pytest.raises(HttpError):
            await asker.ask(server.url)


async def test_no_more_is_unpacked_than_somebody_takes(asker: Asker) -> None:
    bomb = gzip.compress(bytes(100_000_000), 1)
    answer = head(b"Content-Encoding: gzip", b"Content-Length: %d" % len(bomb)) + bomb
    async with upstream(always(answer)) as server:
        response = await asker.post(server.url)
        for _ in range(3):
            assert len(await response.read()) < 20_000_000
        assert not response.ended
        response.close()


# Where there is no server.


async def test_a_port_that_nobody_listens_at_is_a_failure(asker: Asker) -> None:
    async with upstream(always(OK)) as server:
        pass
    with pytest.raises(HttpError):
        await asker.ask(server.url)


async def test_a_name_that_is_unknown_is_a_failure(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    with pytest.raises(HttpError, match="Name or service not known"):
        await asker.ask("http://nowhere.example/v1")


async def test_a_name_that_dns_cannot_have_is_a_failure(asker: Asker) -> None:
    with pytest.raises((HttpError, ValueError)):
        await asker.ask(f"http://{'a' * 70}.example/v1")


async def test_a_name_that_is_never_found_ends_at_the_deadline(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", silent)
    with pytest.raises(TimeoutError):
        await asker.ask("http://nowhere.example/v1", seconds=0.05)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
async def test_an_ipv6_address_is_reached(asker: Asker) -> None:
    try:
        async with upstream(always(OK), "::1") as server:
            assert await asker.ask(server.url) == (200, b"ok")
            assert f"host: [::1]:{server.port}\r\n".encode() in server.received[0].lower()
    except OSError:
        pytest.skip("no IPv6 here")


async def test_a_name_is_reached_at_whichever_of_its_addresses_answers(
    asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with upstream(always(OK)) as server:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolver(lambda: ("127.0.0.9", "127.0.0.1")))
        assert await asker.ask(f"http://two.example:{server.port}/v1") == (200, b"ok")


@pytest.mark.parametrize("name", CLIENTS)
async def test_tls_is_spoken_and_a_certificate_that_nobody_trusts_is_a_failure(name: str, tmp_path) -> None:
    certificate = str(self_signed(tmp_path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=certificate)

    async def no_tls(visit: Visit) -> None:
        await visit.reader.read(1)
        await visit.say(head(LENGTH, status=b"400 Bad Request"))

    async with upstream(always(OK), ssl=context) as server, upstream(no_tls) as plain:
        url = f"https://localhost:{server.port}/v1"
        for tls, works in ((trusting, True), (ssl.create_default_context(), False)):
            client = CLIENTS[name](network(tls))
            asker = Asker(client, name)
            if works:
                for _ in range(2):
                    assert await asker.ask(url) == (200, b"ok")
                assert len(server.visits) == 1
                with pytest.raises(HttpError):  # a name that is not in the certificate
                    await asker.ask(url.replace("localhost", "127.0.0.1"))
                with pytest.raises(HttpError):
                    await asker.ask(f"https://localhost:{plain.port}/v1")
            else:
                with pytest.raises(HttpError):
                    await asker.ask(url)
            await client.close()


async def test_a_closed_client_leaves_no_connection(asker: Asker) -> None:
    async def behave(visit: Visit) -> None:
        try:
            await always(OK)(visit)
        finally:
            left.append(visit)
            if len(left) == 5:
                all_left.set()

    left: list[Visit] = []
    all_left = asyncio.Event()
    async with upstream(behave) as server, asyncio.timeout(120):
        await asyncio.gather(*(asker.ask(server.url) for _ in range(5)))
        response = await asker.post(server.url)
        assert len(server.visits) == 5
        await asker.client.close()
        await all_left.wait()
        response.close()


async def test_a_proxy_is_reached_through_aiohttp(tmp_path) -> None:
    from crplugins.core.network import Network

    async with upstream(always(OK)) as proxy:
        client = HttpClient(Network(environ={"HTTP_PROXY": f"http://u:p@127.0.0.1:{proxy.port}"}))
        assert await Asker(client, "ours").ask("http://model.example/v1") == (200, b"ok")
        assert proxy.received[0].startswith(b"POST http://model.example/v1 HTTP/1.1\r\n")
        await client.close()
