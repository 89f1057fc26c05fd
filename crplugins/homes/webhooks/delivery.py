"""Receiver: delivers messages to one address, again and again for some hours, and never keeps a request waiting."""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, Literal, NamedTuple

from crplugins.config.webhooks import EventType
from crplugins.core.bounded_map import BoundedMap
from crplugins.core.errors import GatewayError
from crplugins.core.retry_after import seconds_of
from crplugins.handlers.http.interface import Endpoint, HttpError, Response
from crplugins.homes.webhooks.claims import Claim, Claims
from crplugins.homes.webhooks.message import About, Message, signed_headers, signing_key

PAUSES: Final = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0)
"""Seconds between attempts, each times a random number from 0.5 to 1.5. After some four hours a message is given up."""

MOST_PENDING: Final = 1000
AT_ONCE: Final = 4
SECONDS: Final = 10.0
"""For one attempt, from connecting to the end of the answer."""

_MOST_BYTES: Final = 64 * 1024
"""Of an answer, which says nothing that is read."""

Outcome = Literal["delivered", "retried", "failed", "dropped"]

logger = logging.getLogger("crplugins.webhooks")


class AttemptResult(NamedTuple):
    """Attributes:
    status: of the answer; 0 if there was none.
    wait: seconds, if the answer says when to come again.
    """

    status: int
    reason: str
    wait: float | None = None

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300


class Receiver:
    """Tells one address.

    Each message is sent by a task of its own, of which there are `MOST_PENDING` at most; what comes beyond is dropped,
    and found again by whoever looks next. `AT_ONCE` attempts run at the same time.

    Args:
        name: for the log; no credentials in it.
        open_endpoint: makes the endpoint, in the running loop.
        clock: seconds since 1970.

    Attributes:
        counts: how many attempts and messages ended in each way.
    """

    def __init__(
        self,
        name: str,
        secret: str,
        claims: Claims,
        open_endpoint: Callable[[], Awaitable[Endpoint]],
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.counts: Final[Counter[tuple[EventType, Outcome]]] = Counter()
        self._name, self._key, self._claims, self._open_endpoint = name, signing_key(secret), claims, open_endpoint
        self._clock, self._sleep = clock, sleep
        self._pending: Final[dict[About, asyncio.Task[None]]] = {}
        self._done: Final[BoundedMap[About, bool]] = BoundedMap()
        """Messages that nobody sends any more, so that the store is asked once."""
        self._room = asyncio.Semaphore(AT_ONCE)
        self._closing = asyncio.Event()
        self._gone = False

    @property
    def pending(self) -> int:
        return len(self._pending)

    def knows(self, about: About) -> bool:
        """Whether such a message is delivered or on its way, as far as is known here, or nothing more is wanted."""
        return self._gone or about in self._done or about in self._pending

    def offer(self, message: Message) -> None:
        """Deliver it, unless it is known. Returns at once."""
        if self._closing.is_set() or self.knows(message.about):
            return
        if len(self._pending) >= MOST_PENDING:
            self.counts[message.type, "dropped"] += 1
            return
        task = asyncio.create_task(self._deliver(message), name=f"crplugins.webhooks: {message.type}")
        self._pending[message.about] = task
        task.add_done_callback(lambda _: self._pending.pop(message.about, None))

    async def close(self, seconds: float) -> None:
        """Try once more, at once, what waits for its next attempt. What then remains is left to another process, or to
        the next start."""
        self._closing.set()
        tasks = list(self._pending.values())
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _deliver(self, message: Message) -> None:
        try:
            claim = await self._claims.claim(message)
        except GatewayError:
            return  # the store is unavailable: whoever looks next tries again
        if not isinstance(claim, Claim):
            if claim == "delivered":
                self._done[message.about] = True
            return
        try:
            if await self._attempts(message):
                self._done[message.about] = True
                await claim.delivered()
        except GatewayError:
            logger.warning("webhook %s: that %s was told could not be noted", self._name, message.type)
        finally:
            claim.release()

    async def _attempts(self, message: Message) -> bool:
        """Whether nobody need send it any more: it is delivered, or given up."""
        for pause in (*PAUSES, None):
            last = self._closing.is_set()
            async with self._room:
                attempt = await self._attempt(message)
            if attempt.good:
                self.counts[message.type, "delivered"] += 1
                return True
            if attempt.status == 410:  # the standard: the receiver wants nothing more
                logger.error("webhook %s: answers 410, and is told nothing more until the next start", self._name)
                self._gone = True
                pause = None
            if pause is None:
                self.counts[message.type, "failed"] += 1
                logger.error("webhook %s: %s is given up: %s", self._name, message.type, attempt.reason)
                return True
            self.counts[message.type, "retried"] += 1
            if last:
                return False
            wait = max(pause * random.uniform(0.5, 1.5), attempt.wait or 0.0)  # noqa: S311  # spreads attempts
            logger.warning("webhook %s: %s, again in %.0f s", self._name, attempt.reason, wait)
            await self._pause(wait)
        raise AssertionError("the last pause is None")

    async def _pause(self, seconds: float) -> None:
        """Sleep, or until the process ends."""
        sleeping = asyncio.ensure_future(self._sleep(seconds))
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait((sleeping, closing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            closing.cancel()

    async def _attempt(self, message: Message) -> AttemptResult:
        try:
            endpoint = await self._open_endpoint()
            headers = signed_headers(message, self._key, self._clock())
            response = await endpoint.post(
                message.body, headers, connect_seconds=SECONDS, seconds=SECONDS, whole_seconds=SECONDS
            )
            try:
                await _read(response)
                wait = _wait(response.headers.get("retry-after", ""), self._clock)
                return AttemptResult(response.status, f"answers {response.status}", wait)
            finally:
                response.close()
        except TimeoutError:
            return AttemptResult(0, "does not answer in time")
        except HttpError as error:
            return AttemptResult(0, str(error))
        except (OSError, ValueError) as error:
            return AttemptResult(0, type(error).__name__)


async def _read(response: Response) -> None:
    size = 0
    while size < _MOST_BYTES and (some := await response.read()):
        size += len(some)


def _wait(hint: str, clock: Callable[[], float]) -> float | None:
    """Seconds of `retry-after`, up to a day."""
    seconds = seconds_of(hint, wall_clock=clock)
    return None if seconds is None else min(seconds, 86_400.0)
