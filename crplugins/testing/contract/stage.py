"""Where a plugin under test stands: between two witnesses, in front of an app that follows a script."""

from __future__ import annotations

import asyncio
import itertools
import json
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.sse import Event
from crplugins.testing.answer import Answer
from crplugins.testing.asgi import ASGIApp, Message, Receive, Scope, Send
from crplugins.testing.drive import Drive
from crplugins.testing.lifespan import LifespanError, lifespan

PATH = "/v1/chat/completions"
EVENT_STREAM = "text/event-stream"
JSON = "application/json"
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
_ID = '"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-mini"'
STREAM = tuple(
    f"data: {data}\n\n".encode()
    for data in (
        f'{{{_ID},"choices":[{{"index":0,"delta":{{"role":"assistant","content":"Hel"}},"finish_reason":null}}]}}',
        f'{{{_ID},"choices":[{{"index":0,"delta":{{"content":"lo"}},"finish_reason":null}}]}}',
        f'{{{_ID},"choices":[{{"index":0,"delta":{{}},"finish_reason":"stop"}}]}}',
        "[DONE]",
    )
)
DOCUMENT = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"gpt-4o-mini","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":8,"completion_tokens":2,"total_tokens":10}}'
)
FAILURE = b'{"error":{"message":"Overloaded.","type":"server_error","param":null,"code":null}}'


class Stage:
    """What a plugin author tells the contract about the plugin.

    Attributes:
        sets_headers: names, in lower case, of the response headers that a plugin sets although it observes.
        learns: it answers `answered_request` only once it has seen the app's answer to it, as a cache does.
        answers_streams: it answers where a stream is asked for; else a plain answer alone.
        answers_for_free: its own answers cost nothing.
        shares_answers: what it has learned from one key's request it may tell another key.
    """

    sets_headers: frozenset[str] = frozenset()
    learns: bool = False
    answers_streams: bool = True
    answers_for_free: bool = True
    shares_answers: bool = False

    def make_plugin(self) -> Plugin:
        """A new plugin. It lets `accepted_request` through any number of times; one that `learns`, the first time."""
        raise NotImplementedError("a PluginContract needs make_plugin()")

    def accepted_request(self) -> Mapping[str, Any]:
        """`body` (a dict) and `headers` of a chat request that the plugin lets through."""
        return {"body": CHAT}

    def refused_request(self) -> Mapping[str, Any] | None:
        """`body` and `headers` of one that it refuses; None if it refuses none."""
        return None

    def answered_request(self) -> Mapping[str, Any] | None:
        """`body` (a dict) and `headers` of one that it answers by itself; None if it answers none."""
        return None

    def stream(self) -> Sequence[bytes]:
        """A whole answer as server-sent events, of which the client is to see at least the first."""
        return STREAM


class Witness(Plugin):
    """A neighbour that only looks. Keeps what it saw."""

    reads_body = True
    reads_events = True
    observes = True

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.events: list[Event] = []

    async def on_request(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)

    def on_event(self, exchange: Exchange, event: Event) -> Event:  # noqa: ARG002
        self.events.append(event)
        return event


