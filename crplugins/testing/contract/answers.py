"""What a plugin owes that answers requests by itself: a cache, a canned reply, a maintenance notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Principal
from crplugins.testing.answer import Answer
from crplugins.testing.asgi import Message
from crplugins.testing.contract.stage import (
    DOCUMENT,
    EVENT_STREAM,
    FAILURE,
    JSON,
    ScriptedApp,
    Stage,
    Witness,
    answer,
    around,
    ask_opened,
    cancelled_at,
    check_faults,
    opened,
    spied,
)
from crplugins.testing.drive import Drive

_MOST_AWAITS = 50


class Caller(Plugin):
    """Every request that passes is of the key that `principal` names."""

    def __init__(self) -> None:
        self.principal = Principal("one")

    async def on_request(self, exchange: Exchange) -> None:
        exchange.principal = self.principal


class Own:
    """A plugin that will answer the next request by itself, between two witnesses, open.

    Attributes:
        learned: what it was shown, if it learns.
        reached: how many requests have reached the app.
    """

    def __init__(self, plugin: Plugin, messages: list[Message], *, stream: bool) -> None:
        self.plugin, self.calls = plugin, spied(plugin)
        self.caller, self.outer, self.inner = Caller(), Witness(), Witness()
        self.app = ScriptedApp(messages)
        self.stack: PluginMiddleware = around(self.app, [self.caller, self.outer, plugin, self.inner])
        self.stream = stream
        self.learned: Answer | None = None

    @property
    def reached(self) -> int:
        return len(self.app.bodies)


class Answers(Stage):
    """Tests that apply where `answered_request` is overridden."""

    async def test_it_answers_by_itself_in_the_form_that_was_asked_for(self) -> None:
        for stream in self._forms():
            async with self._own(stream=stream) as own:
                before = own.reached, len(own.inner.exchanges)
                seen = (await ask_opened(own.stack, self._asked(stream=own.stream))).answer
                check_faults(own.stack, own.plugin, "a request that it answers")
                own.calls.check("a request that it answers")
                assert own.reached == before[0], "answered_request() reached the app; does it have to learn the answer?"
                assert len(own.inner.exchanges) == before[1], "a plugin further in was given a request that is answered"
                _check_answer(seen, stream=own.stream)
                if own.learned is not None:
                    said, expected = _said(seen, stream=own.stream), _said(own.learned, stream=own.stream)
                    assert said == expected, f"it answers {said!r}, and had learned {expected!r}"

    async def test_its_own_answer_is_seen_by_the_plugins_outside(self) -> None:
        for stream in self._forms():
            async with self._own(stream=stream) as own:
                own.outer.events.clear()
                await ask_opened(own.stack, self._asked(stream=own.stream))
                assert any(event.answer and event.answer.choices for event in own.outer.events), (
                    "no plugin outside saw it"
                )

    async def test_its_own_answer_costs_nothing_unless_it_says_so(self) -> None:
        if not self.answers_for_free:
            return
        for stream in self._forms():
            async with self._own(stream=stream) as own:
                await ask_opened(own.stack, self._asked(stream=own.stream))
                source = own.outer.exchanges[-1].usage_source
                assert source == "cache", (
                    f"its own answer is recorded with the source '{source}', and paid for; say it with "
                    "exchange.answered_from_cache(reply)"
                )

    async def test_only_whole_answers_are_learned(self) -> None:
        """A failure or half an answer must not be given to the next one who asks."""
        if not self.learns:
            return
        first = self.stream()[0]
        for stream in self._forms():
            await self._learns_nothing_of("a failure", answer(FAILURE, status=500, content_type=JSON), stream=stream)
            await self._learns_nothing_of("a refusal", answer(FAILURE, status=429, content_type=JSON), stream=stream)
        if True in self._forms():
            broken = answer(first, b"data: " + FAILURE + b"\n\n", b"data: [DONE]\n\n")
            await self._learns_nothing_of("a cut stream", answer(first))
            await self._learns_nothing_of("a stream that breaks off", answer(first, whole=False))
            await self._learns_nothing_of("an error in the stream", broken)
            await self._learns_nothing_of("a client that left in mid-stream", answer(first, whole=False), leaves=True)

    async def _learns_nothing_of(
        self, name: str, messages: list[Message], *, stream: bool = True, leaves: bool = False
    ) -> None:
        app = ScriptedApp(messages, waits=leaves)
        stack = around(app, [self.make_plugin()])
        async with opened(stack):
            await ask_opened(stack, self._asked(stream=stream), client=_leave if leaves else None)
            reached = len(app.bodies)
            app.messages, app.waits = self._whole(stream=stream), False
            seen = (await ask_opened(stack, self._asked(stream=stream))).answer
        assert len(app.bodies) > reached, f"{name} was learned, and answered with {seen.body!r}"

    async def test_callers_do_not_share_answers_unless_it_says_so(self) -> None:
        if self.shares_answers or not self.learns:
            return
        for stream in self._forms():
            async with self._own(stream=stream) as own:
                own.caller.principal = Principal("other")
                before = own.reached
                await ask_opened(own.stack, self._asked(stream=own.stream))
                assert own.reached > before, "a key was given the answer to a request of another key"

    async def test_its_own_answer_may_end_like_any_other(self) -> None:
        """A client that leaves in the middle of it, and a cancellation wherever it waits."""
        for stream in self._forms()[:1]:
            await self._ends_well(stream=stream)

    async def _ends_well(self, *, stream: bool) -> None:
        async with self._own(stream=stream) as own:
            await ask_opened(own.stack, self._asked(stream=stream), client=_leave)
            own.calls.check("a client that left in the middle of its own answer")
        for number in range(_MOST_AWAITS):
            async with self._own(stream=stream) as own:
                through, reached = cancelled_at(own.stack, number)
                error = (await ask_opened(own.stack, self._asked(stream=stream), through=through)).error
                own.calls.check(f"its own answer, cancelled at await number {number}")
                check_faults(own.stack, own.plugin, "its own answer, cancelled")
            if not reached():
                return
            assert isinstance(error, asyncio.CancelledError), f"the cancellation was lost; {error!r} came up"

    def _forms(self) -> Sequence[bool]:
        """Whether a stream is asked for: both, or one, or nothing for a plugin that answers nothing by itself."""
        if self.answered_request() is None:
            return ()
        return (True, False) if self.answers_streams else (False,)

    @asynccontextmanager
    async def _own(self, *, stream: bool) -> AsyncIterator[Own]:
        own = Own(self.make_plugin(), self._whole(stream=stream), stream=stream)
        async with opened(own.stack):
            if self.learns:
                own.learned = (await ask_opened(own.stack, self._asked(stream=stream))).answer
                assert own.reached, "what it is to learn from did not reach the app"
            yield own

    def _whole(self, *, stream: bool) -> list[Message]:
        return answer(*self.stream()) if stream else answer(DOCUMENT, content_type=JSON)

    def _asked(self, *, stream: bool) -> Mapping[str, Any]:
        asked = self.answered_request()
        assert asked is not None
        return {**asked, "body": {**asked.get("body", {}), "stream": stream}}


async def _leave(call: Drive) -> None:
    for _ in range(20):
        await asyncio.sleep(0)
    call.disconnect()


def _check_answer(seen: Answer, *, stream: bool) -> None:
    assert seen.complete, "its own answer is not whole"
    assert seen.status < 400, f"its own answer has status {seen.status}"
    assert seen.headers.get("x-request-id"), "its own answer must carry x-request-id"
    kind, expected = seen.headers.get("content-type", ""), EVENT_STREAM if stream else JSON
    assert kind.startswith(expected), f"a client that asked for {expected} was answered with {kind!r}"
    assert seen.done or not stream, "a stream ends with data: [DONE]"
    assert _said(seen, stream=stream), "its own answer says nothing"


def _said(seen: Answer, *, stream: bool) -> str:
    """The text of the first choice."""
    text = ""
    for each in seen.events() if stream else [seen.json()]:
        for choice in each.get("choices", [])[:1]:
            text += (choice.get("message") or choice.get("delta") or {}).get("content") or ""
    return text
