"""The README, followed by a stranger: the two commands, and three minutes to a plugin, from the wheel on a base install."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from tests.conftest import CHECKOUT
from tests.documents.confined import CRPLUGINS, environment_of
from tests.documents.pages import Block, blocks, commands, environment
from tests.documents.test_blocks import PRINTED_KEY, run

pytestmark = pytest.mark.slow

START = "Start"
OWN_APP = "Three minutes to a plugin in your own app"


def the(section: str, language: str) -> list[Block]:
    return [block for block in blocks("README.md") if (block.section, block.language) == (section, language)]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@contextmanager
def running(command: list[str], folder: Path, environ: dict[str, str], ready: str) -> Iterator[Path]:
    """A server, once `ready` stands in what it says; the file with all of that."""
    log = folder / "said.txt"
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=file, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 300  # a busy machine takes minutes for LiteLLM's proxy
        while ready not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield log
    finally:
        process.terminate()
        process.wait(60)


def test_the_two_commands_serve_what_the_snippet_asks_for(tmp_path: Path) -> None:
    [shell], [snippet] = the(START, "sh"), the(START, "python")
    install, serve = commands(shell)
    assert install == ["pip", "install", ".[gateway]"]
    environ = environment_of(environment(snippet), tmp_path, {"PYTHONUNBUFFERED": "1"})
    port = free_port()
    with running([sys.executable, *CRPLUGINS, *serve[1:], "--port", str(port)], tmp_path, environ, f":{port}") as log:
        [key] = set(re.findall(r"sk-crp_\w+", log.read_text()))
        source = snippet.text.replace(PRINTED_KEY, key).replace(":4000", f":{port}")
        deadline = time.monotonic() + 120
        while (
            done := run([sys.executable, "-c", source], tmp_path, environ)
        ).returncode and time.monotonic() < deadline:
            time.sleep(0.1)  # it prints before it listens
    assert done.returncode == 0, done.stderr
    assert "Hello" in done.stdout


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel of this checkout and what the section on one's own app tells to install."""
    folder = tmp_path_factory.mktemp("bare")
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}

    def call(*command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=False)

    pip = ("-m", "pip", "--disable-pip-version-check", "--quiet")
    asked = call(sys.executable, *pip, "download", "--no-deps", "--dest", str(folder), "uvicorn")
    if asked.returncode:
        pytest.skip(f"pip reaches no index: {asked.stderr.strip().splitlines()[-1]}")
    built = call(
        sys.executable, "-m", "build", "--quiet", "--wheel", "--no-isolation", "--outdir", str(folder), str(CHECKOUT)
    )
    assert built.returncode == 0, built.stderr
    [wheel] = folder.glob("crplugins-*.whl")
    # Without a pip of its own and without compiling what nobody imports: half of the time.
    assert call(sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")).returncode == 0
    [told] = commands(the(OWN_APP, "sh")[0])
    assert told[:3] == ["pip", "install", "."]
    python = folder / "venv" / "bin" / "python"
    installed = call(sys.executable, *pip, "--python", str(python), "install", "--no-compile", str(wheel), *told[3:])
    assert installed.returncode == 0, installed.stderr
    return python


def test_a_plugin_in_ones_own_app_works_on_a_base_install(bare: Path, tmp_path: Path) -> None:
    [app], [_, serve, ask] = the(OWN_APP, "python"), the(OWN_APP, "sh")
    assert app.file == "app.py"
    (tmp_path / app.file).write_text(app.text)
    [served], [asked] = commands(serve), commands(ask)
    port = str(free_port())
    environ = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"}
    command = [str(bare), "-m", *(port if word == "8000" else word for word in served)]
    assert command[2:5] == ["uvicorn", "app:app", "--port"]
    with running(command, tmp_path, environ, "Uvicorn running") as log:
        answer = curl(asked, port)
        assert answer.status_code == 200
        assert answer.headers["x-request-id"]
        assert answer.headers["x-ratelimit-limit-requests"] == "60"
        deadline = time.monotonic() + 10
        while "team-a 2\n" not in log.read_text():  # said behind the last byte of the answer
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)
        stranger = curl([word.replace("sk-team-a", "sk-nobody") for word in asked], port)
        assert (stranger.status_code, stranger.json()["error"]["code"]) == (401, "invalid_api_key")
        shouting = curl([word.replace('"m"', '"M"') for word in asked], port)
        assert (shouting.status_code, shouting.json()["error"]["message"]) == (400, "Please do not shout.")


def curl(words: list[str], port: str) -> httpx.Response:
    """What the command sends: curl itself is not everywhere."""
    assert words[0] == "curl"
    options = list(pairwise(words))
    headers = dict(value.split(": ", 1) for option, value in options if option == "-H")
    [data] = [value for option, value in options if option == "-d"]
    headers = {"content-type": "application/x-www-form-urlencoded", **headers}  # curl's own, without another
    [url] = [word for word in words if word.startswith("localhost:")]
    return httpx.post("http://" + re.sub(r":\d+", f":{port}", url), headers=headers, content=data, timeout=30)


def test_what_needs_an_extra_says_which_when_it_is_imported_made_or_started(bare: Path) -> None:
    code = """
import asyncio
import crplugins

missing = set()
for name in dir(crplugins):
    try:
        getattr(crplugins, name)
    except ImportError as error:
        assert "pip install 'crplugins[" in str(error), error
        missing.add(name)
print(*sorted(missing))

for url, extra in (("sqlite:///usage.db", "sql"), ("postgresql://host/usage", "postgres")):
    try:
        crplugins.Ledger(url)
    except ImportError as error:
        assert f"pip install 'crplugins[{extra}]'" in str(error), error
    else:
        raise AssertionError(url)

gateway = crplugins.Gateway(model_list=[{"model_name": "m", "litellm_params": {"model": "openai/m"}}])
told = []

async def receive():
    return {"type": "lifespan.startup"}

async def send(message):
    told.append(message)

try:
    asyncio.run(gateway({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send))
except ValueError:
    pass
[failed] = told
assert "model 'm': needs httptools, which is not installed: pip install 'crplugins[gateway]'" in failed["message"], failed
"""
    done = subprocess.run([str(bare), "-c", code], capture_output=True, text=True, timeout=60, check=False, env={})
    assert done.returncode == 0, done.stderr
    needing = {"JwtKeys", "RedisStore", "SqlKeys"}
    assert set(done.stdout.split()) - {"Tracing"} == needing  # its API comes with some versions of FastAPI
