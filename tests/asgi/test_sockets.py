"""The same promises, kept for real clients on real sockets."""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any, Self

import aiohttp
import httpx
import pytest

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from tests.conftest import Serve, serving
from tests.core.doubles import ASK, CHUNK, DONE, App, Reader, Rewriter, Watcher, piece, start

PATH = "/v1/chat/completions"
MIB = 1024 * 1024
BIG = bytes(32 * MIB)


class Signalling(Watcher):
    """Says when a request has finished."""

    def __init__(self) -> None:
        super().__init__()
        self.finished = asyncio.Event()

    def on_finish(self, exchange: Exchange) -> None:
        self.finished.set()


async def streaming(scope: Any, receive: Any, send: Any) -> None:
    """Sends one event, then waits for the client to leave."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send(start())
    await send(piece(CHUNK))
    while (await receive())["type"] != "http.disconnect":
        pass


async def in_chunks(body: bytes, size: int = 64 * 1024) -> AsyncIterator[bytes]:
    for at in range(0, len(body), size):
        yield body[at : at + size]


async def by_httpx(url: str, body: Any) -> tuple[int, Any, Any]:
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        answer = await client.post(url + PATH, content=body)
        return answer.status_code, answer.json(), answer.headers


async def by_aiohttp(url: str, body: Any) -> tuple[int, Any, Any]:
    body = io.BytesIO(body) if isinstance(body, bytes) else body  # aiohttp warns of large bytes
    async with aiohttp.ClientSession() as client, client.post(url + PATH, data=body) as answer:
        return answer.status, await answer.json(), answer.headers


@pytest.mark.parametrize("plugin", [Watcher, Rewriter])
async def test_a_client_that_leaves_in_mid_stream_is_noticed(serve: Serve, plugin: type[Watcher]) -> None:
    signal = Signalling()
    async with serve(PluginMiddleware(streaming, plugins=[signal, plugin()])) as url, aiohttp.ClientSession() as client:
        answer = await client.post(url + PATH, data=ASK)
        assert await answer.content.readuntil(b"\n\n") == CHUNK
        answer.close()
        async with asyncio.timeout(60):
            await signal.finished.wait()
    assert signal.ending == (200, "cancelled")


async def test_a_server_that_stops_tells_the_client_and_the_plugins_finish(serve: Serve) -> None:
    signal, gate = Signalling(), asyncio.Event()
    async with aiohttp.ClientSession() as client:
        async with serve(PluginMiddleware(App(CHUNK, DONE, gate=gate), plugins=[signal])) as url:
            answer = await client.post(url + PATH, data=ASK)
            await answer.content.readuntil(b"\n\n")
        error, done = (await answer.read()).split(b"\n\n")[:2]
    assert (b'"code":"server_shutdown"' in error, done) == (True, b"data: [DONE]")
    assert signal.ending == (200, "server_error")


@pytest.mark.parametrize("http", ["h11", "httptools"])
@pytest.mark.parametrize("client", [by_httpx, by_aiohttp])
@pytest.mark.parametrize("plugin", [Plugin, Reader])
async def test_a_client_can_read_the_413_for_the_32_mib_it_is_sending(http: str, client: Any, plugin: Any) -> None:
    watcher = Watcher()
    async with serving(PluginMiddleware(App(), plugins=[watcher, plugin()]), http=http) as url:
        for body in (BIG, in_chunks(BIG)):
            status, answer, headers = await client(url, body)
            assert (status, answer["error"]["code"]) == (413, "request_too_large")
            assert headers["x-request-id"]
    assert [e.outcome for e in watcher.exchanges] == ["client_error", "client_error"]


@pytest.mark.parametrize("plugin", [Plugin, Reader])
async def test_a_chunked_upload_arrives_whole(serve: Serve, plugin: type[Plugin]) -> None:
    body = b'{"model": "m", "messages": "' + b"x" * MIB + b'"}'
    app = App(b"{}", content_type="application/json")
    async with serve(PluginMiddleware(app, plugins=[plugin()])) as url:
        assert (await by_aiohttp(url, in_chunks(body, 10_000)))[0] == 200
    assert app.bodies == [body]


async def test_an_event_arrives_while_the_next_is_not_yet_made(serve: Serve) -> None:
    gate = asyncio.Event()
    app = PluginMiddleware(App(CHUNK, DONE, gate=gate), plugins=[Watcher(), Rewriter()])
    async with serve(app) as url, aiohttp.ClientSession() as client, client.post(url + PATH, data=ASK) as answer:
        async with asyncio.timeout(60):
            assert await answer.content.readuntil(b"\n\n") == CHUNK
        gate.set()
        assert await answer.read() == DONE


async def test_a_cut_stream_is_no_complete_answer_to_a_client(serve: Serve) -> None:
    app = App(sends=[start(), piece(CHUNK)])
    async with serve(PluginMiddleware(app, plugins=[Watcher()])) as url, aiohttp.ClientSession() as client:
        answer = await client.post(url + PATH, data=ASK)
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_a_server_does_not_start_with_plugins_that_cannot_open(serve: Serve) -> None:
    class Unreachable(Plugin):
        async def __aenter__(self) -> Self:
            raise ConnectionRefusedError("no database")

    with pytest.raises(RuntimeError, match="could not start"):
        async with serve(PluginMiddleware(App(), plugins=[Unreachable()])):
            pytest.fail("started")
