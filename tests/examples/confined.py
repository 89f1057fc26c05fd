"""A process as a container or a hardened unit runs it: a user with no rights, and nothing to write to but what is given.

Needs Linux, root, and util-linux (`unshare`, `setpriv`), which every Linux has.
"""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT

USER = 10001

# Python and the checkout are mounted where this user can enter, whoever may enter the folders around them.
_SET_UP = """
set -e
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir -p /mnt/python /mnt/base /mnt/checkout /mnt/run
mount --bind "$PREFIX" /mnt/python
mount --bind "$CHECKOUT" /mnt/checkout
if [ -n "$SOCKET" ]; then
    touch "/mnt/run/$(basename "$SOCKET")"
    mount --bind "$SOCKET" "/mnt/run/$(basename "$SOCKET")"
fi
mount -t tmpfs -o mode=755 tmpfs /var/lib
mkdir /var/lib/crplugins
mount --bind "$STATE" /var/lib/crplugins
[ -z "$TEMPORARY" ] || mount --bind "$TEMPORARY" /tmp
if [ -n "$HIDDEN" ]; then
    mount --bind "$BASE" /mnt/base
    mount -t tmpfs -o mode=755 tmpfs "$HIDDEN"
    mkdir -p "$BASE"
    mount --bind /mnt/base "$BASE"
fi
while read -r _ target _; do
    [ -e "$target" ] || continue  # hidden by what is mounted above it
    case "$target" in
        /proc*|/sys*|/dev|/dev/pts|/var/lib/crplugins) ;;
        /tmp) [ -n "$TEMPORARY" ] || mount -o remount,bind,ro "$target" ;;
        *) mount -o remount,bind,ro "$target" || : ;;  # not every kind of file system can be
    esac
done < /proc/self/mounts
cd /var/lib/crplugins
unset PREFIX BASE HIDDEN CHECKOUT SOCKET STATE TEMPORARY
exec setpriv --reuid "$0" --regid "$0" --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all -- "$@"
"""


@dataclass
class Confined:
    """Where one container or unit runs.

    Attributes:
        state: what is mounted on /var/lib/crplugins, the current folder; writable.
        environment: all variables it has, besides those that find Python.
        temporary: what is mounted on /tmp, writable; None leaves it as unwritable as the rest.
        socket: of a server, found under /mnt/run.
    """

    state: Path
    environment: Mapping[str, str]
    temporary: Path | None = None
    socket: Path | None = None

    def __post_init__(self) -> None:
        if not _can_mount():
            pytest.skip("mounting needs root, its rights, and util-linux")
        for folder in filter(None, (self.state, self.temporary)):
            folder.mkdir(exist_ok=True)
            os.chown(folder, USER, USER)

    def command(self, *crplugins: object) -> list[str]:
        """`crplugins ...` in here."""
        python = Path("/mnt/python") / Path(sys.executable).relative_to(sys.prefix)
        return self.run_by(str(python), "-c", "from crplugins.cli import main; main()", *map(str, crplugins))

    def run_by(self, *command: str) -> list[str]:
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", _SET_UP, str(USER), *command]

    @property
    def variables(self) -> dict[str, str]:
        return {
            **self.environment,
            "PATH": os.environ["PATH"],
            "PYTHONPATH": "/mnt/checkout",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PREFIX": sys.prefix,
            "BASE": sys.base_prefix,
            "HIDDEN": str(_hidden(Path(sys.base_prefix)) or ""),
            "CHECKOUT": str(CHECKOUT),
            "STATE": str(self.state),
            "TEMPORARY": str(self.temporary or ""),
            "SOCKET": str(self.socket or ""),
        }

    async def run(self, *crplugins: object) -> "subprocess.CompletedProcess[str]":
        """A command that ends; its stdout and stderr."""
        process = await asyncio.create_subprocess_exec(
            *self.command(*crplugins), env=self.variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        async with asyncio.timeout(300):
            out, err = await process.communicate()
        return subprocess.CompletedProcess(crplugins, process.returncode or 0, out.decode(), err.decode())

    @asynccontextmanager
    async def serving(self, *arguments: object) -> AsyncIterator["Serving"]:
        """`crplugins serve ...` once it listens, on a free port."""
        log = self.state.with_suffix(".log")
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                *self.command(*arguments, "--host", "127.0.0.1", "--port", 0),
                env=self.variables,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(300):
                greeting = (await process.stdout.readline()).decode()
            assert "http://" in greeting, log.read_text()
            yield Serving(process, next(word for word in greeting.split() if word.startswith("http://")), log)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@dataclass
class Serving:
    process: asyncio.subprocess.Process
    url: str
    log: Path

    async def ended(self, within: float) -> int:
        """The exit code."""
        async with asyncio.timeout(within):
            return await self.process.wait()


@cache
def _can_mount() -> bool:
    if os.geteuid() or not all(map(shutil.which, ("unshare", "setpriv", "mount"))):
        return False
    try_it = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(try_it, capture_output=True, timeout=30, check=False).returncode == 0


def _hidden(path: Path) -> Path | None:
    """The first folder on the way to `path` that only its owner may enter, such as the home of root."""
    return next((each for each in [*reversed(path.parents), path] if not each.stat().st_mode & 0o001), None)


def words_of(command: str | Sequence[str]) -> list[str]:
    """What stands behind the executable in a command line."""
    words = command.split() if isinstance(command, str) else list(command)
    return words[1:] if words[0].rpartition("/")[2] == "crplugins" else words
