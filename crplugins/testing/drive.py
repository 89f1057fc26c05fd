"""Drives an ASGI app by hand: what it is given, and each message it sends at the moment it is sent.

    async with Drive(app, body={"model": "m", "messages": [...], "stream": True}) as call:
        start = await call.next_message()
        call.disconnect()
        answer = await call.finish()

No sockets and no buffering: the test and the app take turns on one event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from crplugins.testing.answer import Answer, out_of_order
from crplugins.testing.asgi import ASGIApp, Message, http_scope, request_messages
from crplugins.testing.watch import Watch


class AppEndedError(AssertionError):
    """The app returned although the test waits for another message."""


class Drive:
    """One request to `app`, from inside the block to its end.

    `body` is one `http.request` message (a dict or list is sent as JSON), `chunks` several. `headers` override the
    defaults (`host`, and `content-type: application/json` if there is a body). `scope` adds or replaces scope keys.

    `forbid_body`: `receive` fails when called, to prove that the body was not read. `lockstep`: `send` returns only
    when the test has taken the message, as with a client that does not read. With an ASGI `spec_version` of 2.4 or
    more `send` raises OSError after a disconnect, below it nothing happens, as under uvicorn.
    """

    def __init__(
        self,
        app: ASGIApp,
        method: str = "POST",
        path: str = "/v1/chat/completions",
        *,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        body: Any = None,
        chunks: Sequence[bytes] | None = None,
        scope: Mapping[str, Any] | None = None,
        forbid_body: bool = False,
        lockstep: bool = False,
        spec_version: str = "2.3",
    ) -> None:
        self.scope = http_scope(method, path, headers, has_body=not (body is None and chunks is None))
        self.scope["asgi"] = {"version": "3.0", "spec_version": spec_version}
        self.scope.update(scope or {})
        self.sent: list[Message] = []
        self.sent_too_late: list[Message] = []
        self.received = 0
        self._app = app
        self._incoming = deque(request_messages(body, chunks))
        self._forbid_body = forbid_body
        self._lockstep = lockstep
        self._raises_late = tuple(map(int, spec_version.split("."))) >= (2, 4)
        self._not_taken: deque[Message] = deque()
        self._gone = False
        self._watch = Watch()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.ensure_future(self._app(self.scope, self._receive, self._send))
        self._task.add_done_callback(self._watch.notify)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self.task.done():
            self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    @property
    def task(self) -> asyncio.Task[None]:
        """The task that runs the app. RuntimeError outside the block."""
        if self._task is None:
            raise RuntimeError("the app runs only inside `async with Drive(...)`")
        return self._task

    @property
    def complete(self) -> bool:
        """The last message of the answer was sent."""
        return bool(self.sent) and self.sent[-1]["type"] == "http.response.body" and not _more(self.sent[-1])

    async def next_message(self, within: float = 30.0) -> Message:
        """The next message, as soon as the app sends it.

        Raises what the app raised, AppEndedError if it returned, TimeoutError after `within` seconds.
        """
        await self._watch.until(lambda: self._not_taken or self.task.done(), "a message of the app", within)
        if self._not_taken:
            message = self._not_taken.popleft()
            self._watch.notify()
            return message
        self.task.result()
        raise AppEndedError("the app returned and sent no further message")

    async def next_body(self, within: float = 30.0) -> bytes:
        """The body bytes of the next message that has any; messages before it are passed over."""
        while not (body := (await self.next_message(within)).get("body", b"")):
            pass
        return bytes(body)

    def disconnect(self) -> None:
        """The client goes: `receive` gives `http.disconnect` from now on, before any body that is left."""
        self._gone = True
        self._watch.notify()

    def cancel(self) -> None:
        """Cancel the app, as a server does that shuts down."""
        self.task.cancel()

    async def finish(self, within: float = 30.0) -> Answer:
        """Let the app run to its end; the answer so far is in the result even if it is not complete.

        Raises what the app raised (CancelledError included), TimeoutError after `within` seconds.
        """
        self._lockstep = False
        self._not_taken.clear()
        self._watch.notify()
        await self._watch.until(self.task.done, "the end of the app", within)
        self.task.result()
        return Answer(tuple(self.sent))

    async def _receive(self) -> Message:
        self.received += 1
        if self._forbid_body:
            raise AssertionError("the app called receive() although the body was not to be read")
        if self._incoming and not self._gone:
            return self._incoming.popleft()
        await self._watch.until(lambda: self._gone, "a disconnect")
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._gone and not self.complete:
            self.sent_too_late.append(message)
            if self._raises_late:
                raise OSError("the client has disconnected")
            return
        if fault := out_of_order(self.sent, message):
            raise AssertionError(fault)
        self.sent.append(message)
        self._not_taken.append(message)
        self._gone = self.complete
        self._watch.notify()
        await self._watch.until(lambda: not (self._lockstep and self._not_taken), "the client's next read")


async def drive(
    app: ASGIApp, method: str = "POST", path: str = "/v1/chat/completions", *, within: float = 30.0, **options: Any
) -> Answer:
    """Run one request to its end; `options` are those of Drive. Raises what the app raises."""
    async with Drive(app, method, path, **options) as call:
        return await call.finish(within)


def _more(message: Message) -> bool:
    return bool(message.get("more_body", False))
