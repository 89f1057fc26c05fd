"""BackgroundResponses: waits for the ends of responses in the background, and has their requests concluded then.

What such a response has used is known when its provider has ended. Its client may never ask for it, so we do, with
pauses that grow. What a client's own request tells of its end is as good, and earlier.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Final

import msgspec

from crplugins.core.dialects import RESPONSES
from crplugins.core.errors import INVALID_REQUEST, SERVER_ERROR, GatewayError
from crplugins.core.exchange import Exchange, Reply
from crplugins.core.response_ids import ResponsesPlace
from crplugins.core.sse import Event
from crplugins.core.unended import Unended, has_ended
from crplugins.core.waiting import set_within

FIRST_PAUSE = 1.0
"""Seconds between the answer to the client and the first question how the response stands."""

LONGEST_PAUSE = 20.0

_GROWTH: Final = 1.5

LAST_LOOK_SECONDS: Final = 2.0
"""How long the process, when it ends, waits for what providers say of all that they work on."""

_ASKED_SECONDS: Final = 120.0
"""How long the answer to a request may take whose client has left."""

_GONE: Final = frozenset({404, 410})

logger = logging.getLogger("crplugins.upstream")


class _Watched(msgspec.Struct, eq=False):
    """`told` is what a client's own request has been told of the end."""

    unended: Unended
    exchange: Exchange
    done: Callable[[], None]
    news: asyncio.Event = msgspec.field(default_factory=asyncio.Event)
    told: Event | None = None
    over: asyncio.Event = msgspec.field(default_factory=asyncio.Event)


class BackgroundResponses:
    """All of one process. An end that does not come to be known is recorded with an estimate, and logged."""

    def __init__(self) -> None:
        self._watched: Final[dict[asyncio.Task[None], _Watched]] = {}
        self._closing = False

    def __len__(self) -> int:
        """How many are waited for."""
        return len(self._watched)

    def admit(
        self, exchange: Exchange, *, most: int, seconds: float, began: Callable[[], None], done: Callable[[], None]
    ) -> None:
        """The request asks for one.

        Args:
            most: how many are waited for at once.
            seconds: how long this one is.
            began, done: called where it is waited for, and where it is not any more.

        Raises `GatewayError` 503 if there are as many.
        """
        if self._closing or len(self._watched) >= most:
            raise _too_many(most)

        def begin(unended: Unended) -> None:
            began()
            watched = _Watched(unended, exchange, done)
            task = asyncio.get_running_loop().create_task(self._watch(watched, seconds))
            self._watched[task] = watched
            task.add_done_callback(self._watched.pop)

        exchange.unended = Unended(begin)

    def tell(self, place: ResponsesPlace, own_id: str, told: bytes | None) -> None:
        """A client has read the response itself: `told` is the document that it was sent; None for events."""
        if (watched := self._find(place, own_id)) is None:
            return
        document = None if told is None else RESPONSES.document(told)
        if document is None or (document.answer is not None and document.answer.error is not None):
            watched.news.set()  # its handler says what that failure is
        elif has_ended(document):
            watched.told = document
            watched.news.set()

    async def before_deletion(self, place: ResponsesPlace, own_id: str) -> None:
        """What a response has used is known before it is deleted. Raises `GatewayError` 400 for one that runs."""
        if (watched := self._find(place, own_id)) is None:
            return
        watched.news.set()
        try:
            async with asyncio.timeout(LAST_LOOK_SECONDS):
                await watched.over.wait()
        except TimeoutError:
            raise _runs() from None

    async def close(self) -> None:
        """The process ends: ask once more about each, and conclude the rest by an estimate."""
        self._closing = True
        for watched in self._watched.values():
            watched.news.set()
        tasks = list(self._watched)
        if not tasks:
            return
        _, waiting = await asyncio.wait(tasks, timeout=LAST_LOOK_SECONDS)
        for task in waiting:
            task.cancel()
        await asyncio.wait(tasks)

    def _find(self, place: ResponsesPlace, own_id: str) -> _Watched | None:
        for watched in self._watched.values():
            if watched.unended.id == own_id and watched.unended.place == place:
                return watched
        return None

    async def _watch(self, watched: _Watched, seconds: float) -> None:
        """Concludes the request once, whatever happens."""
        document = None
        try:
            async with asyncio.timeout(seconds):
                document = await self._end_of(watched)
        except asyncio.CancelledError:
            pass  # the process ends, and what is known must be kept
        except TimeoutError:
            logger.warning("a response in the background has not ended within %g s", seconds)
        except Exception:
            logger.exception("waiting for a response in the background has failed")
        try:
            await _conclude(watched, document)
        finally:
            watched.over.set()
            watched.done()

    async def _end_of(self, watched: _Watched) -> Event | None:
        """The response, when it has ended; None if nobody can say."""
        unended, pause = watched.unended, FIRST_PAUSE
        assert unended.state is not None, "it goes on"
        if not unended.id:
            await _learn_id(unended)
        while unended.id:
            if watched.told is None and not self._closing:
                await set_within(watched.news, pause)
            watched.news.clear()
            if watched.told is not None:
                return watched.told
            try:
                document = await unended.state(unended.id)
            except GatewayError as error:
                if error.status in _GONE:
                    return None
            else:
                if has_ended(document):
                    return document
            if self._closing:
                return None
            pause = min(pause * _GROWTH, LONGEST_PAUSE)
        return None


async def _learn_id(unended: Unended) -> None:
    """The answer to the request, whose client has left, is waited for: the id is in it."""
    assert unended.asked is not None, "it goes on"
    try:
        async with asyncio.timeout(_ASKED_SECONDS):
            reply: Reply = await unended.asked
    except (GatewayError, TimeoutError):
        return
    if isinstance(reply.body, AsyncGenerator):
        await reply.body.aclose()


async def _conclude(watched: _Watched, document: Event | None) -> None:
    unended, exchange = watched.unended, watched.exchange
    if document is not None:
        exchange.note_facts(document)
        answer = document.answer
        if answer is not None and answer.error is not None and unended.failure is not None:
            exchange.failed(unended.failure(document), in_stream=True)
    else:
        logger.warning(
            "request %s: nobody knows what its response in the background has used, which is estimated", exchange.id
        )
    for attempt in exchange.attempts:
        attempt.end(exchange.clock())
    stopped = exchange.finish_reason == "cancelled"
    for conclude in unended.conclusions:
        try:
            await conclude(document is not None and not stopped)
        except Exception:
            logger.exception("a request with a response in the background could not be concluded")


def _too_many(most: int) -> GatewayError:
    return GatewayError(
        503,
        f"The server waits for {most} responses in the background, and for no more. Please retry later, or stream the "
        "response instead.",
        type=SERVER_ERROR,
        code="server_full",
        headers=[("retry-after", "10")],
        error_type="overloaded",
    )


def _runs() -> GatewayError:
    return GatewayError(
        400,
        "The response is still in progress. Please cancel it before you delete it.",
        type=INVALID_REQUEST,
        code="response_in_progress",
    )
