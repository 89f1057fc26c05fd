"""The real `crplugins` command, as a process that begins with its imports done."""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import openai
import pytest
import typer.main

from crplugins.cli import app
from crplugins.cli.app import run as run_command
from crplugins.cli.startup_log import STARTING
from tests.keys.conftest import NOW
from tests.warm import PYTHON, warm_crplugins

SECONDS_TO_START = 300  # litellm's import alone takes a minute on a machine that others keep busy

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def _shared(make: Callable[[Iterable[str]], typer.Typer]) -> Callable[[Iterable[str]], typer.Typer]:
    made = cache(make)
    return lambda names: made(tuple(names))


# Typer builds all commands for each call of one: ten times as long as most of them take, and once per process elsewhere.
typer.main.get_command = cache(typer.main.get_command)
app.command_line = _shared(app.command_line)


def until(holds: Callable[[], bool], seconds: float = 120) -> None:
    """Returns when it does."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


@dataclass
class Serving:
    """A gateway that listens. `printed` is what it wrote to stdout by then."""

    process: "subprocess.Popen[str]"
    printed: str

    @property
    def url(self) -> str:
        return re.search(r"http://\S+", self.printed)[0]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def key(self) -> str:
        return re.search(r"^sk-crp_\w+$", self.printed, re.MULTILINE)[0]

    def client(self, key: str | None = None) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key or self.key, max_retries=0)

    def lines_until(self, words: str) -> str:
        """What it writes to stderr before the line with these words. It is killed if that does not come."""
        watchdog = threading.Timer(SECONDS_TO_START, self.process.kill)
        watchdog.start()
        lines = ""
        try:
            while words not in (read := self.process.stderr.readline()):
                assert read, f"it ended without {words!r}, after {lines}"
                lines += read
        finally:
            watchdog.cancel()
        return lines

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Exit code, further stdout and stderr after a signal, without what is said of the start."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> tuple[int, str, str]:
        """The same, when it has been told to end."""
        out, err = self.process.communicate(timeout=SECONDS_TO_START)
        return (
            self.process.returncode,
            out,
            re.sub(r"^\S+ \S+ INFO crplugins\.start: .*\n", "", err, flags=re.MULTILINE),
        )


Serve = Callable[..., AbstractContextManager[Serving]]


@pytest.fixture(scope="session")
def environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("CRPLUGINS_")}


@pytest.fixture(scope="session")
def provider() -> Iterator[str]:
    """The base URL of a provider in a process of its own, which says what the user said."""
    command = [*PYTHON.command, "-m", "crplugins.testing.provider"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process.stdout.readline().strip()
        process.terminate()


@pytest.fixture(scope="session")
def run(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`run("check", "--json", cwd=folder, NAME=value)`: the command, ended. By default in an empty folder.

    `litellm=True`: where it has been loaded, see `warm_crplugins`; the same of `serve`.

    What `serve` says before it does anything is not in its stderr.
    """
    empty = tmp_path_factory.mktemp("empty")

    def run_command(
        *arguments: object, cwd: Path = empty, litellm: bool = False, **variables: str
    ) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            warm_crplugins(*arguments, litellm=litellm),
            cwd=cwd,
            env=environ | variables,
            capture_output=True,
            text=True,
            timeout=SECONDS_TO_START,
            check=False,
        )
        done.stderr = done.stderr.removeprefix(STARTING)
        return done

    return run_command


@pytest.fixture(scope="session")
def serve(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Serve:
    """`with serve("--workers", 2) as gateway:` listens on a free port."""
    empty = tmp_path_factory.mktemp("empty")

    @contextmanager
    def serve_command(
        *arguments: object, cwd: Path = empty, litellm: bool = False, **variables: str
    ) -> Iterator[Serving]:
        process = subprocess.Popen(
            warm_crplugins("serve", "--port", 0, *arguments, litellm=litellm),
            cwd=cwd,
            env=environ | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                yield Serving(process, _greeting(process))
            finally:
                if process.poll() is None:
                    process.terminate()

    return serve_command


def _greeting(process: "subprocess.Popen[str]") -> str:
    """What is printed once it listens, which is written at once; before it, on stderr, that it is starting."""
    watchdog = threading.Timer(SECONDS_TO_START, process.kill)
    watchdog.start()
    try:
        text = os.read(process.stdout.fileno(), 65536).decode()
    finally:
        watchdog.cancel()
    assert text, process.stderr.read()
    assert os.read(process.stderr.fileno(), len(STARTING)).decode() == STARTING
    return text


@pytest.fixture
def in_process(monkeypatch, capsys, tmp_path):
    """Exit code, stdout, stderr of `crplugins ARGUMENT...` in this process and in an empty folder, on 2026-06-01 at noon."""
    monkeypatch.delenv("CRPLUGINS_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["crplugins", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run_command(lambda: NOW)
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return run
