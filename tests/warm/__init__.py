"""Pythons that have imported what a command needs before it is asked for.

Two seconds of CPU per process are the imports of `crplugins serve`, and fifteen are those of LiteLLM's proxy; the tests start
hundreds. `WarmPython("module", ...)` starts one process (`server.py`) that imports them once and forks for each command. Its
`command` stands in the place of `sys.executable`: it is a process (`client.py`, which imports next to nothing) with the
output, the exit code and the signals of the fork, so that `subprocess` needs to know nothing of this.

Not for tests of what is imported when, of what is not installed, or of the memory of a process. Who kills a command waits
for the end of its output, not of the process alone: its fork is killed a moment later.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

_HERE = Path(__file__).parent
INSTALLED = Path(sys.executable).with_name("crplugins")
"""The command as pip has made it."""

_RUN = os.environ.setdefault("TESTS_RUN", f"{uuid.uuid4().hex[:12]} {os.getpid()}")
"""A name of the run, and the process that lives as long: pytest's own, which starts the workers of xdist."""


class WarmPython:
    """Starts with the first command of any worker, serves all of them, and ends when the run does, however that ends.

    `environ` are the variables that it has while it imports, beside those of the tests. What `behind` has imported is
    there: it is forked from that one.
    """

    def __init__(
        self, *modules: str, environ: Mapping[str, str] = MappingProxyType({}), behind: "WarmPython | None" = None
    ) -> None:
        self._modules = modules
        self._environ = environ
        self._behind = behind
        self._command: list[str] = []

    @property
    def command(self) -> list[str]:
        if not self._command:
            self._command = [sys.executable, "-I", "-S", str(_HERE / "client.py"), str(self._started())]
        return self._command

    def _started(self) -> Path:
        """Where it listens. It imports while others go on, and answers then."""
        before = self._behind._modules if self._behind else ()
        kind = hashlib.sha256(repr((before, self._modules, sorted(self._environ.items()))).encode()).hexdigest()
        # Not in pytest's folder: the path of a socket has 107 bytes at most.
        folder = Path(tempfile.gettempdir(), f"warm-{_RUN.split()[0]}-{kind[:8]}")
        folder.mkdir(exist_ok=True)
        address = folder / "socket"
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not address.exists():
                self._start(address)
        return address

    def _start(self, address: Path) -> None:
        python = self._behind.command if self._behind else [sys.executable]
        process = subprocess.Popen(
            [*python, str(_HERE / "server.py"), str(address), _RUN.split()[1], *self._modules],
            cwd=_HERE.parents[1],
            env=os.environ | self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the tests, which end what they have started
        )
        assert process.stdout is not None
        with process.stdout:
            assert process.stdout.readline() == b"listening\n"
        _SERVERS.append(process)


_SERVERS: list["subprocess.Popen[bytes]"] = []
"""Kept, as a Popen that is forgotten while its process lives is a ResourceWarning."""

PYTHON = WarmPython("tests.gateway_loaded")
"""One for every command of crplugins."""

LITELLM = WarmPython("tests.litellm_loaded")
"""One in which litellm is loaded and nothing of ours, which takes seven seconds of CPU."""

_BOTH = WarmPython("tests.gateway_loaded", behind=LITELLM)


def warm_crplugins(*arguments: object, litellm: bool = False) -> list[str]:
    """The command line of `crplugins ARGUMENT...` in the warm Python.

    `litellm`: in one that has loaded it, for a command that will need it, where how it comes to that is not what is
    tested.
    """
    return [*(_BOTH if litellm else PYTHON).command, str(INSTALLED), *map(str, arguments)]
