"""Outage: how long to wait after a failure, and how often to speak of it."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from crplugins.ledger.database import reason_of

LOG_SECONDS: Final = 60.0

T = TypeVar("T")

logger = logging.getLogger("crplugins.ledger")


class Outage:
    """Of something that either works or does not: logged when it begins, each minute, and when it ends.

    Args:
        what: its name in the log.
        first, longest: seconds to wait after the first failure and, doubling, at most.
        clock: monotonic seconds.
    """

    def __init__(self, what: str, first: float, longest: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._first, self._longest = first, longest
        self._clock = clock
        self._wait = first
        self._speak_at: float | None = None

    async def outlast(self, work: Callable[[], Awaitable[T]]) -> T:
        """Again and again, until it works."""
        while True:
            try:
                result = await work()
            except Exception as error:
                await asyncio.sleep(self.failed(error))
            else:
                self.ended()
                return result

    def failed(self, error: Exception) -> float:
        """The seconds to wait before the next attempt."""
        now = self._clock()
        if self._speak_at is None or now >= self._speak_at:
            logger.error("%s cannot be written, and records wait: %s", self._what, reason_of(error))
            self._speak_at = now + LOG_SECONDS
        wait = self._wait
        self._wait = min(2 * wait, self._longest)
        return wait

    def ended(self) -> None:
        """It works."""
        if self._speak_at is not None:
            logger.warning("%s can be written again", self._what)
        self._speak_at, self._wait = None, self._first
