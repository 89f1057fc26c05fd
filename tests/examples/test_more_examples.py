"""Each example of a home runs, as its own text says."""

import runpy
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import openai
import pytest

from tests.homes.host_model import HostModel
from tests.homes.test_vllm import vllm_app

EXAMPLES = Path(__file__).parents[2] / "examples"
HELLO = [{"role": "user", "content": "hi"}]
KEY = "sk-team-a-change-me"


@pytest.fixture(autouse=True)
def blockbuster():
    """Nothing: what a framework does on the event loop is its own affair, but has code of ours further out on its stack."""


def client(url: str, key: str = KEY) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=url + "/v1", api_key=key, max_retries=0)


async def text(url: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return await response.text()


async def check(url: str, model: str) -> str:
    """Three requests pass, the fourth is one too many, and a stranger gets nothing. The text of the last answer."""
    async with client(url, "sk-wrong") as stranger, client(url) as ai:
        with pytest.raises(openai.AuthenticationError):
            await stranger.chat.completions.create(model=model, messages=HELLO)
        for _ in range(3):
            answer = await ai.chat.completions.create(model=model, messages=HELLO)
        with pytest.raises(openai.RateLimitError):
            await ai.chat.completions.create(model=model, messages=HELLO)
    assert answer.model == model
    return answer.choices[0].message.content or ""


async def test_fastapi(serve, capsys):
    app = runpy.run_path(str(EXAMPLES / "fastapi_app.py"))["app"]
    async with serve(app) as url:
        assert await check(url, "echo") == "Hello there"
        assert 'model="echo"' in await text(url + "/metrics")
    assert capsys.readouterr().out.startswith("team-a TokenUsage(input_tokens=1, output_tokens=2")


async def test_fastapi_streams(serve, capsys):
    app = runpy.run_path(str(EXAMPLES / "fastapi_app.py"))["app"]
    async with serve(app) as url, client(url) as ai:
        stream = await ai.chat.completions.create(model="echo", messages=HELLO, stream=True)
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello there"
    assert capsys.readouterr().out.startswith("team-a TokenUsage(input_tokens=1, output_tokens=2")


@contextmanager
def uvicorn_process(app: str, folder: Path) -> Iterator[str]:
    """In a process of its own: Django's settings are those of a process, and so is the log that Litestar sets up."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        command = [sys.executable, "-m", "uvicorn", app, "--fd", str(listening.fileno()), "--log-level", "warning"]
        process = subprocess.Popen(command, cwd=folder, pass_fds=[listening.fileno()])
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            process.terminate()
            process.wait(10)


async def test_litestar():
    with uvicorn_process("litestar_app:app", EXAMPLES) as url:
        assert await check(url, "fast") == "Hello from llama"


async def test_django():
    with uvicorn_process("asgi:application", EXAMPLES / "django_asgi") as url:
        assert await check(url, "echo") == "Hello from Django"
        assert "crplugins_requests_total" in await text(url + "/metrics")
        assert await text(url + "/") == '{"hello": "people"}'


async def test_vllm_middleware(serve, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEAM_A_KEY", KEY)
    monkeypatch.setenv("CRPLUGINS_CONFIG", str(EXAMPLES / "vllm_middleware" / "gateway.yaml"))
    async with serve(vllm_app(HostModel(), "crplugins.homes.vllm.Middleware")) as url:
        assert await check(url, "fast") == "one two three"
        assert 'model="fast"' in await text(url + "/crplugins/metrics")
        assert "vllm:prompt_tokens" in await text(url + "/metrics/")
    assert (tmp_path / "usage.db").exists()


def test_what_the_readme_of_vllm_tells_to_run_is_there():
    readme = (EXAMPLES / "vllm_middleware" / "README.md").read_text()
    assert "--middleware crplugins.homes.vllm.Middleware" in readme
