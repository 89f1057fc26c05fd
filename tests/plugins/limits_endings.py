"""The ways in which a request ends, and what it has taken then."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Drain, Exchange, Reply
from crplugins.core.plugin import Plugin
from crplugins.testing import Drive, lifespan
from tests.core.doubles import CHUNK, DONE, JSON, STOP, App, failing, piece, start
from tests.plugins.limits_setup import HI, PROMPT, using

USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":30,"completion_tokens":4}}\n\n'
FAILURE = App(b'{"error":{"message":"no"}}', status=500, content_type=JSON)
Client = Callable[[Drive], Awaitable[None]]


class Raises(Plugin):
    def __init__(self, error: Exception) -> None:
        self.error = error

    async def on_request(self, exchange: Exchange) -> None:
        raise self.error


class Answers(Plugin):
    async def on_request(self, exchange: Exchange) -> None:
        exchange.reply = Reply(200, [(b"content-type", b"application/json")], using(7, 1).sends[1]["body"])


class Drains(Plugin):
    async def on_request(self, exchange: Exchange) -> None:
        exchange.drain = Drain(5.0, 1000)


class Hanging:
    """Sends the beginning of a stream, then waits for the client to leave."""

    def __init__(self, *sends: Any) -> None:
        self.sends = sends

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        await receive()
        for message in self.sends:
            await send(message)
        while (await receive())["type"] != "http.disconnect":
            pass


class Unhurried(App):
    """Goes on whether or not anybody listens."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def slowly(message: Any) -> None:
            await turns()
            await send(message)

        await super().__call__(scope, receive, slowly)


async def leave(call: Drive) -> None:
    await turns()
    call.disconnect()


async def cancel(call: Drive) -> None:
    await turns()
    call.cancel()


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def leave_at_once(call: Drive) -> None:
    call.disconnect()


@dataclass
class Ending:
    """One way in which a request ends, and what it took: requests, tokens, output tokens."""

    name: str
    app: Any
    took: tuple[int, int, int]
    inner: tuple[Plugin, ...] = ()
    client: Client | None = None


BEGUN = (start(), piece(CHUNK))
NOTHING, ONLY_ITSELF, ESTIMATED = (0, 0, 0), (1, 0, 0), (1, PROMPT + 1, 1)
ENDINGS = [
    Ending("a stream with usage", App(CHUNK, STOP, USAGE, DONE), (1, 34, 4)),
    Ending("a stream without usage", App(CHUNK, STOP, DONE), ESTIMATED),
    Ending("a plain answer", using(30, 4), (1, 34, 4)),
    Ending("an answer without usage", App(b'{"choices":[{"message":{"content":"a"}}]}', content_type=JSON), ESTIMATED),
    Ending("more than was reserved", using(30_000, 9_000), (1, 39_000, 9_000)),
    Ending("an error of the app", FAILURE, ONLY_ITSELF),
    Ending("an error raised by the app", App(sends=[], raises=GatewayError(503, "no")), ONLY_ITSELF),
    Ending("a bug in the app", App(sends=[], raises=LookupError("bug")), ONLY_ITSELF),
    Ending("no answer", App(sends=[]), ONLY_ITSELF),
    Ending("a cut stream", App(sends=BEGUN), ESTIMATED),
    Ending("an error in mid-stream", App(sends=BEGUN, raises=GatewayError(502, "no")), ESTIMATED),
    Ending("a bug in mid-stream", App(sends=BEGUN, raises=LookupError("bug")), ESTIMATED),
    Ending("a cut after the usage", App(sends=[*BEGUN, piece(USAGE)]), (1, 34, 4)),
    Ending("a refusal further in", App(), NOTHING, (Raises(GatewayError(429, "no")),)),
    Ending("a bug further in", App(), NOTHING, (Raises(LookupError("bug")),)),
    Ending("a bug further in, in mid-stream", App(CHUNK, USAGE), ESTIMATED, (failing("on_event")(),)),
    Ending("an answer from further in", App(), (1, 8, 1), (Answers(),)),
    Ending("a client gone at once", App(), NOTHING, client=leave_at_once),
    Ending("a client gone before the first byte", Hanging(), (1, PROMPT, 0), client=leave),
    Ending("a client gone in mid-stream", Hanging(*BEGUN), ESTIMATED, client=leave),
    Ending("a cancellation", Hanging(), (1, PROMPT, 0), client=cancel),
    Ending("a cancellation in mid-stream", Hanging(*BEGUN), ESTIMATED, client=cancel),
    Ending("an answer read to its end", Unhurried(CHUNK, STOP, USAGE, DONE), (1, 34, 4), (Drains(),), leave),
]


async def end(ending: Ending, plugins: Sequence[Plugin]) -> None:
    """Run a request through these plugins to its end."""
    stack = PluginMiddleware(ending.app, plugins=[*plugins, *ending.inner])
    body = {"model": "m", "messages": HI, "stream": True}
    async with lifespan(stack), Drive(stack, body=body, spec_version="2.4") as call:
        if ending.client is not None:
            await ending.client(call)
        await asyncio.wait([call.task], timeout=60)
        assert call.task.done()
        await asyncio.gather(call.task, return_exceptions=True)
