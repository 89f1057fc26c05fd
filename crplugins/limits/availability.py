"""Availability: whether a store is called or skipped during an outage, and what the log says about it.

`Availability` runs the calls and probes; its `CircuitBreaker` counts failures and says when to call again.
"""

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
LOG_SECONDS: Final = 60.0
"""At least this long between two log records of single failed calls."""

T = TypeVar("T")

logger = logging.getLogger("crplugins.limits")


class Availability:
    """Declares a store unavailable after some failures in a row, until a probe succeeds.

    Args:
        probe: one attempt. Raises `StoreUnavailable`.
        on_outage: is called when an outage begins; has to make sure that `recovered` is awaited.
        meanwhile: what happens during the outage, for the log.
        breaker: when an outage begins and when to probe again.
        clock: monotonic seconds.

    Attributes:
        failures: calls and probes that failed.
    """

    def __init__(
        self,
        probe: Callable[[], Awaitable[object]],
        on_outage: Callable[[], object],
        *,
        meanwhile: str,
        breaker: "CircuitBreaker",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._probe, self._on_outage = probe, on_outage
        self._meanwhile = meanwhile
        self._breaker = breaker
        self._clock = clock
        self._waiting: set[asyncio.Timeout] = set()
        self._outage_began = 0.0
        self._log_at = clock()
        self.failures = 0

    def __bool__(self) -> bool:
        return not self._breaker.open

    async def call(self, call: Awaitable[T]) -> T:
        """The result of `call`. Raises `StoreUnavailable`, also if an outage begins while it waits."""
        try:
            async with asyncio.timeout(None) as waiting:
                self._waiting.add(waiting)
                try:
                    result = await call
                finally:
                    self._waiting.discard(waiting)
        except TimeoutError:
            self.failures += 1
            raise StoreUnavailable("the limit store has just become unavailable") from None
        except StoreUnavailable as error:
            self._failed(error)
            raise
        self._succeeded()
        return result

    async def begin(self) -> None:
        """Probes until one probe succeeds or an outage begins."""
        while not self._breaker.open:
            with suppress(StoreUnavailable):
                await self.call(self._probe())
                break

    async def recovered(self) -> None:
        """Waits until the outage is over; the probes are made here."""
        while self._breaker.open:
            await asyncio.sleep(self._breaker.wait)
            if self._breaker.allows():
                with suppress(Exception):  # whatever it is, the next attempt may succeed
                    await self.call(self._probe())

    def _succeeded(self) -> None:
        was_open = self._breaker.open
        self._breaker.succeeded()
        if was_open:
            logger.warning("the limit store is available again after %.1f s", self._clock() - self._outage_began)

    def _failed(self, error: StoreUnavailable) -> None:
        self.failures += 1
        was_open = self._breaker.open
        self._breaker.failed()
        if was_open:
            return
        if self._breaker.open:
            self._begin_outage(error)
        elif self._clock() >= self._log_at:
            self._log_at = self._clock() + LOG_SECONDS
            logger.warning("a call of the limit store failed: %s", error)

    def _begin_outage(self, error: StoreUnavailable) -> None:
        """Ends all waiting calls; those still in the queue for a connection have not even been sent."""
        self._outage_began = self._clock()
        logger.error("the limit store is unavailable: %s; %s", error, self._meanwhile)
        waiting, self._waiting = self._waiting, set()
        now = asyncio.get_running_loop().time()
        for timeout in waiting:
            timeout.reschedule(now)
        self._on_outage()


class CircuitBreaker:
    """Opens after `FAILURES` in a row, then lets one attempt through at a time until one succeeds.

    Args:
        first, longest: seconds until the first attempt and, doubling with each that fails, at most.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        first: float = FIRST_SECONDS,
        longest: float = LONGEST_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._first, self._longest = first, longest
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
        """Whether to call. True from an open breaker is an attempt: the caller has to report how it ended.

        If that does not happen, because the caller was cancelled, another attempt is let through after the same pause.
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
        """Calls that were in flight when it opened may fail later; they change nothing."""
        self._failures += 1
        if self._attempting:
            self._pause = min(2 * self._pause, self._longest)
        elif self._attempt_at is not None or self._failures < FAILURES:
            return
        self._attempting = False
        self._attempt_at = self._clock() + self._pause
