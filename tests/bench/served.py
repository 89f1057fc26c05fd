"""An app of `apps` under uvicorn, or a gateway under its own server, in a process of its own; and the CPU time of that."""

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml


class Served:
    """`with Served("bare") as server:` listens on `server.port`. CPU 0 is the server's if there is more than one."""

    def __init__(self, app: str, *, upstream: str = "", factory: bool = True, cpu: int = 0) -> None:
        self.port = _free_port()
        self._command = [
            sys.executable, "-m", "uvicorn", f"tests.bench.apps:{app}", "--port", str(self.port),
            "--log-level", "error", *(["--factory"] if factory else []),
        ]  # fmt: skip
        self._environ = os.environ | {"BENCH_UPSTREAM": upstream}
        self._cpu = cpu

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, env=self._environ, stdout=subprocess.DEVNULL)
        if (os.cpu_count() or 1) > 1:
            os.sched_setaffinity(self._process.pid, {self._cpu})
        _wait_for(self.port, self._process)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def resident_bytes(self) -> int:
        """Resident memory now."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    def cpu_seconds(self) -> float:
        """CPU time of all its threads so far."""
        tasks = Path(f"/proc/{self._process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


class ServedGateway(Served):
    """The same of a gateway with this configuration, under `crplugins serve` as people run it."""

    def __init__(self, settings: Mapping[str, Any], folder: Path) -> None:
        super().__init__("")
        file = folder / "gateway.yaml"
        file.write_text(yaml.safe_dump(settings))
        command = Path(sys.executable).with_name("crplugins")
        self._command = [str(command), "serve", "--config", str(file), "--port", str(self.port)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("the server did not start")
