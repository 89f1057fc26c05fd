"""What each plugin adds to a request and to a chunk, in function calls of the package: the same on every machine.

python -m tests.bench.by_plugin        prints the table of crplugins/plugins/README.md
"""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

from crplugins import Plugin
from crplugins.testing import Script
from tests.bench.calls import WORDS, every_plugin, serving
from tests.bench.rooms import PACKAGE, SKIPPED, ask

HOOKS: Final = frozenset({"on_request", "on_response", "on_event", "on_end", "on_refused", "on_ended", "on_finish"})


class ByPlugin:
    """Counts the calls from the entry of a plugin's hook to its return, by the plugin's name."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._hook: FrameType | None = None
        self._name = ""

    def trace(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event == "return" and frame is self._hook:
            self._hook = None
        file = frame.f_code.co_filename
        if event != "call" or not file.startswith(PACKAGE) or file.startswith(SKIPPED):
            return
        if self._hook is None and frame.f_code.co_name in HOOKS:
            plugin = frame.f_locals.get("self")
            if isinstance(plugin, Plugin):
                self._hook, self._name = frame, plugin.name
        if self._hook is not None:
            self.calls[self._name] += 1


class Share(NamedTuple):
    request: int
    chunk: float


async def shares(folder: Path) -> Mapping[str, Share]:
    """Of the plugins of a gateway with a key, an alias, limits, metrics and a ledger, those that do anything."""
    async with serving("direct", every_plugin(folder)) as (gateway, provider):

        async def counted(*, words: int = WORDS, stream: bool) -> Counter[str]:
            provider.enqueue(Script(text="word " * words, chunk_size=5, frame_delay=0.002))
            found = ByPlugin()
            await ask(gateway, stream=stream, trace=found.trace)
            return found.calls

        for stream in (False, True):
            await counted(stream=stream)  # the first ones import what is used late
        request = await counted(stream=False)
        short, long = await counted(stream=True), await counted(words=3 * WORDS, stream=True)
    return {name: Share(request[name], (long[name] - short[name]) / (2 * WORDS)) for name in sorted(long)}


def table(found: Mapping[str, Share]) -> list[str]:
    """In Markdown."""
    rows = [f"| {name} | {share.request} | {share.chunk:.0f} |" for name, share in found.items()]
    return ["| plugin | a request | a chunk |", "|---|--:|--:|", *rows]


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        print("\n".join(table(await shares(Path(folder)))))


if __name__ == "__main__":
    asyncio.run(main())
