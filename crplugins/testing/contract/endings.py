"""How a request may end, and what a plugin owes then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.sse import Event
from crplugins.testing.contract.stage import (
    DOCUMENT,
    FAILURE,
    JSON,
    ScriptedApp,
    Stage,
    Witness,
    answer,
    around,
    ask,
    cancelled_at,
    check_faults,
    spied,
)
from crplugins.testing.drive import Drive

MOST_AWAITS = 200
"""A plugin that waits more often is cancelled at the first ones only."""


@dataclass
class Ending:
    """One way a request ends: the app, a plugin further in, what the client does."""

    name: str
    app: ScriptedApp
    inner: Plugin | None = None
    client: Callable[[Drive], Awaitable[None]] | None = None


class Refusing(Plugin):
    def __init__(self, error: Exception) -> None:
        self.error = error

    async def on_request(self, exchange: Exchange) -> None:  # noqa: ARG002
        raise self.error


class Breaking(Plugin):
    rewrites_events = True

    def on_event(self, exchange: Exchange, event: Event) -> Event:  # noqa: ARG002
        raise LookupError("a bug in another plugin")


async def leave(call: Drive) -> None:
    call.disconnect()


async def leave_later(call: Drive) -> None:
    for _ in range(20):
        await asyncio.sleep(0)
    call.disconnect()


async def cancel_later(call: Drive) -> None:
    for _ in range(20):
        await asyncio.sleep(0)
    call.cancel()


def endings(stream: Sequence[bytes]) -> list[Ending]:
    """Fresh ones, because apps and plugins remember."""
    first, bug = answer(stream[0], whole=False), LookupError("a bug in the app")
    refusal = GatewayError(503, "Overloaded.", type="server_error")
    return [
        Ending("a whole stream", ScriptedApp(answer(*stream))),
        Ending("a plain answer", ScriptedApp(answer(DOCUMENT, content_type=JSON))),
        Ending("an error answer", ScriptedApp(answer(FAILURE, status=500, content_type=JSON))),
        Ending("a cut stream", ScriptedApp(first)),
        Ending("no answer", ScriptedApp([])),
        Ending("an error of the app", ScriptedApp([], raises=refusal)),
        Ending("an error of the app in mid-stream", ScriptedApp(first, raises=refusal)),
        Ending("a bug in the app", ScriptedApp([], raises=bug)),
        Ending("a bug in the app in mid-stream", ScriptedApp(first, raises=bug)),
        Ending("a refusal further in", ScriptedApp([]), inner=Refusing(refusal)),
        Ending("a bug further in", ScriptedApp([]), inner=Refusing(bug)),
        Ending("a bug further in, in mid-stream", ScriptedApp(answer(*stream)), inner=Breaking()),
        Ending("a client gone before its body", ScriptedApp(answer(*stream)), client=leave),
        Ending("a client gone before the first byte", ScriptedApp([], waits=True), client=leave_later),
        Ending("a client gone in mid-stream", ScriptedApp(first, waits=True), client=leave_later),
        Ending("a cancellation in mid-stream", ScriptedApp(first, waits=True), client=cancel_later),
    ]


class Endings(Stage):
    async def test_on_finish_runs_once_for_each_request_whatever_its_ending(self) -> None:
        for ending in endings(self.stream()):
            plugin = self.make_plugin()
            calls = spied(plugin)
            await self._end(ending, plugin)
            calls.check(ending.name)

    async def test_no_hook_raises_whatever_the_ending(self) -> None:
        for ending in endings(self.stream()):
            plugin = self.make_plugin()
            check_faults(await self._end(ending, plugin), plugin, ending.name)

    async def test_it_can_be_cancelled_wherever_it_waits(self) -> None:
        for number in range(MOST_AWAITS):
            if not await self._cancel(number):
                return

    async def test_it_opens_and_closes_twice(self) -> None:
        plugin = self.make_plugin()
        for time in range(2):
            app = ScriptedApp(answer(*self.stream()))
            seen = (await ask(around(app, [plugin]), self.accepted_request())).answer
            learned = self.learns and time > 0 and seen.status == 200
            assert app.bodies or learned, "the plugin lets no request through once it is open"

    async def _end(self, ending: Ending, plugin: Plugin) -> PluginMiddleware:
        inner = [ending.inner] if ending.inner else []
        stack = around(ending.app, [Witness(), plugin, *inner])
        await ask(stack, self.accepted_request(), client=ending.client)
        return stack

    async def _cancel(self, number: int) -> bool:
        """Cancel a request when it waits for the `number`th time. False if it never waits that often."""
        plugin = self.make_plugin()
        calls, stack = spied(plugin), around(ScriptedApp(answer(*self.stream())), [plugin])
        through, reached = cancelled_at(stack, number)
        error = (await ask(stack, self.accepted_request(), through=through)).error
        when = f"cancelled at its await number {number}"
        if reached():
            assert isinstance(error, asyncio.CancelledError), f"{when}: the cancellation was lost; {error!r} came up"
        calls.check(when)
        check_faults(stack, plugin, when)
        return reached()
