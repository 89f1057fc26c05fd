"""Function calls of one request: those of this package and of aiohttp, which are the same on every machine."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

import aiohttp
from starlette.types import ASGIApp

from crplugins import Gateway
from crplugins.testing import FakeProvider, Script, lifespan
from tests.bench.rooms import KEY, PACKAGE, SKIPPED, ask, pushed

COUNTED: Final = (PACKAGE, str(Path(aiohttp.__file__).parent))
WORDS: Final = 20

Deployments = Sequence[Mapping[str, Any]]
ONE: Final[Deployments] = ({},)
BARE: Final[Mapping[str, Any]] = {"keys": [{"id": "a", "secret": KEY}]}


def every_plugin(folder: Path) -> Mapping[str, Any]:
    """Limits, metrics and a ledger in `folder`."""
    limits = {"requests_per_minute": 10**6, "tokens_per_minute": 10**9}
    return {
        "keys": [{"id": "a", "secret": KEY, "limits": limits}],
        "metrics": {"token": None},
        "ledger": {"url": f"sqlite:///{folder}/usage.db"},
    }


class Counted(NamedTuple):
    """`pushed` are the calls of a chunk under `crplugins serve`, `chunk` those under another server."""

    request: int
    chunk: float
    pushed: float


async def count(handler: str, policies: Mapping[str, Any], deployments: Deployments = ONE) -> Counted:
    """Calls of a plain request, and of each chunk that a stream is longer, behind a key and an alias."""
    async with serving(handler, policies, deployments) as (gateway, provider):
        await settled(gateway, provider)
        # On a busy machine an answer may come in two reads.
        request = min([await calls_of(gateway, provider, stream=False) for _ in range(3)])
        chunks = [await calls_of_chunk(app, provider) for app in (gateway, pushed(gateway))]
    return Counted(request, *chunks)


async def calls_of_chunk(app: ASGIApp, provider: FakeProvider) -> float:
    """Calls of each chunk that a stream is longer."""
    short, long = [await calls_of(app, provider, words=words, stream=True) for words in (WORDS, 3 * WORDS)]
    return (long - short) / (2 * WORDS)


@asynccontextmanager
async def serving(
    handler: str, policies: Mapping[str, Any], deployments: Deployments = ONE
) -> AsyncIterator[tuple[Gateway, FakeProvider]]:
    """A gateway, and the provider behind it. `deployments` are what else stands in each entry of its model."""
    async with FakeProvider() as provider:
        served = {"model": "openai/gpt-4o-mini", "api_base": provider.base_url, "api_key": "sk-upstream"}
        gateway = Gateway(
            model_list=[
                {"model_name": "m", "handler": handler, "litellm_params": served, **own} for own in deployments
            ],
            aliases={"fast": "m"},
            **policies,
        )
        await asyncio.to_thread(gateway.resolve)
        async with lifespan(gateway):
            yield gateway, provider


async def settled(gateway: Gateway, provider: FakeProvider) -> None:
    """Ask until an answer takes the calls of the last one: the first ones import and learn what is used later."""
    for stream in (True, False):
        last = 0
        while last != (last := await calls_of(gateway, provider, stream=stream)):
            pass


class Calls:
    """Counts calls, a coroutine that is resumed among them."""

    def __init__(self) -> None:
        self.number = 0

    def trace(self, frame: FrameType, event: str, _argument: Any) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(COUNTED) and not file.startswith(SKIPPED):
            self.number += 1


async def calls_of(app: ASGIApp, provider: FakeProvider, *, words: int = WORDS, stream: bool) -> int:
    """Calls of one answer. Each chunk of a stream comes in a read of its own, as it does from a model."""
    provider.enqueue(Script(text="word " * words, chunk_size=5, frame_delay=0.002))
    calls = Calls()
    await ask(app, stream=stream, trace=calls.trace)
    return calls.number
