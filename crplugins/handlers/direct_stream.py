"""DirectStream: relays an upstream's event stream byte for byte, and never lets a cut stream look complete.

Completeness notes from the events whether the answer came to its end; Watchdog closes a stream that has stalled; linger
waits in the background for the end of the body, so that the connection can be used again.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any, Final

import aiohttp
import msgspec

from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Attempt, Exchange
from crplugins.core.sse import DONE, Event, EventTooLarge, Splitter
from crplugins.handlers import upstream_errors

_LINGER_SECONDS = 0.25
"""How long to wait for the end of the body after [DONE]."""


class DirectStream:
    """Relays one response.

    Only whole events are sent, so that an error frame never lands inside half an event. Events without data that are
    more than comments (`event: ping`, `retry:` alone) are dropped: seven to nine of eleven clients fail on them.
    """

    def __init__(
        self,
        deployment: str,
        secrets: tuple[str | None, ...],
        response: aiohttp.ClientResponse,
        timeout: float,
        exchange: Exchange,
        attempt: Attempt,
    ) -> None:
        self._deployment = deployment
        self._secrets = secrets
        self._response = response
        self._exchange = exchange
        self._clock = exchange.clock
        self._attempt = attempt
        self._splitter = Splitter()
        self._state = Completeness()
        self._malformed = False
        self._timeout = timeout  # seconds without a byte
        self._watchdog: Watchdog | None = None

    async def begin(self) -> AsyncGenerator[bytes, None]:
        """The frames, returned when the first have arrived: a failure before them can still be sent as a status.

        Raises `GatewayError` for a stream that fails before its first event; the iterator raises it for later failures.
        """
        events: list[Event] = []
        while not events:
            piece = await self._next_piece()
            if not piece:
                raise upstream_errors.cut_short(self._deployment, "no event came")
            events = self._split(piece)
        opening = events[0].answer
        if opening is not None and opening.error is not None and not opening.choices:
            raise upstream_errors.refusal_in_stream(events[0].data or b"", self._deployment, self._secrets)
        frames = self._frames(events)
        await anext(frames)  # closing a generator that was never started runs nothing of it, and leaks the connection
        return frames

    async def _frames(self, events: list[Event]) -> AsyncGenerator[bytes, None]:
        self._watchdog = Watchdog(self._timeout, self._response.close)
        try:
            yield b""
            while True:
                if passable := list(self._passable(events)):
                    frames = passable[0].raw if len(passable) == 1 else b"".join([event.raw for event in passable])
                    self._exchange.split = frames, passable
                    yield frames
                if self._malformed:
                    raise upstream_errors.malformed(self._deployment, "an event is not JSON")
                if self._state.done:
                    return
                piece = await self._next_piece()
                if not piece:
                    yield self._last_frames()
                    return
                events = self._split(piece)
        except GatewayError as error:
            self._attempt.fail(error, self._clock())
            raise
        finally:
            self._close()

    async def _next_piece(self) -> bytes:
        """More bytes; none at the end of the body, or where a stream breaks that has already sent its error."""
        try:
            piece = await self._response.content.readany()
        except (aiohttp.ClientError, OSError, ValueError) as cause:
            if self._state.failed:
                return b""
            raise self._broken(cause) from None
        if self._watchdog is not None:
            self._watchdog.reset()
        return piece

    def _broken(self, cause: Exception) -> GatewayError:
        if self._watchdog is not None and self._watchdog.expired:
            return upstream_errors.timed_out(self._deployment)
        return upstream_errors.cut_short(self._deployment, repr(cause))

    def _split(self, piece: bytes) -> list[Event]:
        try:
            return self._splitter.feed(piece)
        except EventTooLarge as error:
            raise upstream_errors.malformed(self._deployment, error) from None

    def _passable(self, events: Iterable[Event]) -> Iterable[Event]:
        for event in events:
            if not event.data:
                if event.is_comment:
                    yield event
                continue
            if not self._state.see(event):
                self._malformed = True
                return
            failed = event.answer is not None and event.answer.error is not None
            yield self._scrubbed(event) if failed else event

    def _last_frames(self) -> bytes:
        """The frames to send at the end of the body. Raises `GatewayError` if the answer had not come to its end."""
        event = self._splitter.finish()
        frames = b""
        if event is not None and event.data:
            if not self._state.see(event):
                raise upstream_errors.cut_short(self._deployment, "the body ended inside an event")
            frames = event.raw.rstrip(b"\r\n") + b"\n\n"  # without its blank line every client ignores it
        if self._state.done:
            return frames
        if self._state.complete or self._state.failed:
            return frames + DONE.raw
        raise upstream_errors.cut_short(self._deployment, "neither finish_reason nor [DONE] came")

    def _scrubbed(self, event: Event) -> Event:
        """An error event whose message names no address or credential of the upstream."""
        document: dict[str, Any] = msgspec.json.decode(event.data or b"{}")
        error = document["error"]
        message = error.get("message") if isinstance(error, dict) else error
        if not isinstance(message, str):
            return event
        safe = upstream_errors.scrub(message, self._secrets)
        if safe == message:
            return event
        if isinstance(error, dict):
            error["message"] = safe
        else:
            document["error"] = safe
        return event.with_data(msgspec.json.encode(document))

    def _close(self) -> None:
        """Returns the connection to the pool, or closes it at once if the upstream is still sending."""
        if self._watchdog is not None:
            self._watchdog.stop()
        if self._attempt.ended is None:
            self._attempt.ended = self._clock()
        if self._state.failed and not self._attempt.error_type:
            self._attempt.error_type = "upstream_stream_broken"
        if self._state.done and not self._response.content.at_eof():
            linger(self._response)  # in the background: for the client the request is over
        elif self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


class Completeness:
    """Whether a streamed answer has come to its end, judged by its events so far.

    Nine of eleven clients take a clean end of a cut stream for success, and a tool call that was cut becomes a call
    with wrong arguments. So an end counts only with a finish_reason for every choice, or with [DONE].
    """

    __slots__ = ("_open", "_seen", "done", "failed")

    def __init__(self) -> None:
        self._open: set[int] = set()
        self._seen = False
        self.done = False
        self.failed = False

    @property
    def complete(self) -> bool:
        """[DONE] came, or every choice that began has its finish_reason."""
        return self.done or (self._seen and not self._open)

    def see(self, event: Event) -> bool:
        """Notes an event. False if its data is neither JSON nor [DONE]."""
        answer = event.answer
        if answer is None:
            self.done = self.done or event.is_done
            return event.data is None or event.is_done
        if answer.error is not None:
            self.failed = True
        for choice in answer.choices or ():
            self._seen = True
            if choice.finish_reason is None:
                self._open.add(choice.index)
            else:
                self._open.discard(choice.index)
        return True


class Watchdog:
    """Calls `on_expiry` once, as soon as `seconds` have passed without a `reset`."""

    __slots__ = ("_handle", "_loop", "_on_expiry", "_reset_at", "_seconds", "expired")

    def __init__(self, seconds: float, on_expiry: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._on_expiry = on_expiry
        self._reset_at = self._loop.time()
        self.expired = False
        self._handle = self._loop.call_later(seconds, self._check)

    def reset(self) -> None:
        """Starts the time anew: data has arrived. Setting a timer here would cost more than relaying a chunk."""
        self._reset_at = self._loop.time()

    def stop(self) -> None:
        self._handle.cancel()

    def _check(self) -> None:
        remaining = self._reset_at + self._seconds - self._loop.time()
        if remaining > 0:
            self._handle = self._loop.call_later(remaining, self._check)
        else:
            self.expired = True
            self._on_expiry()


_lingering: Final[set[asyncio.Task[None]]] = set()


def linger(response: aiohttp.ClientResponse) -> None:
    """Waits a moment, as a task, for the end of the body, so that the connection can be used again."""
    task = asyncio.create_task(_read_end(response))
    _lingering.add(task)  # the loop itself keeps only a weak reference
    task.add_done_callback(_lingering.discard)


async def _read_end(response: aiohttp.ClientResponse) -> None:
    try:
        async with asyncio.timeout(_LINGER_SECONDS):
            await response.content.readany()
    except (TimeoutError, aiohttp.ClientError, OSError):
        pass
    if response.content.at_eof():
        response.release()
    else:
        response.close()
