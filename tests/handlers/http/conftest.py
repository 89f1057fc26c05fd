"""Both clients, ours and aiohttp's, behind their one interface, on the loop that `crplugins serve` runs on."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import uvloop

from crplugins.core.network import Network
from crplugins.handlers.http.client import HttpClient
from crplugins.handlers.http.interface import Endpoint, Response
from crplugins.handlers.http.over_aiohttp import AiohttpClient
from tests.long import LONG


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """asyncio's own is the one of all other tests of handlers."""
    return {"uvloop": uvloop.new_event_loop} | ({"asyncio": asyncio.new_event_loop} if LONG else {})


CLIENTS: Mapping[str, Callable[[Network], Any]] = {"ours": HttpClient, "aiohttp": AiohttpClient}


@dataclass
class Asker:
    """Posts as handlers do."""

    client: Any
    name: str

    def endpoint(self, url: str, headers: Mapping[str, str] | None = None) -> Endpoint:
        return self.client.endpoint(url, {"Content-Type": "application/json"} if headers is None else headers)

    async def post(self, url: str, body: bytes = b"{}", seconds: float = 30.0) -> Response:
        return await self.endpoint(url).post(body, {}, connect_seconds=10.0, seconds=seconds)

    async def ask(self, url: str, body: bytes = b"{}", seconds: float = 30.0) -> tuple[int, bytes]:
        """Status and body of an answer that is read to its end."""
        response = await self.post(url, body, seconds)
        try:
            return response.status, await rest(response)
        finally:
            response.close()


async def rest(response: Response) -> bytes:
    parts = []
    while piece := await response.read():
        parts.append(piece)
    return b"".join(parts)


def network(context: ssl.SSLContext | None = None) -> Network:
    made = Network(environ={})
    if context is not None:
        made.tls = context  # type: ignore[misc]
    return made


@pytest.fixture(params=list(CLIENTS))
async def asker(request: pytest.FixtureRequest) -> AsyncIterator[Asker]:
    client = CLIENTS[request.param](await asyncio.to_thread(network))
    yield Asker(client, request.param)
    await client.close()


@pytest.fixture
async def ours() -> AsyncIterator[Asker]:
    client = HttpClient(await asyncio.to_thread(network))
    yield Asker(client, "ours")
    await client.close()
