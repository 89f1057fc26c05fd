"""Moments as people write them: how long ago, or a date."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_AGO: Final = re.compile(r"(\d{1,6})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def read_moment(text: str, now: datetime) -> datetime:
    """`30m`, `24h`, `7d` ago; `2027-01-31` or `2027-01-31T12:00:00Z`, in UTC unless it says otherwise.

    Raises ValueError with a sentence for the user.
    """
    match = _AGO.fullmatch(text)
    try:
        if match is not None:
            return now - timedelta(**{_UNITS[match[2]]: int(match[1])})
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be a time ago such as 30m, 24h or 7d, or a date such as 2027-01-31") from None
