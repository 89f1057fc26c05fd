"""Breaker: whether something that has failed several times in a row is worth another attempt."""

import time
from collections.abc import Callable
from typing import Final

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
