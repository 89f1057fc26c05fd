"""Pythons that have imported what a command needs before it is asked for.

A second of CPU per process is the imports of `crplugins serve`, and fifteen are those of LiteLLM's proxy; the tests start
hundreds. `WarmPython("module", ...)` starts one process (`server.py`) that imports them once and forks for each command. Its
`command` stands in the place of `sys.executable`: it is a process (`client.py`, which imports next to nothing) with the
output, the exit code and the signals of the fork, so that `subprocess` needs to know nothing of this.

Not for tests of what is imported when, of what is not installed, or of the memory of a process. Who kills a command waits
for the end of its output, not of the process alone: its fork is killed a moment later.
"""

import atexit
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

_HERE = Path(__file__).parent
INSTALLED = Path(sys.executable).with_name("crplugins")
"""The command as pip has made it."""


class WarmPython:
    """Starts with the first command, and ends with this process: its stdin is closed then."""

    def __init__(self, *modules: str, environ: Mapping[str, str] | None = None) -> None:
        self._modules = modules
        self._environ = environ
        self._command: list[str] = []

    @property
    def command(self) -> list[str]:
        if not self._command:
            self._command = [sys.executable, "-I", "-S", str(_HERE / "client.py"), self._started()]
        return self._command

    def _started(self) -> str:
        """Where it listens. It imports while others go on, and answers then."""
        folder = tempfile.mkdtemp(prefix="warm-")  # short: the path of a socket has 107 bytes at most
        address = f"{folder}/socket"
        process = subprocess.Popen(
            [sys.executable, str(_HERE / "server.py"), address, *self._modules],
            cwd=_HERE.parents[1],
            env=self._environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the tests, which end what they have started
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"listening\n"

        def end() -> None:
            process.communicate()
            shutil.rmtree(folder)

        atexit.register(end)
        return address


PYTHON = WarmPython(
    "crplugins.cli.app", "crplugins.homes.metrics", "crplugins.ledger.ledger", "crplugins.sql.migrate",
    "crplugins.testing.provider", "aiosqlite", "asyncpg", "openai", "uvloop",
)  # fmt: skip


def warm_crplugins(*arguments: object) -> list[str]:
    """The command line of `crplugins ARGUMENT...` in the warm Python."""
    return [*PYTHON.command, str(INSTALLED), *map(str, arguments)]
