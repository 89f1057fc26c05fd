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


async def test_bytes_that_are_no_http_are_refused(provider: FakeProvider, connect) -> None:
    client = await connect(provider)
    client.writer.write(b"nonsense\r\n\r\n")
    assert (await client.read()).status == 400
    assert await client.reader.read() == b""


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
