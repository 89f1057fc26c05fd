"""OffPeak: the hours in which a provider charges less, in LiteLLM's notation (`off_peak_pricing`)."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

_WINDOW: Final = re.compile(r"\s*(\d\d?):(\d\d)\s*-\s*(\d\d?):(\d\d)\s*")
_EVERY_DAY: Final = (1, 2, 3, 4, 5, 6, 7)


class Window(msgspec.Struct, frozen=True):
    """From `start` to before `end`, in minutes of a day in UTC, past midnight if `end` is first; all day if they are
    equal. `weekdays` from 1 for Monday."""

    start: int
    end: int
    weekdays: tuple[int, ...] = _EVERY_DAY


class OffPeak(msgspec.Struct, frozen=True):
    """`zone` is the one in which a weekday begins."""

    windows: tuple[Window, ...]
    zone: str = "UTC"

    def holds_at(self, moment: float) -> bool:
        """Whether a moment, in seconds since 1970, is in one of the windows."""
        now = datetime.fromtimestamp(moment, UTC)
        minute, weekday = now.hour * 60 + now.minute, now.astimezone(ZoneInfo(self.zone)).isoweekday()
        return any(weekday in window.weekdays and _is_in(minute, window) for window in self.windows)


def _is_in(minute: int, window: Window) -> bool:
    if window.start < window.end:
        return window.start <= minute < window.end
    return minute >= window.start or minute < window.end


def read_off_peak(block: Mapping[str, Any]) -> OffPeak | None:
    """`hours_utc`, for every day, and `windows` with `hours_utc` and `weekdays`; None if there is no window in it."""
    windows = [*_windows(block.get("hours_utc"), _EVERY_DAY)]
    for rule in block.get("windows") or ():
        if isinstance(rule, Mapping):
            windows += _windows(rule.get("hours_utc"), rule.get("weekdays", _EVERY_DAY))
    if not windows:
        return None
    zone = block.get("weekday_timezone", "UTC")
    try:
        ZoneInfo(zone)
    except (LookupError, TypeError, ValueError, OSError):  # not installed here, or not known
        zone = "UTC"
    return OffPeak(tuple(windows), zone)


def _windows(hours: Any, weekdays: Any) -> Iterator[Window]:
    days = tuple(day for day in weekdays if day in _EVERY_DAY) if isinstance(weekdays, Sequence) else ()
    for text in (hours,) if isinstance(hours, str) else hours if isinstance(hours, Sequence) else ():
        match = _WINDOW.fullmatch(text) if isinstance(text, str) else None
        if match is not None and days:
            start, start_minute, end, end_minute = map(int, match.groups())
            yield Window(start * 60 + start_minute, end * 60 + end_minute, days)
