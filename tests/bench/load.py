"""Requests over a few kept-alive connections, as cheap as a client in Python can be."""

import asyncio
import json

from tests.bench.apps import KEY

MESSAGES = [{"role": "user", "content": "word " * 40}]


async def _read_answer(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if not head.startswith(b"http/1.1 200"):
        raise RuntimeError(head.decode())
    if b"chunked" in head:
        await reader.readuntil(b"\r\n0\r\n\r\n")
    else:
        length = int(head.split(b"\r\ncontent-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)


async def _connection(port: int, request: bytes, count: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
    for _ in range(count):
        writer.write(request)
        await _read_answer(reader)
    writer.close()


async def _run(port: int, count: int, *, stream: bool, connections: int) -> None:
    body = json.dumps({"model": "bench", "messages": MESSAGES, "stream": stream}, separators=(",", ":")).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    await asyncio.gather(*[_connection(port, request, count // connections) for _ in range(connections)])


def run(port: int, count: int, *, stream: bool, connections: int = 8) -> None:
    """Send `count` requests and read their answers. Raises RuntimeError for any status but 200."""
    asyncio.run(_run(port, count, stream=stream, connections=connections))
