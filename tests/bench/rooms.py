"""How far a reader has to travel: the files of the package that one request enters, and how often it changes file.

python -m tests.bench.rooms

Counts function calls, so the figures are the same on every machine.
"""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

import crplugins
from crplugins import Gateway
from crplugins.asgi.push import PUSH_KEY
from crplugins.core.exchange import Push
from crplugins.testing import Drive, FakeProvider, Script, lifespan

PACKAGE = str(Path(crplugins.__file__).parent)
SKIPPED = (str(Path(PACKAGE, "testing")), str(Path(PACKAGE, "handlers", "wires")))  # both are the fake provider here
KEY = "sk-rooms-0123456789"
CHUNKS = 20


@dataclass
class Travel:
    """What the calls of one request were, while it is traced."""

    files: set[str] = field(default_factory=set)
    changes: int = 0
    calls: int = 0
    _here: str = ""

    def trace(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event not in ("call", "return"):
            return
        file = frame.f_code.co_filename if event == "call" else frame.f_back.f_code.co_filename if frame.f_back else ""
        if not file.startswith(PACKAGE) or file.startswith(SKIPPED):
            return
        if event == "call":
            self.calls += 1
            self.files.add(file)
        if file != self._here:
            self.changes += bool(self._here)
            self._here = file


async def travel(stream: bool, chunks: int = CHUNKS) -> Travel:
    """The second request of a gateway with every plugin on: the first one imports what is used late."""
    async with FakeProvider() as provider:
        served = {"model": "openai/m", "api_base": provider.base_url, "api_key": "sk-upstream"}
        gateway = Gateway(
            model_list=[{"model_name": "m", "litellm_params": served}],
            keys=[{"id": "a", "secret": KEY, "limits": {"requests_per_minute": 1000, "tokens_per_minute": 10**6}}],
            aliases={"fast": "m"},
            metrics={"token": None},
        )
        async with lifespan(gateway):
            result = Travel()
            for traced in (False, True):
                provider.enqueue(Script(text="word " * chunks, chunk_size=5))
                await ask(gateway, stream=stream, trace=result.trace if traced else None)
    return result


def pushed(app: ASGIApp) -> ASGIApp:
    """The app as `crplugins serve` calls it, which can write a piece of a stream at once."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        def find_push(given: Send) -> Push | None:
            return write if given == send else None

        await app({**scope, PUSH_KEY: find_push}, receive, send)

    def write(piece: bytes) -> bool:
        return True

    return call


async def ask(app: ASGIApp, *, stream: bool, trace: Callable[[FrameType, str, Any], None] | None) -> None:
    """One request, during which `trace` is told of every call and return."""
    body = {"model": "fast", "messages": [{"role": "user", "content": "Hello"}], "stream": stream}
    sys.setprofile(trace)
    try:
        async with Drive(app, body=body, headers={"authorization": f"Bearer {KEY}"}) as call:
            answer = await call.finish()
    finally:
        sys.setprofile(None)
    assert answer.status == 200, answer.body


async def main() -> None:
    print(f"{'':24}{'files':>8}{'changes':>10}{'calls':>8}")
    for name, stream in (("a plain request", False), (f"a stream of {CHUNKS} chunks", True)):
        found = await travel(stream)
        print(f"{name:24}{len(found.files):>8}{found.changes:>10}{found.calls:>8}")
    short, long = await travel(stream=True), await travel(stream=True, chunks=2 * CHUNKS)
    print(f"{'each chunk more':24}{'':8}{'':10}{(long.calls - short.calls) / CHUNKS:>8.1f}")


if __name__ == "__main__":
    asyncio.run(main())
