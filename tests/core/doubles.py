"""Apps and plugins that write down what happens to them."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.sse import Event

EVENT_STREAM = "text/event-stream"
JSON = "application/json"
CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'  # ended by STOP, or by [DONE] alone
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
DOCUMENT = b'{"choices": [{"index": 0, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}'
ASK = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": true}'


def start(status: int = 200, content_type: str = EVENT_STREAM, headers: Sequence[tuple[str, str]] = ()) -> Message:
    pairs = [("content-type", content_type), *headers]
    return {
        "type": "http.response.start",
        "status": status,
        "headers": [(name.encode(), value.encode()) for name, value in pairs],
    }


def piece(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


def messages(*bodies: bytes, **options: Any) -> list[Message]:
    """A whole response: its start, and one message per body."""
    last = len(bodies) - 1
    return [start(**options), *(piece(body, more=number < last) for number, body in enumerate(bodies))]


class App:
    """Reads the request, then sends `messages`. Keeps the scopes and bodies it was given.

    `reads=False` leaves the body alone. `gate` is waited for after each body message but the last. `raises` comes up
    after all messages.
    """

    def __init__(
        self,
        *bodies: bytes,
        sends: Iterable[Message] | None = None,
        reads: bool = True,
        gate: asyncio.Event | None = None,
        raises: BaseException | None = None,
        **options: Any,
    ) -> None:
        self.sends = messages(*(bodies or (CHUNK, STOP, DONE)), **options) if sends is None else list(sends)
        self.bodies: list[bytes] = []
        self.bodies_received: list[Message] = []
        self.headers: list[list[tuple[bytes, bytes]]] = []
        self.scopes: list[Scope] = []
        self.cancelled = False
        self._reads, self._gate, self._raises = reads, gate, raises

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        if scope["type"] != "http":
            return
        self.headers.append(list(scope["headers"]))
        try:
            if self._reads:
                await self._read(receive)
            for message in self.sends:
                await send(message)
                if self._gate is not None and message.get("more_body"):
                    await self._gate.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self._raises is not None:
            raise self._raises

    async def _read(self, receive: Receive) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            self.bodies_received.append(message)
            if message["type"] != "http.request":
                raise ConnectionError("the client has gone")
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.bodies.append(body)

    @property
    def called(self) -> bool:
        return bool(self.scopes)


class Watcher(Plugin):
    """Writes each hook into `log` as `label.hook`, and keeps the exchanges and events."""

    reads_events = True

    def __init__(self, log: list[str] | None = None, label: str = "w") -> None:
        self.log = [] if log is None else log
        self.label = label
        self.exchanges: list[Exchange] = []
        self.events: list[Event] = []

    def note(self, hook: str) -> None:
        self.log.append(f"{self.label}.{hook}")

    async def on_request(self, exchange: Exchange) -> None:
        self.note("on_request")
        self.exchanges.append(exchange)

    def on_response(self, exchange: Exchange) -> None:
        self.note("on_response")

    def on_event(self, exchange: Exchange, event: Event) -> Event | None:
        self.note("on_event")
        self.events.append(event)
        return event

    def on_end(self, exchange: Exchange) -> Iterable[Event]:
        self.note("on_end")
        return ()

    def on_finish(self, exchange: Exchange) -> None:
        self.note("on_finish")

    @property
    def exchange(self) -> Exchange:
        return self.exchanges[-1]

    @property
    def ending(self) -> tuple[int | None, str | None]:
        """Status and outcome of the last request."""
        return self.exchange.status, self.exchange.outcome


class Rewriter(Watcher):
    """A Watcher that may change events, and changes none."""

    rewrites_events = True


class Reader(Plugin):
    """Needs the body and does nothing with it."""

    reads_body = True


def finishes(log: Iterable[str]) -> list[str]:
    """Whose on_finish ran, in order."""
    return [entry.partition(".")[0] for entry in log if entry.endswith(".on_finish")]


def failing(hook: str, error: Exception | None = None, base: type[Watcher] = Watcher, **flags: Any) -> type[Watcher]:
    """A Watcher that has a bug in `hook`: it writes the hook down, and raises."""

    def fail(self: Watcher, *_: object) -> Any:
        self.note(hook)
        if hook == "on_event":
            self.events.append(_[-1])  # type: ignore[arg-type]
        raise error or LookupError("bug")

    async def fail_async(self: Watcher, *_: object) -> Any:
        self.exchanges.append(_[0])  # type: ignore[arg-type]
        fail(self)

    return type(f"Failing{hook}", (base,), {hook: fail_async if hook == "on_request" else fail, **flags})


class Wrapped:
    """A foreign layer that changes nothing."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)
