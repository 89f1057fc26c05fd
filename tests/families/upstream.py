"""A provider that plays the families' streams. Which one, the text of the request says: see `asking_for`."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.families.catalogue import FAMILIES, find
from tests.families.story import Case, Family

_ASKED = re.compile(rb"play ([a-z-]+): ([a-z ]+)!")
_STREAM_PATHS = ("streamGenerateContent", "/converse-stream")
_SHOWN = {"capabilities": ["completion", "tools", "thinking"], "model_info": {"qwen3.context_length": 40960}}
"""What Ollama tells of a model."""


def asking_for(family: str, case: str) -> str:
    """A message, which every API hands on as it is."""
    return f"play {family}: {case}!"


def asked_of(body: bytes) -> tuple[Family, Case]:
    found = _ASKED.search(body)
    assert found is not None, f"the request asks for nothing: {body[:200]!r}"
    family, case = found[1].decode(), found[2].decode()
    return FAMILIES[family], find(family, case)


@asynccontextmanager
async def playing() -> AsyncIterator[str]:
    """The address."""
    server = await asyncio.start_server(_serve, "127.0.0.1", limit=1 << 22)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.close()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split(" ", 2)[1]
            length = re.search(r"(?mi)^content-length: *(\d+)", head)
            body = await reader.readexactly(int(length[1]) if length else 0)
            if not await _answer(path, body, writer):
                return
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _answer(path: str, body: bytes, writer: asyncio.StreamWriter) -> bool:
    """Whether the connection goes on."""
    if path == "/api/show":
        _write_plain(writer, 200, "application/json", json.dumps(_SHOWN).encode())
        return True
    family, case = asked_of(body)
    if is_streamed(path, body):
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ntransfer-encoding: chunked\r\n\r\n" % family.content_type.encode()
        )
        for piece in case.stream:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        if case.broken:
            return False
        writer.write(b"0\r\n\r\n")
    else:
        _write_plain(writer, case.plain.status, case.plain.content_type, case.plain.body)
    await writer.drain()
    return True


def _write_plain(writer: asyncio.StreamWriter, status: int, content_type: str, body: bytes) -> None:
    head = f"HTTP/1.1 {status} Answer\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)


def is_streamed(path: str, body: bytes) -> bool:
    return any(end in path for end in _STREAM_PATHS) or json.loads(body).get("stream") is True
