"""LitellmStream: one streamed answer on its way from litellm to the client.

RawStream reads the provider's items, a Tap notes what litellm drops from them, StreamRepair builds OpenAI's chunks of
them, and LitellmStream judges whether the answer came to its end and counts its tokens.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from inspect import isasyncgen
from typing import Any, Final, Protocol, Self

from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange
from crplugins.core.sse import Event, Splitter
from crplugins.handlers.deadlines import Patience
from crplugins.handlers.litellm.errors import Failures
from crplugins.handlers.litellm.finish import ProviderFailed
from crplugins.handlers.litellm.repair import StreamRepair
from crplugins.handlers.litellm.tap import Tap, hang_up
from crplugins.handlers.litellm.unchanged import TextChunk
from crplugins.handlers.litellm.usage import UsageObject, as_usage, note_provider, usage_object

_GRACE_SECONDS: Final = 1.0
"""How long to wait for [DONE] when the answer is finished and counted. Some providers send heartbeats instead."""

_USAGE_SECONDS: Final = 5.0
"""How long to wait for usage when the answer is finished."""


class LitellmStream:
    """Yields complete events. An answer that did not come to its end raises `GatewayError` in place of [DONE].

    `started` is when the request was sent, by the clock of the loop.
    """

    def __init__(
        self,
        exchange: Exchange,
        raw: "RawItems",
        repair: StreamRepair,
        failures: Failures,
        patience: Patience,
        started: float,
        skip_malformed: int,
    ) -> None:
        self._exchange = exchange
        self._attempt = exchange.attempts[-1]
        self._raw = raw
        self._repair = repair
        self._failures = failures
        self._patience = patience
        self._skip_malformed = skip_malformed
        raw.tap.on_malformed = self._see_malformed
        self._over_at = started + patience.whole
        self._limit: asyncio.Timeout = asyncio.timeout_at(started + patience.first_token)
        self._missed = patience.first
        self._counted: UsageObject | None = None
        self._splitter = Splitter()

    async def begin(self) -> AsyncGenerator[bytes, None]:
        """The events, returned when the first has arrived: a failure before it can still be sent as a status."""
        events = self._events()
        await anext(events)
        return events

    async def _events(self) -> AsyncGenerator[bytes, None]:
        try:
            frames = await self._next_frames()
            yield b""  # to `begin`: closing a generator that has not started would not run the `finally`
            while frames:
                yield frames
                self._keep_usage()
                self._await_token(self._patience.stall)
                frames = await self._next_frames()
            self._attempt.end(self._exchange.clock())
            frames = self._repair.end()
            yield self._split(frames, self._splitter.feed(frames))
        except GatewayError as error:
            self._attempt.fail(error, self._exchange.clock())
            raise
        finally:
            self._attempt.end(self._exchange.clock())
            self._keep_usage()
            self._raw.tap.over()
            await self._raw.aclose()

    async def _next_frames(self) -> bytes:
        """Frames of the next items with new content; none at the end of a complete answer."""
        try:
            return await self._read()
        except Exception as error:
            if self._is_over():  # what follows a complete answer never turns it into a failure
                return b""
            raise self._failure(error) from None

    def _await_token(self, seconds: float) -> None:
        """Sets the deadline of the next token, which is never later than that of the whole answer."""
        at = asyncio.get_running_loop().time() + seconds
        self._missed = ("stall_timeout", seconds) if at < self._over_at else ("timeout", self._patience.whole)
        self._limit = asyncio.timeout_at(min(at, self._over_at))

    async def _read(self) -> bytes:
        """The deadline is for a token: an item that says nothing, such as a comment, does not begin it anew."""
        frames, grace = b"", None
        async with self._limit as limit:
            while not frames:
                if self._repair.ends and (grace_now := self._grace()) != grace:
                    grace = grace_now
                    seconds = self._patience.stall if grace is None else grace
                    limit.reschedule(min(asyncio.get_running_loop().time() + seconds, self._over_at))
                try:
                    item = await anext(self._raw)
                except StopAsyncIteration:
                    self._check_end()
                    return b""
                if item.__class__ is TextChunk and not self._attempt.left_out:
                    event = self._repair.text_event(item)
                    if event is not None:
                        return self._split(event.raw, [event])
                counted = self._repair.usage
                frames = self._repair.frames(item)
                if self._attempt.left_out and self._repair.calls_without_name:
                    raise self._failures.malformed("a tool call has no beginning")
                if self._repair.usage is not counted:
                    note_provider(self._exchange, item)
                if not frames:
                    self._keep_usage()
        return self._split(frames, self._splitter.feed(frames))

    def _split(self, frames: bytes, events: list[Event]) -> bytes:
        """The frames, which plugins need not split again."""
        self._exchange.split = frames, events
        return frames

    def _see_malformed(self) -> None:
        """An event is left out, if it is one of few. In the middle of a tool call it may be a part of the arguments."""
        if self._is_over():
            return
        if self._repair.calls or not self._failures.leaves_out(self._attempt, self._skip_malformed):
            raise self._failures.malformed("an event is no chunk")

    def _grace(self) -> float | None:
        """Seconds to wait for more when every choice has said its last word; None before."""
        if self._ended_and_counted():
            return _GRACE_SECONDS
        return _USAGE_SECONDS if self._repair.settled else None

    def _is_over(self) -> bool:
        """The answer has come to its end, whatever is sent or breaks after it.

        A finish reason beside text is not enough: some providers have one on every chunk. Nor is it enough against an
        error, which OpenRouter sends after a finish reason: then the counts have to be in. Where they are, one
        beside the last words is enough.
        """
        repair, tap = self._repair, self._raw.tap
        if tap.unfinished or not repair.finished:
            return False
        return tap.done or self._ended_and_counted() or (repair.settled and tap.error is None)

    def _ended_and_counted(self) -> bool:
        """Finish reasons and usage are in: all that comes before [DONE]."""
        repair = self._repair
        return repair.usage is not None and (repair.settled or (repair.seems_settled and not self._raw.tap.unfinished))

    def _check_end(self) -> None:
        repair, tap = self._repair, self._raw.tap
        if tap.error is not None and not self._is_over():
            raise ProviderFailed(tap.error)
        ended = repair.finished
        if not self._attempt.left_out:  # else the reason why the answer has ended may have been in what was left out
            ended = ended or (tap.done and repair.finished_silently) or (tap.ended and repair.begun)
        if tap.unfinished or not ended:
            raise self._failures.cut_short("neither a finish reason for each choice nor an end mark came")

    def _failure(self, error: Exception) -> GatewayError:
        tap = self._raw.tap
        if tap.error is not None:
            self._repair.usage = usage_object(tap.usage) or self._repair.usage  # OpenRouter counts a failed answer too
            return self._failures.in_stream(tap.error)
        if isinstance(error, ProviderFailed):
            self._repair.usage = error.usage or self._repair.usage
            return self._failures.in_stream(error.error)
        if self._limit.expired():
            return self._failures.timed_out(*self._missed)
        return self._failures.of(error, reading=True, begun=self._repair.begun)

    def _keep_usage(self) -> None:
        """Keep each of the provider's counts once, when what it counts has passed and nothing else has."""
        usage = self._repair.usage
        if usage is None and self._raw.tap.usage is not None:
            usage = self._repair.usage = usage_object(self._raw.tap.usage)
        if usage is not None and usage is not self._counted:
            self._counted = usage
            self._exchange.counted(as_usage(usage), "provider")


