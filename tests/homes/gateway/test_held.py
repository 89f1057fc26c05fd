"""What a request holds while it runs: `server.max_in_flight` bounds memory, if each holds no more than its page says."""

import asyncio
import gc
import json
import tracemalloc
from contextlib import asynccontextmanager

import pytest

from crplugins import Gateway

BODY = 512 * 1024
RUNNING = 4
CHUNK = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"hi"},"finish_reason":null}]}\n\n'


class Provider:
    """Reads each request to its end, begins a stream where one is asked for, and says no more until it is let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.asked = asyncio.Semaphore(0)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        rest = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        is_stream = False
        while rest:
            piece = await reader.read(min(rest, 65536))
            rest -= len(piece)
            is_stream |= b'"stream":true' in piece
        if is_stream:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" + CHUNK)
        self.asked.release()
        await self.go.wait()
        writer.close()


@asynccontextmanager
async def provider():
    told = Provider()
    async with await asyncio.start_server(told, "127.0.0.1", 0) as server:
        yield told, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


async def ask(url: str, body: bytes) -> asyncio.StreamWriter:
    """Sends a request from a connection that keeps nothing of it."""
    _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-a\r\n"
    writer.write(f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode())
    for start in range(0, len(body), 65536):
        writer.write(body[start : start + 65536])
        await writer.drain()
    return writer


@pytest.mark.parametrize(("stream", "bodies"), [(False, 1), (True, 2)])
async def test_a_running_request_holds_its_body_once_and_a_stream_twice(serve, stream, bodies):
    question = {"model": "m", "messages": [{"role": "user", "content": "a" * BODY}], "stream": stream}
    body = json.dumps(question, separators=(",", ":")).encode()
    async with provider() as (told, base):
        model = {"model": "openai/m", "api_base": base, "api_key": "sk-upstream"}
        app = Gateway(
            model_list=[{"model_name": "m", "litellm_params": model, "handler": "direct"}],
            keys=[{"id": "a", "secret": "sk-a"}],
        )
        async with serve(app) as url:
            writers = [await ask(url, body)]  # what the first one makes is there for all
            await told.asked.acquire()
            gc.collect()
            tracemalloc.start()
            try:
                before, _ = tracemalloc.get_traced_memory()
                for _ in range(RUNNING):
                    writers.append(await ask(url, body))
                    await told.asked.acquire()
                gc.collect()
                now, most = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            told.go.set()
            for writer in writers:
                writer.close()
    held = (now - before) / RUNNING
    assert held <= bodies * len(body) + 200_000, held
    assert most - now <= 1.5 * len(body) + 200_000, "besides, one copy while it is received or sent on"
