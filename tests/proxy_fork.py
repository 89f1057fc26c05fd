"""A process that has imported LiteLLM's proxy, and becomes one as often as it is asked.

The import takes fifteen seconds of CPU, and a run of all tests starts ten proxies. `python -m tests.proxy_fork` reads a
JSON object a line from stdin, forks, and writes the pid of the child, which then serves.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class ForkedProcess:
    """A proxy that was forked: what is used of `subprocess.Popen`, for a process that is no child of ours."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def poll(self) -> int | None:
        """None while it runs."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return 0
        return None

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def wait(self, timeout: float) -> None:
        """Raises `subprocess.TimeoutExpired`."""
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("a forked proxy", timeout)
            time.sleep(0.05)

    def _send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


class ForkServer:
    """Started with the first proxy of this test process, ended with it: its stdin is closed then."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def start(
        self, app: str, port: int, folder: Path, paths: Sequence[str], environ: Mapping[str, str]
    ) -> ForkedProcess:
        order = {"app": app, "port": port, "folder": str(folder), "paths": list(paths), "environ": dict(environ)}
        with self._lock:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            return ForkedProcess(int(process.stdout.readline()))

    def _running(self) -> "subprocess.Popen[str]":
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.proxy_fork"],
                cwd=Path(__file__).parents[1],
                env={**os.environ, **self._environ},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        return self._process


def serve_orders() -> None:
    import litellm.proxy.proxy_server  # noqa: F401  # what all of this is for

    _shorten_pauses()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children that have ended leave nothing to wait for
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _become_a_proxy(json.loads(line))
        print(pid, flush=True)


def _shorten_pauses() -> None:
    """LiteLLM's pauses between retries, half a second to eight, would add up to minutes. From 1.110 on they are compiled
    in; before that `INITIAL_RETRY_DELAY` and `MAX_RETRY_DELAY` are read."""
    with contextlib.suppress(ImportError):
        from litellm.router_python_host import PythonHost

        PythonHost.sleep = lambda _self, seconds: asyncio.sleep(seconds / 1000)


def _become_a_proxy(order: Mapping[str, Any]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with Path(order["folder"], "proxy.log").open("wb") as log, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.chdir(order["folder"])
    os.environ.update(order["environ"])
    sys.path[:0] = order["paths"]
    import uvicorn

    try:
        # Longer than a busy client takes between two requests, which else would meet a connection that is being closed.
        uvicorn.run(order["app"], port=order["port"], log_level="info", timeout_keep_alive=75)
    finally:
        os._exit(0)


if __name__ == "__main__":
    serve_orders()