class RawItems(Protocol):
    """The items of a provider's stream, of either path.

    An item is one of OpenAI's chunks, as a dict, as litellm's object or as a `TextChunk`, or litellm's generic dict
    (`text`, ...).
    """

    tap: Tap

    def __anext__(self) -> Awaitable[Any]: ...

    def __aiter__(self) -> Self: ...

    async def aclose(self) -> None:
        """Ends the upstream request now, in whatever state it is."""


class RawStream:
    """The items of a provider's stream as litellm's parsers return them, before litellm's stream wrapper changes them.

    The wrapper (`CustomStreamWrapper`) loses refusals and the roles and finish reasons of all choices but the first,
    invents ends and usage, and takes a third of litellm's CPU. It is used only for the few providers whose items it
    alone can read (replicate, predibase, nlp_cloud, triton, sagemaker's boto3 streams and text completions).

    Args:
        wrapper: what `acompletion(stream=True)` returned.
        ends_silently: the end of the items is the end of the answer (litellm's mock responses).
    """

    def __init__(self, wrapper: Any, *, ends_silently: bool = False) -> None:
        self.tap = Tap()
        self._wrapper = wrapper
        self._ends_silently = ends_silently
        self._stream: Any = None
        self._items: AsyncIterator[Any] | None = None
        self._raw = True
        self._exhausted = False
        self._held: list[Any] = []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if self._items is None:
            await self._open()
        if self._held:
            return self._held.pop()
        assert self._items is not None
        try:
            item = await anext(self._items)
        except StopAsyncIteration:
            self._exhausted = True
            if self._ends_silently or not self._raw:
                self.tap.ended = self._ends_silently or self._wrapper_finished()
            raise
        return item if self._raw else self._as_reported(item)

    async def aclose(self) -> None:
        """Ends the upstream request now, in whatever state it is."""
        if not self._exhausted:
            await hang_up(self._stream)
        items, self._items = self._items, _nothing()
        if self._raw and isasyncgen(items):
            await items.aclose()
        if self._stream is not None:
            self._wrapper.completion_stream = self._stream
        await self._wrapper.aclose()

    async def _open(self) -> None:
        """Starts reading. The first item shows whether the items can be read without the wrapper."""
        wrapper = self._wrapper
        if wrapper.completion_stream is None:
            await wrapper.fetch_stream()  # some providers' requests are sent only here
        self._stream = stream = wrapper.completion_stream
        if not hasattr(stream, "__aiter__"):
            self._raw, self._items = False, aiter(wrapper)
            return
        self.tap.attach(stream)
        self._items = aiter(stream)
        async for item in self._items:
            if item is not None:
                self._put_back(item)
                return

    def _put_back(self, item: Any) -> None:
        if is_readable(item):
            self._held.append(item)
            return
        assert self._items is not None
        self._wrapper.completion_stream = _chained(item, self._items)
        self._raw, self._items = False, aiter(self._wrapper)

    def _wrapper_finished(self) -> bool:
        return bool(self._wrapper.received_finish_reason or self._wrapper.intermittent_finish_reason)

    def _as_reported(self, item: Any) -> Any:
        """An item of the wrapper, without the end and the usage that the wrapper invented."""
        if not self._wrapper_finished():
            for choice in item.choices:
                choice.finish_reason = None
        if not any(getattr(chunk, "usage", None) for chunk in self._wrapper.chunks):
            item.usage = None
        return item


def is_readable(item: Any) -> bool:
    """Whether the item has the shape of a chunk of chat completions, or litellm's generic one."""
    if isinstance(item, dict):
        return "choices" in item or "error" in item or {"text", "is_finished"} <= item.keys()
    choices = getattr(item, "choices", None)
    return isinstance(choices, list) and all(hasattr(choice, "delta") for choice in choices)


async def _chained(first: Any, rest: AsyncIterator[Any]) -> AsyncIterator[Any]:
    yield first
    async for item in rest:
        yield item


async def _nothing() -> AsyncIterator[Any]:
    return
    yield
