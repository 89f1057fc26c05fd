"""A clock that moves only when a test moves it."""

from __future__ import annotations


class FrozenClock:
    """`time.monotonic` and `time.time` in one object; seconds as float, standing still between calls of `advance`.

    The object itself is callable and gives `monotonic()`, so it fits wherever a clock function is asked for;
    for wall time hand over the bound method: `now=clock.time`.
    """

    def __init__(self, *, time: float = 1_700_000_000.0, monotonic: float = 1_000.0) -> None:
        self._time = time
        self._monotonic = monotonic

    def __call__(self) -> float:
        return self._monotonic

    def __repr__(self) -> str:
        return f"FrozenClock(time={self._time}, monotonic={self._monotonic})"

    def monotonic(self) -> float:
        """Seconds of a clock that never goes back."""
        return self._monotonic

    def time(self) -> float:
        """Seconds since 1970, UTC."""
        return self._time

    def time_ns(self) -> int:
        """`time()` in whole nanoseconds."""
        return round(self._time * 1_000_000_000)

    def advance(self, seconds: float) -> float:
        """Move both clocks forward; returns the new monotonic time. ValueError for a negative step."""
        if seconds < 0:
            raise ValueError(f"time cannot be advanced by {seconds} seconds; use set_time() to step the wall clock")
        self._time += seconds
        self._monotonic += seconds
        return self._monotonic

    def set_time(self, seconds: float) -> None:
        """Step the wall clock alone, in either direction, as an NTP correction does."""
        self._time = seconds
