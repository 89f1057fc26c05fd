"""A gateway that has had many streams at once is soon about as small again as before."""

import asyncio
import json
import os
import resource
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from crplugins.core.free_memory import glibc_trim
from tests.ports import free_port

STREAMS = 1500
MEGABYTE = 1 << 20

CONFIG = """
model_list:
  - model_name: m
    litellm_params: {{model: openai/m, api_base: "http://127.0.0.1:{upstream}/v1", api_key: sk-upstream}}
    model_info: {{input_cost_per_token: 1.5e-7, output_cost_per_token: 6.0e-7}}
aliases: {{fast: m}}
keys: [{{id: a, secret: sk-burst-0123456789, limits: {{requests_per_minute: 1000000, tokens_per_minute: 100000000}}}}]
ledger: {{url: "sqlite:///usage.db"}}
metrics: {{path: /metrics, token: null}}
server: {{access_log: false}}
"""

SERVE = """
import sys
from crplugins.core import collector
from crplugins.handlers.http import pool
collector.LOOK_SECONDS, collector.QUIET_SECONDS = 0.5, 2.0
pool.KEPT_SECONDS, pool._SWEEP_SECONDS = 1.0, 0.2
from crplugins.cli import main
sys.argv = ["crplugins", "serve", "--config", "gateway.yaml", "--port", sys.argv[1]]
main()
"""

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(delta, **more):
    choice = {"index": 0, "delta": delta, "finish_reason": more.pop("finish_reason", None)}
    fields = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(fields | more).encode() + b"\n\n"


USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
FIRST = chunk({"role": "assistant", "content": "a"})
REST = chunk({"content": "b"}) + chunk({}, finish_reason="stop", usage=USAGE) + b"data: [DONE]\n\n"


class Upstream:
    """Begins each answer at once, and goes on with none before all of a burst have begun."""

    def __init__(self):
        self.begun, self.waited_for, self.all = 0, 0, asyncio.Event()

    def expect(self, streams):
        self.begun, self.waited_for, self.all = 0, streams, asyncio.Event()

    async def __call__(self, reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.lower().split(b"\r\n")
                (length,) = (int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
                await reader.readexactly(length)
                writer.write(HEAD + b"%x\r\n%b\r\n" % (len(FIRST), FIRST))
                self.begun += 1
                if self.begun == self.waited_for:
                    self.all.set()
                await self.all.wait()
                writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(REST), REST))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@contextmanager
def files_for(streams):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 3 * streams:
        pytest.skip("a process may not open so many files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 3 * streams), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@asynccontextmanager
async def gateway(folder, upstream):
    """Its port, and what tells how many megabytes of it are in memory."""
    (folder / "gateway.yaml").write_text(CONFIG.format(upstream=upstream))
    port = free_port()
    command = [sys.executable, "-c", SERVE, str(port)]
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=subprocess.PIPE)
    try:
        assert await process.stdout.readline(), "it is to say that it listens"
        pages = Path(f"/proc/{process.pid}/statm")
        yield port, lambda: int(pages.read_bytes().split()[1]) * os.sysconf("SC_PAGESIZE") / MEGABYTE
    finally:
        process.terminate()
        await process.communicate()


async def stream(port, opening):
    body = json.dumps({"model": "fast", "stream": True, "messages": [{"role": "user", "content": "hi"}]}).encode()
    async with opening:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: b\r\nauthorization: Bearer sk-burst-0123456789\r\n"
    writer.write(head + b"connection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    answer = await reader.read()
    writer.close()
    return answer.startswith(b"HTTP/1.1 200") and b"data: [DONE]" in answer


async def burst(port, count, upstream):
    upstream.expect(count)
    opening = asyncio.Semaphore(100)  # a listen queue is finite
    async with asyncio.timeout(120):
        assert all(await asyncio.gather(*(stream(port, opening) for _ in range(count))))


@pytest.mark.skipif(glibc_trim() is None, reason="this is no glibc")
async def test_what_many_streams_have_taken_is_soon_given_back(tmp_path):
    upstream = Upstream()
    with files_for(STREAMS):
        async with await asyncio.start_server(upstream, "127.0.0.1", 0) as server:
            async with gateway(tmp_path, server.sockets[0].getsockname()[1]) as (port, resident):
                await burst(port, 20, upstream)
                before = resident()
                burst_of_many = asyncio.create_task(burst(port, STREAMS, upstream))
                await asyncio.sleep(0)
                async with asyncio.timeout(120):
                    await upstream.all.wait()
                most = resident()
                await burst_of_many
                async with asyncio.timeout(30):
                    while resident() - before > 0.75 * (most - before):  # noqa: ASYNC110  # else it stays above 0.9
                        await asyncio.sleep(0.2)
