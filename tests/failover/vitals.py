"""A plugin that writes down once a second how the process is that it runs in."""

import asyncio
import gc
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from crplugins import Plugin

FILES = "vitals-{pid}.jsonl"


class Vitals(Plugin):
    """A line for each second: tasks, file descriptors, kilobytes of memory. In the current folder, or in VITALS."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _watch(self) -> None:
        file = Path(os.environ.get("VITALS", "."), FILES.format(pid=os.getpid()))
        while True:
            due = time.monotonic() + 1
            await asyncio.sleep(1)
            late = time.monotonic() - due
            line = {"at": time.time(), "late": round(late, 3), **await asyncio.to_thread(_vitals), "tasks": _tasks()}
            await asyncio.to_thread(_append, file, line)


def _tasks() -> int:
    return len(asyncio.all_tasks())


def _vitals() -> dict[str, int]:
    status = Path("/proc/self/status").read_text()
    memory = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return {
        "fds": len(list(Path("/proc/self/fd").iterdir())),
        "kb": int(memory.split()[1]),
        "garbage": sum(gc.get_count()),
    }


def _append(file: Path, line: object) -> None:
    with file.open("a") as out:
        out.write(json.dumps(line) + "\n")
