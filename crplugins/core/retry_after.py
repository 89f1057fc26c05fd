"""`retry-after`: how long a server asks to be left alone, in a number of seconds or as a date."""

import time
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from math import isfinite


def seconds_of(hint: str, unit: float = 1.0, wall_clock: Callable[[], float] = time.time) -> float | None:
    """The seconds of a number, of which `unit` are one, or until a date, which is in UTC unless it says otherwise.

    None for what is neither, such as a date of a year that no calendar has.
    """
    try:
        seconds = float(hint) / unit
    except ValueError:
        pass
    else:
        return max(seconds, 0.0) if isfinite(seconds) else None
    try:
        moment = parsedate_to_datetime(hint)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        return max(moment.timestamp() - wall_clock(), 0.0)
    except (ValueError, OverflowError, OSError):
        return None
