import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
import pytest

HELLO = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}


@asynccontextmanager
async def process(*arguments: str) -> AsyncIterator[str]:
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "crplugins.testing.provider", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert running.stdout is not None
    try:
        yield (await asyncio.wait_for(running.stdout.readline(), 60)).decode().strip()
    finally:
        running.send_signal(signal.SIGTERM)
        _, errors = await running.communicate()
        assert (running.returncode, errors) == (0, b"")


@pytest.mark.parametrize("loop", [(), ("--uvloop",)])
async def test_it_runs_as_a_process_that_says_where_it_listens(loop: Sequence[str]) -> None:
    async with process("--words", "3", "--usage", "on", *loop) as url, aiohttp.ClientSession() as session:
        assert url.startswith("http://127.0.0.1:")
        async with session.post(url + "/chat/completions", json=HELLO) as response:
            frames = (await response.read()).split(b"\n\n")
    assert b'"content":"word"' in frames[1]
    assert b'"completion_tokens":3' in frames[-3]


@pytest.mark.parametrize("loop", [(), ("--uvloop",)])
async def test_faults_can_be_given_on_the_command_line(loop: Sequence[str]) -> None:
    async with process("--reset-after", "1", "--write", "7", *loop) as url, aiohttp.ClientSession() as session:
        response = await session.post(url + "/chat/completions", json=HELLO)
        with pytest.raises(aiohttp.ClientError):
            await response.read()
