"""Availability: whether a store is asked, and what the log says of it."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

from crplugins.limits.store import StoreUnavailable

FAILURES: Final = 3
FIRST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 5.0


class Breaker:
    """Opens after some failures in a row, then lets one attempt through at a time until one succeeds.

    Args:
        failures: in a row, that open it.
        first, longest: seconds until the first attempt and, doubling with each that fails, at most.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        failures: int = FAILURES,
        first: float = FIRST_SECONDS,
        longest: float = LONGEST_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._first, self._longest = failures, first, longest
        self._clock = clock
        self._failures = 0
        self._pause = first
        self._attempt_at: float | None = None
        self._attempting = False

    @property
    def open(self) -> bool:
        """Whether calls are to fail at once."""
        return self._attempt_at is not None

    @property
    def wait(self) -> float:
        """Seconds until the next attempt is let through; 0 if one would be now."""
        return 0.0 if self._attempt_at is None else max(0.0, self._attempt_at - self._clock())

    def allows(self) -> bool:
        """Whether to call. Of an open breaker True is an attempt: whoever gets it tells how it went.

        One that nobody tells of, because its caller has been cancelled, is followed by another after the same pause.
        """
        if self._attempt_at is None:
            return True
        if self.wait:
            return False
        self._attempt_at = self._clock() + self._pause
        self._attempting = True
        return True

    def succeeded(self) -> None:
        self._failures, self._pause = 0, self._first
        self._attempt_at, self._attempting = None, False

    def failed(self) -> None:
        """Calls that were under way when it opened may fail later; they change nothing."""
        self._failures += 1
        if self._attempting:
            self._pause = min(2 * self._pause, self._longest)
        elif self._attempt_at is not None or self._failures < self._most:
            return
        self._attempting = False
        self._attempt_at = self._clock() + self._pause


LOG_SECONDS: Final = 60.0

T = TypeVar("T")

logger = logging.getLogger("crplugins.limits")


class Availability:
    """Of something that is given up after some failures in a row, until a probe succeeds.

    Args:
        probe: one attempt. Raises `StoreUnavailable`.
        gone: is called when it is given up; sees to it that `returned` is awaited.
        meanwhile: what happens until it is back, for the log.
        breaker: when to give up and when to try again.
        clock: monotonic seconds.

    Attributes:
        failures: calls and probes that were not answered.
    """

    def __init__(
        self,
        probe: Callable[[], Awaitable[object]],
        gone: Callable[[], object],
        *,
        meanwhile: str,
        breaker: Breaker,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._probe, self._gone = probe, gone
        self._meanwhile = meanwhile
        self._breaker = breaker
        self._clock = clock
        self._asking: set[asyncio.Timeout] = set()
        self._gone_since = 0.0
        self._speak_at = clock()
        self.failures = 0

    def __bool__(self) -> bool:
        return not self._breaker.open

    async def ask(self, call: Awaitable[T]) -> T:
        """Its result. Raises `StoreUnavailable`, also if the store is given up in the meantime."""
        try:
            async with asyncio.timeout(None) as waiting:
                self._asking.add(waiting)
                try:
                    result = await call
                finally:
                    self._asking.discard(waiting)
        except TimeoutError:
            self.failures += 1
            raise StoreUnavailable("the store has just been given up") from None
        except StoreUnavailable as error:
            self._failed(error)
            raise
        self._succeeded()
        return result

    async def begin(self) -> None:
        """Probes until one succeeds or it is given up."""
        while not self._breaker.open:
            with suppress(StoreUnavailable):
                await self.ask(self._probe())
                break

    async def returned(self) -> None:
        """Waits until the store is not given up any more; it is this that tries."""
        while self._breaker.open:
            await asyncio.sleep(self._breaker.wait)
            if self._breaker.allows():
                with suppress(Exception):  # whatever it is, the next attempt may succeed
                    await self.ask(self._probe())

    def _succeeded(self) -> None:
        was_open = self._breaker.open
        self._breaker.succeeded()
        if was_open:
            logger.warning("the store of limits answers again after %.1f s", self._clock() - self._gone_since)

    def _failed(self, error: StoreUnavailable) -> None:
        self.failures += 1
        was_open = self._breaker.open
        self._breaker.failed()
        if was_open:
            return
        if self._breaker.open:
            self._give_up(error)
        elif self._clock() >= self._speak_at:
            self._speak_at = self._clock() + LOG_SECONDS
            logger.warning("a call of the store of limits failed: %s", error)

    def _give_up(self, error: StoreUnavailable) -> None:
        """Nobody waits any longer; those who have not yet been given a connection have not even begun to."""
        self._gone_since = self._clock()
        logger.error("the store of limits is given up for now: %s; %s", error, self._meanwhile)
        asking, self._asking = self._asking, set()
        now = asyncio.get_running_loop().time()
        for waiting in asking:
            waiting.reschedule(now)
        self._gone()
