"""The real clients: where each is installed, and how it is installed and run.

They stand in a folder of their own, outside the environment of the tests: three versions of one SDK cannot share one, and
some of them bring a hundred other packages. `CRPLUGINS_CLIENTS` names that folder; without it, it is one in the system's
folder for temporary files, kept between runs. `python -m tests.clients --install` fills it.
"""

import asyncio
import getpass
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAMS = Path(__file__).with_name("programs")


def home() -> Path:
    default = Path(tempfile.gettempdir()) / f"crplugins-{getpass.getuser()}-clients"
    return Path(os.environ.get("CRPLUGINS_CLIENTS") or default)


class NotInstalled(Exception):
    """The client is not here, and cannot be brought here. The message says why."""


@dataclass(frozen=True)
class Client:
    """One client in one version, pinned: what a client cannot do is known for this one.

    Attributes:
        packages: what pip or npm installs.
        program: the file in `programs/` that runs it.
        light: small enough to be installed by a test that needs it.
    """

    name: str
    version: str
    packages: tuple[str, ...]
    program: str
    light: bool = False

    @property
    def folder(self) -> Path:
        return home() / f"{self.name}-{self.version}"

    @property
    def is_node(self) -> bool:
        return self.program.endswith(".mjs")

    def require(self, *, install: bool = False) -> None:
        """Raises `NotInstalled`."""
        if self.folder.exists():
            return
        if not (self.light or install):
            raise NotInstalled(f"{self.name} is not in {home()}; `python -m tests.clients --install` brings it there")
        if self.is_node and not shutil.which("npm"):
            raise NotInstalled("node and npm are not installed")
        self._install()

    def _install(self) -> None:
        """Beside it first, for it must never be seen half made: another test run may look for it just now."""
        home().mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=home()))
        try:
            done = subprocess.run(self._installer(making), check=False, capture_output=True, text=True)
            if done.returncode:
                raise NotInstalled(f"{self.name} could not be installed: {done.stderr.strip()[-300:]}")
            with suppress(OSError):  # the other has been faster
                making.rename(self.folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)

    def _installer(self, folder: Path) -> Sequence[str]:
        if self.is_node:
            return ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), *self.packages]
        return [sys.executable, "-m", "pip", "install", "-q", "--target", str(folder), *self.packages]

    async def run(self, asked: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """What it made of each job, by key."""
        environ = {**os.environ, "PYTHONPATH": str(self.folder)}
        command = [sys.executable, str(PROGRAMS / self.program)]
        if self.is_node:
            shutil.copy(PROGRAMS / self.program, self.folder)  # Node looks for packages beside the program
            command = ["node", str(self.folder / self.program)]
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.folder,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, errors = await asyncio.wait_for(process.communicate(json.dumps(asked).encode()), 300)
        assert process.returncode == 0, errors.decode()[-3000:]
        version, *lines = [json.loads(line) for line in out.splitlines()]
        assert version == {"version": self.version}, "another version was installed"
        return {line["key"]: line for line in lines}


CLIENTS = (
    # The old one knows a parameter of httpx that 0.28 has no longer.
    Client("openai-python", "1.12.0", ("openai==1.12.0", "httpx<0.28"), "ask_openai.py", light=True),
    Client("openai-python", "2.54.0", ("openai==2.54.0",), "ask_openai.py", light=True),
    Client("openai-python", "3.57.0", ("openai==3.57.0",), "ask_openai.py", light=True),
    Client("openai-node", "6.49.0", ("openai@6.49.0",), "ask_openai_node.mjs", light=True),
    Client("ai-sdk", "6.0.326", ("ai@6.0.326", "@ai-sdk/openai-compatible@2.0.92"), "ask_ai_sdk.mjs"),
    Client("langchain-openai", "1.7.4", ("langchain-openai==1.7.4",), "ask_langchain.py"),
    Client("pydantic-ai", "2.68.0", ("pydantic-ai-slim[openai]==2.68.0",), "ask_pydantic_ai.py"),
    Client("llama-index", "0.8.1", ("llama-index-llms-openai-like==0.8.1",), "ask_llama_index.py"),
)
"""llama-index's version is that of its package for OpenAI-like endpoints."""
