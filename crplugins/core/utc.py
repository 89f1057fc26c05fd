"""Moments in UTC, also at the ends of the calendar: other programs' `never` is one of them, in whatever zone."""

from datetime import UTC, datetime
from typing import Final

FIRST_MOMENT: Final = datetime.min.replace(tzinfo=UTC)
LAST_MOMENT: Final = datetime.max.replace(tzinfo=UTC)


def in_utc(moment: datetime) -> datetime:
    """Without a zone it is UTC. Kept between the years 1 and 9999, which are as good as never."""
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return LAST_MOMENT if moment.year > FIRST_MOMENT.year else FIRST_MOMENT
