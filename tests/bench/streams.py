"""Many slow streams through one worker at once: do all complete, and what does one cost in memory?"""

import asyncio
import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass

from tests.bench.apps import KEY
from tests.bench.served import Served

WORDS = 20


@dataclass
class Outcome:
    """`bytes_per_stream` is the growth of the worker's resident memory, at its peak, per open stream."""

    complete: int
    bytes_per_stream: float
    seconds: float


async def _stream(port: int, request: bytes, opened: asyncio.Semaphore) -> bool:
    async with opened:  # a listen queue is finite
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer.startswith(b"HTTP/1.1 200") and answer.count(b"word") == WORDS and b"data: [DONE]\n\n" in answer


async def _all(port: int, count: int, memory: list[int], server: Served) -> int:
    body = json.dumps({"model": "bench", "messages": [{"role": "user", "content": "hi"}], "stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: b\r\nauthorization: Bearer {KEY}\r\nconnection: close\r\n"
    request = f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    opened = asyncio.Semaphore(100)
    streams = [asyncio.create_task(_stream(port, request, opened)) for _ in range(count)]
    while not all(stream.done() for stream in streams):
        memory.append(server.resident_bytes())
        await asyncio.sleep(0.2)
    return sum(stream.result() for stream in streams)


def run(count: int, frame_delay: float = 0.4) -> Outcome:
    """`count` streams of 20 words, `frame_delay` seconds apart, from a provider in a process of its own."""
    _raise_file_limit()
    command = [
        sys.executable,
        "-m",
        "crplugins.testing.provider",
        "--words",
        str(WORDS),
        "--frame-delay",
        str(frame_delay),
    ]
    provider = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert provider.stdout is not None
    try:
        url = provider.stdout.readline().strip()
        with Served("direct", upstream=url) as server:
            asyncio.run(_all(server.port, 10, [], server))
            before, memory = server.resident_bytes(), [0]
            started = os.times().elapsed
            complete = asyncio.run(_all(server.port, count, memory, server))
            return Outcome(complete, (max(memory) - before) / count, os.times().elapsed - started)
    finally:
        provider.terminate()
        provider.wait()
        provider.stdout.close()


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65536, hard) if hard > 0 else 65536, hard))
