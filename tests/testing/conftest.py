import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import openai
import pytest

from crplugins.testing import Cassette, FakeProvider, load_cassettes

HELLO = {"model": "fake-model", "messages": [{"role": "user", "content": "Hello there"}]}
CASSETTES = Path(os.environ.get("CASSETTES") or Path(__file__).parents[3] / "shared" / "cassettes")


@dataclass
class RawAnswer:
    """What came over the socket: head, body pieces as they were read, and how it ended (done, eof, reset)."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)
    end: str = "done"


class RawClient:
    """HTTP/1.1 by hand on one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def post(self, body: object = None, path: str = "/v1/chat/completions", headers: str = "") -> RawAnswer:
        self.send(body, path, headers)
        return await self.read()

    def send(self, body: object = None, path: str = "/v1/chat/completions", headers: str = "") -> None:
        data = body if isinstance(body, bytes) else json.dumps(HELLO if body is None else body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {len(data)}\r\n\r\n"
        self.writer.write(head.encode() + data)

    async def read(self) -> RawAnswer:
        answer = RawAnswer()
        try:
            async with asyncio.timeout(60):
                await self._read_head(answer)
                await self._read_body(answer)
        except asyncio.IncompleteReadError:
            answer.end = "eof"
        except ConnectionResetError:
            answer.end = "reset"
        return answer

    async def _read_head(self, answer: RawAnswer) -> None:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        answer.status = int(head[0].split()[1])
        answer.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}

    async def _read_body(self, answer: RawAnswer) -> None:
        if "content-length" in answer.headers:
            answer.body = await self.reader.readexactly(int(answer.headers["content-length"]))
            return
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            answer.chunks.append((await self.reader.readexactly(size + 2))[:-2])
            answer.body += answer.chunks[-1]
        await self.reader.readexactly(2)


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as provider:
        yield provider


@pytest.fixture
async def connect() -> AsyncIterator[Callable]:
    clients: list[RawClient] = []

    async def connect(provider: FakeProvider) -> RawClient:
        clients.append(RawClient(*await asyncio.open_connection("127.0.0.1", provider.port)))
        return clients[-1]

    yield connect
    for client in clients:
        client.writer.transport.abort()


@pytest.fixture
async def client(provider: FakeProvider) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="sk-test", max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
def cassettes() -> dict[str, Cassette]:
    if not (CASSETTES / "manifest.json").exists():
        pytest.skip(f"no recordings in {CASSETTES}; set CASSETTES to their folder")
    return load_cassettes(CASSETTES)
