"""Starts and stops an ASGI app through its lifespan protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from crplugins.testing.asgi import ASGIApp, Message
from crplugins.testing.watch import Watch


class LifespanError(RuntimeError):
    """The app reported that it could not start or stop; the message is the app's."""


@asynccontextmanager
async def lifespan(app: ASGIApp, *, within: float = 30.0) -> AsyncIterator[dict[str, Any]]:
    """`async with lifespan(app) as state:` runs startup before the block and shutdown after it.

    `state` is the dict the app may fill, to be passed on as `scope={"state": state}`. LifespanError if the app
    reports a failure, its own exception if it raises one, TimeoutError if a step takes more than `within` seconds.
    """
    run = _Run(app)
    try:
        await run.step("startup", within)
        yield run.state
        await run.step("shutdown", within)
    finally:
        run.task.cancel()
        await asyncio.gather(run.task, return_exceptions=True)


class _Run:
    def __init__(self, app: ASGIApp) -> None:
        self.state: dict[str, Any] = {}
        self._steps: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: list[Message] = []
        self._watch = Watch()
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        self.task = asyncio.ensure_future(app(scope, self._steps.get, self._send))
        self.task.add_done_callback(self._watch.notify)

    async def step(self, name: str, within: float) -> None:
        self._steps.put_nowait({"type": f"lifespan.{name}"})
        await self._watch.until(lambda: self._answers or self.task.done(), f"lifespan {name}", within)
        if not self._answers:
            self.task.result()
            raise LifespanError(f"the app returned without an answer to lifespan.{name}")
        answer = self._answers.pop()
        if answer["type"] != f"lifespan.{name}.complete":
            raise LifespanError(answer.get("message") or f"{name} failed")

    async def _send(self, message: Message) -> None:
        self._answers.append(message)
        self._watch.notify()
