"""What a plugin may do to an answer on its way out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import cast

import msgspec

from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.sse import Event
from crplugins.testing.answer import Answer
from crplugins.testing.asgi import ASGIApp, Message, Receive, Scope, Send
from crplugins.testing.contract.stage import (
    DOCUMENT,
    FAILURE,
    JSON,
    PATH,
    STREAM,
    Stage,
    Upstream,
    Witness,
    answer,
    around,
    ask,
    check_faults,
    ended,
    opened,
    request,
)
from crplugins.testing.drive import Drive
from crplugins.testing.watch import Watch

ODD_SPELLINGS = (
    b'data: { "choices" : [ { "index" : 0, "delta" : { "content" : "\\u0041\xc3\xa9" } } ], "x" : 1.50 }\n\n',
    b'data:{"choices":[{"index":0,"delta":{"content":"b"}}],"created":123456789012345678901234567890}\n\n',
    b'event: message\r\nid: 7\r\ndata: {"choices": [{"index": 0, "delta": {"content": "c"}}]}\r\n\r\n',
    b'data: {"choices": [{"index": 0,\ndata:  "delta": {}, "finish_reason": "stop"}]}\n\n',
    b"data:[DONE]\n\n",
)
ODD_ANSWERS = (
    ("an error", answer(FAILURE, status=429, content_type=JSON)),
    ("a page of some proxy", answer(b"<h1>Bad gateway</h1>", status=502, content_type="text/html")),
    ("an empty document", answer(content_type=JSON)),
    ("a document that is no object", answer(b"[1]", content_type=JSON)),
    ("a broken document", answer(DOCUMENT[:40], content_type=JSON)),
    ("an empty object", answer(b"{}", content_type=JSON)),
    ("an empty stream", answer()),
    ("comments", answer(b": keep-alive\n\n", *STREAM, b":\n\n")),
    ("a stream without [DONE]", answer(*STREAM[:-1])),
    ("a stream that is [DONE]", answer(STREAM[-1])),
    ("a chunk that is no JSON", answer(STREAM[0], b'data: {"choices": [\n\n', *STREAM[1:])),
    ("chunks that are no objects", answer(b"data: []\n\n", b"data: 7\n\n", b"data: null\n\n", b"data:\n\n", *STREAM)),
    ("nulls", answer(b'data: {"choices": null, "usage": null}\n\n', b'data: {"choices": [null]}\n\n', *STREAM)),
    ("no choices", answer(b'data: {"choices": []}\n\n', b"data: {}\n\n", *STREAM)),
    ("odd usage", answer(b'data: {"choices": [], "usage": {"prompt_tokens": "x"}}\n\n', *STREAM)),
    ("an error in the stream", answer(STREAM[0], b"data: " + FAILURE + b"\n\n", STREAM[-1])),
    ("bytes that are no text", answer(b"data: \xff\xfe\n\n", *STREAM)),
    ("an event in pieces", answer(*(STREAM[0][i : i + 3] for i in range(0, len(STREAM[0]), 3)), *STREAM[1:])),
)


class Streams(Stage):
    async def test_the_first_event_is_out_before_the_second_is_in(self) -> None:
        gate, kept = asyncio.Event(), False

        async def read_first(call: Drive) -> None:
            nonlocal kept
            try:
                await call.next_body(within=1.0)
            except TimeoutError:
                kept = True
            gate.set()

        app = Upstream(answer(*self.stream()), gate=gate.wait)
        await ask(around(app, [self.make_plugin()]), self.accepted_request(), client=read_first)
        assert not kept, "the plugin keeps the first event until a later one has come"

    async def test_an_event_it_does_not_change_keeps_its_bytes(self) -> None:
        outer, inner = Witness(), Witness()
        app = Upstream(answer(*self.stream(), *ODD_SPELLINGS))
        await ask(around(app, [outer, self.make_plugin(), inner]), self.accepted_request())
        arrived = {event.raw for event in inner.events}
        for event in outer.events:
            if event.raw not in arrived:
                twins = [one.raw for one in inner.events if same(one, event)]
                assert not twins, f"an event was written again though nothing in it had changed: {twins[0]!r}"

    async def test_an_observer_changes_nothing(self) -> None:
        plugin = self.make_plugin()
        if not plugin.observes:
            return
        for messages in (answer(*self.stream()), answer(DOCUMENT, content_type=JSON)):
            without = await self._messages(messages, [])
            seen = await self._messages(messages, [plugin])
            assert seen == without, f"{plugin.name} observes, and the client or the app noticed it"

    async def test_odd_answers_are_no_bug(self) -> None:
        for name, messages in ODD_ANSWERS:
            plugin = self.make_plugin()
            stack = around(Upstream(messages), [plugin])
            error = (await ask(stack, self.accepted_request())).error
            check_faults(stack, plugin, name)
            assert error is None, f"{name}: {error!r} came up"

    async def test_concurrent_requests_do_not_mix(self) -> None:
        whole, failed = answer(*self.stream()), answer(FAILURE, status=500, content_type=JSON)
        for answers in ([whole, failed], [failed, whole], [whole, whole]):
            alone = [(await self._together([messages]))[0] for messages in answers]
            assert await self._together(answers) == alone, "a request went differently because of another one"

    async def _messages(self, messages: Sequence[Message], plugins: list[Plugin]) -> list[object]:
        """What a client and an app can notice of a request; bodies by identity."""
        app, outer = Upstream(messages), Witness()
        seen = (await ask(around(app, [outer, *plugins, Witness()]), self.accepted_request())).answer
        own = {"x-request-id", *self.sets_headers}
        headers = [pair for pair in seen.header_list if pair[0] not in own]
        events = [(event.raw, event.data, event.name) for event in outer.events]
        return [seen.status, headers, app.bodies, [id(message) for message in seen.messages[1:]], events]

    async def _together(self, answers: Sequence[Sequence[Message]]) -> list[object]:
        """Run requests at the same time on one plugin; what became of each."""
        app, witness = Holding(), Witness()
        stack, calls = around(app, [witness, self.make_plugin()]), list[Drive]()
        async with opened(stack), AsyncExitStack() as running:
            for messages in answers:
                app.messages = list(messages)
                call = Drive(cast("ASGIApp", stack), path=PATH, **request(self.accepted_request()))
                calls.append(await running.enter_async_context(call))
                await app.holds(call)
            app.go.set()
            for call in calls:
                await ended(call)
        return [outcome(call, exchange) for call, exchange in zip(calls, witness.exchanges, strict=False)]


class Holding(Upstream):
    """Sends the start and the first body of `messages`, as they are when the request comes, and the rest on `go`."""

    def __init__(self) -> None:
        super().__init__([])
        self.go = asyncio.Event()
        self._held: list[Scope] = []
        self._watch = Watch()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        messages = self.messages
        await self._read(receive)
        for message in messages[:2]:
            await send(message)
        self._held.append(scope)
        self._watch.notify()
        await self.go.wait()
        for message in messages[2:]:
            await send(message)
            await asyncio.sleep(0)

    async def holds(self, call: Drive) -> None:
        """Return once the request of `call` is held, or over."""
        call.task.add_done_callback(self._watch.notify)
        await self._watch.until(lambda: call.task.done() or self._is_held(call), "a request that begins", within=30.0)

    def _is_held(self, call: Drive) -> bool:
        return any(scope is call.scope for scope in self._held)


def outcome(call: Drive, exchange: Exchange) -> list[object]:
    """What a client and the plugins further out know of a request when it is over, ids and times left out."""
    seen = Answer(tuple(call.sent))
    facts = (exchange.requested_model, exchange.served_model, exchange.principal, exchange.usage, exchange.usage_source)
    return [seen.status, seen.body, seen.complete, exchange.outcome, exchange.finish_reason, exchange.error, *facts]


def same(one: Event, other: Event) -> bool:
    """Two events say the same, whatever their spelling."""
    if one.data is None or other.data is None:
        return one.data is other.data
    if one.data == other.data:
        return True
    try:
        return bool(msgspec.json.decode(one.data) == msgspec.json.decode(other.data))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
