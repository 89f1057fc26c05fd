"""`retry-after`: how long a server asks to be left alone, in a number of seconds or as a date."""

import time
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Final

from crplugins.core.errors import DO_NOT_RETRY

LONGEST_SLEEP: Final = 120_000
"""Milliseconds that a client is left to wait by itself: as long as OpenAI's SDK for Python does of its own accord."""


def waiting(milliseconds: int) -> list[tuple[str, str]]:
    """The headers of a refusal that is over in so many milliseconds.

    SDKs sleep inside the call, and several (Anthropic's, OpenAI's for Node) however long they are told: the app behind
    them would hang for hours. After a long time they are told not to try again, and the app reads how long it is.
    """
    headers = [("retry-after", str(-(-milliseconds // 1000))), ("retry-after-ms", str(milliseconds))]
    return headers if milliseconds <= LONGEST_SLEEP else [*headers, DO_NOT_RETRY]


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
