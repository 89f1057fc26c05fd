import asyncio
import json
import logging

import aiohttp
import pytest

from crplugins.testing import FakeProvider, Script

HELLO = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


async def test_pipelined_requests_are_answered_in_order(provider: FakeProvider, connect) -> None:
    client = await connect(provider)
    for text in ("one", "two"):
        client.send({"model": "m", "messages": [{"role": "user", "content": text}]})
    answers = [json.loads((await client.read()).body) for _ in range(2)]
    said = [answer["choices"][0]["message"]["content"] for answer in answers]
    assert said == ["You said: one", "You said: two"]


async def test_a_client_may_send_its_body_in_chunks(provider: FakeProvider) -> None:
    async def body():
        data = json.dumps(HELLO).encode()
        yield data[:10]
        yield data[10:]

    url = provider.base_url + "/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, data=body()) as response:
        assert response.status == 200
    assert provider.last_request.json == HELLO


async def test_a_client_may_wait_for_the_go_ahead(provider: FakeProvider) -> None:
    url = provider.base_url + "/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, json=HELLO, expect100=True) as response:
        assert response.status == 200


async def test_the_connection_is_closed_when_the_client_asks_for_it(provider: FakeProvider, connect) -> None:
    client = await connect(provider)
    answer = await client.post(headers="connection: close\r\n")
    assert answer.headers["connection"] == "close"
    assert await client.reader.read() == b""


async def test_an_old_client_gets_its_stream_without_chunks_and_the_connection_closed(
    provider: FakeProvider, connect
) -> None:
    provider.enqueue(Script(events=[b"data: 1\n\n", b"data: 2\n\n"]))
    client = await connect(provider)
    client.writer.write(b"POST /v1/chat/completions HTTP/1.0\r\n\r\n")
    head, _, body = (await client.reader.read()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"chunked" not in head
    assert body == b"data: 1\n\ndata: 2\n\n"


@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_requests_may_come_in_any_pieces_one_behind_the_other(provider: FakeProvider, connect, size: int) -> None:
    plain = b"POST /v1/x?y=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
    chunked = b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
    client, data = await connect(provider), plain + chunked + plain
    for start in range(0, len(data), size):
        client.writer.write(data[start : start + size])
        await client.writer.drain()
        await asyncio.sleep(0)
    assert [(await client.read()).status for _ in range(3)] == [404, 404, 404]
    seen = [(request.method, request.path, request.body) for request in provider.requests]
    assert seen == [("POST", "/v1/x?y=1", b"hello"), ("POST", "/c", b"hello"), ("POST", "/v1/x?y=1", b"hello")]
    assert provider.requests[0].headers == {"host": "h", "content-length": "5"}


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET / HTTP/1.1\r\nx: " + b"x" * 70_000, 431),
    ],
)
async def test_bytes_that_are_no_http_are_refused(provider: FakeProvider, connect, data: bytes, status: int) -> None:
    client = await connect(provider)
    client.writer.write(data)
    assert (await client.read()).status == status
    assert await client.reader.read() == b""
    assert provider.received == 0


@pytest.mark.parametrize(("method", "script"), [(b"HEAD", Script()), (b"POST", Script(status=204, body=b"x"))])
async def test_an_answer_that_may_have_no_body_has_none(
    provider: FakeProvider, connect, method: bytes, script: Script
) -> None:
    provider.enqueue(script)
    client = await connect(provider)
    client.writer.write(method + b" /v1/chat/completions HTTP/1.1\r\nHost: h\r\n\r\n")
    head = await client.reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 ")
    client.send()
    assert (await client.read()).status == 200


async def test_a_status_that_nobody_has_named_is_sent(provider: FakeProvider, connect) -> None:
    provider.enqueue(Script(status=499))
    client = await connect(provider)
    client.send()
    assert await client.reader.readline() == b"HTTP/1.1 499 Unknown\r\n"


async def test_a_script_that_cannot_be_played_drops_the_connection(provider: FakeProvider, connect, caplog) -> None:
    provider.enqueue(Script(status=200, headers={"x": "\u4f60"}))
    with caplog.at_level(logging.CRITICAL):
        answer = await (await connect(provider)).post()
    assert answer.end == "reset"
    await asyncio.sleep(0)
    assert provider.active == 0


@pytest.mark.parametrize("half", [True, False])
async def test_a_client_that_shuts_down_its_side_counts_as_gone(provider: FakeProvider, connect, half: bool) -> None:
    provider.enqueue(Script(delay=60))
    client = await connect(provider)
    client.send()
    (request,) = await provider.wait_for_requests(1)
    if half:
        client.writer.write_eof()
    else:
        client.writer.close()
    assert (await request.wait_finished()).client_gone