class ScriptedApp:
    """An app that reads the request, sends `messages`, and then raises `raises` or waits for the client to leave.

    `gate` is awaited after the first body message.
    """

    def __init__(
        self,
        messages: Iterable[Message],
        *,
        raises: Exception | None = None,
        waits: bool = False,
        gate: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self.bodies: list[bytes] = []
        self.messages = list(messages)
        self.waits = waits
        self._raises, self._gate = raises, gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        await asyncio.sleep(0)
        if not await self._read(receive):
            return
        for message in self.messages:
            await send(message)
            await (self._gate() if self._gate and message.get("more_body") else asyncio.sleep(0))
        while self.waits and (await receive())["type"] != "http.disconnect":
            pass
        if self._raises is not None:
            raise self._raises

    async def _read(self, receive: Receive) -> bool:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return False
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.bodies.append(body)
        return True


def answer(*bodies: bytes, status: int = 200, content_type: str = EVENT_STREAM, whole: bool = True) -> list[Message]:
    """The messages of an answer, one per body; without its end if not `whole`."""
    start = {"type": "http.response.start", "status": status, "headers": [(b"content-type", content_type.encode())]}
    parts: list[Message] = [{"type": "http.response.body", "body": body, "more_body": True} for body in bodies]
    if whole:
        parts.append({"type": "http.response.body", "body": b"", "more_body": False})
    return [start, *parts]


def foreign(app: ASGIApp) -> ASGIApp:
    """A layer of somebody else's, which keeps boundaries on both sides of it apart."""

    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    return layer


def around(app: ASGIApp, plugins: Sequence[Plugin]) -> PluginMiddleware:
    return PluginMiddleware(cast("Any", app), plugins=plugins)


@dataclass
class Calls:
    """Which requests a plugin was given, and for which it was given the end."""

    entered: list[Exchange] = field(default_factory=list)
    finished: list[Exchange] = field(default_factory=list)

    def check(self, ending: str) -> None:
        for exchange in self.entered:
            times = sum(one is exchange for one in self.finished)
            assert times == 1, f"{ending}: on_finish ran {times} times for one request"
        assert len(self.finished) == len(self.entered), f"{ending}: on_finish ran for a request never entered"


def spied(plugin: Plugin) -> Calls:
    """Writes down the plugin's requests and ends, its own calls of its hooks included."""
    calls, kind = Calls(), type(plugin)

    class Spied(kind):  # type: ignore[misc, valid-type]
        __slots__ = ()

        def on_request(self, exchange: Exchange) -> Awaitable[None] | None:
            calls.entered.append(exchange)
            asked: Awaitable[None] | None = super().on_request(exchange)
            return asked

        def on_finish(self, exchange: Exchange) -> None:
            calls.finished.append(exchange)
            super().on_finish(exchange)

    Spied.__name__ = kind.__name__
    object.__setattr__(plugin, "__class__", Spied)
    return calls


@asynccontextmanager
async def opened(app: ASGIApp | PluginMiddleware) -> AsyncIterator[None]:
    """The plugins open, as when a server has started."""
    try:
        async with lifespan(app, within=60):
            yield
    except LifespanError as error:
        raise AssertionError(f"the plugin cannot be opened or closed: {error}") from error


def request(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of Drive, with the body spread out, so that writing it again would show."""
    body = options.get("body")
    return {**options, "body": json.dumps(body, indent=1).encode() if isinstance(body, dict) else body}


@dataclass
class Asked:
    """A request that is over: what the client got, and what came up out of the app."""

    answer: Answer
    error: BaseException | None


async def ask(
    stack: PluginMiddleware,
    options: Mapping[str, Any],
    *,
    method: str = "POST",
    path: str = PATH,
    client: Callable[[Drive], Awaitable[None]] | None = None,
    through: ASGIApp | None = None,
) -> Asked:
    """Run one request with the plugins open; `client` does something meanwhile. `through` is called in stead of it."""
    async with opened(stack):
        return await ask_opened(stack, options, method=method, path=path, client=client, through=through)


async def ask_opened(
    stack: PluginMiddleware,
    options: Mapping[str, Any],
    *,
    method: str = "POST",
    path: str = PATH,
    client: Callable[[Drive], Awaitable[None]] | None = None,
    through: ASGIApp | None = None,
) -> Asked:
    """The same where the plugins are open already: several requests in one life of theirs."""
    async with Drive(through or cast("ASGIApp", stack), method, path, **request(options)) as call:
        if client is not None:
            await client(call)
        error = await ended(call)
    return Asked(Answer(tuple(call.sent)), error)


async def ended(call: Drive, within: float = 30.0) -> BaseException | None:
    """Wait for the end of a request, and say how it ended."""
    done, _ = await asyncio.wait([call.task], timeout=within)
    assert done, f"the request has not ended within {within} seconds"
    return asyncio.CancelledError() if call.task.cancelled() else call.task.exception()


def check_faults(app: PluginMiddleware, plugin: Plugin, when: str) -> None:
    """Fail if a hook of the plugin has raised something that is not a GatewayError."""
    failed = [hook for name, hook in app.faults if name == plugin.name]
    assert not failed, f"{when}: {plugin.name}.{', '.join(failed)} raised; the cause is in the log"


def cancelled_at(app: ASGIApp, number: int) -> tuple[ASGIApp, Callable[[], bool]]:
    """`app`, cancelled when it waits for the `number`th time; and whether it ever did."""
    reached: list[int] = []

    @types.coroutine
    def steps(inner: Coroutine[Any, Any, None]) -> Generator[Any, None, None]:
        thrown: BaseException | None = None
        for count in itertools.count():
            try:
                future = inner.send(None) if thrown is None else inner.throw(thrown)
            except StopIteration:
                return
            if count == number:
                reached.append(count)
                _cancel_this_task()
            thrown = None
            try:
                yield future
            except BaseException as error:  # the inner coroutine's to handle, CancelledError above all
                thrown = error

    async def interrupted(scope: Scope, receive: Receive, send: Send) -> None:
        await steps(cast("Any", app(scope, receive, send)))

    return interrupted, lambda: bool(reached)


def _cancel_this_task() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
