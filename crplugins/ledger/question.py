"""Question: what to sum up of the ledger. Sums: one line of the answer."""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

import msgspec

from crplugins.core.usage import usd

GROUPS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "key": "key_id", "team": "team", "user": "user", "model": "requested_model", "served_model": "served_model",
        "provider_model": "provider_model", "provider": "provider", "service_tier": "service_tier",
        "cost_source": "cost_source", "endpoint": "endpoint", "outcome": "outcome", "error_type": "error_type",
        "usage_source": "usage_source", "day": "day",
    }
)  # fmt: skip
"""By what usage can be grouped, and the column for it."""


class Question(msgspec.Struct, frozen=True):
    """What to sum up.

    Attributes:
        by: names of `GROUPS`.
        since, until: from `since` to before `until`, with a zone; None for no limit.
        only: names of `GROUPS` without `day`, and the one value to which each is restricted.
        most: how many lines the answer may have; None for any number. Clients invent users and names of models, so
            that there may be as many lines as requests.
    """

    by: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None
    only: Mapping[str, str] = msgspec.field(default_factory=dict)
    most: int | None = None


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """The requests of one group. `input_tokens` include cached and written ones, `output_tokens` reasoning.

    Answers from a cache are among the requests, and their tokens in no sum: no provider was paid for them.

    Attributes:
        group: the value of each column in the question; None for requests without one.
        errors: requests whose outcome was neither `ok` nor `cancelled`.
        cost_micro_usd: the cost of the requests whose price is known.
        estimated_requests: those whose provider reported no usage.
        provider_cost_micro_usd: what providers themselves say that the requests cost, as far as they say it.
    """

    group: Mapping[str, str | None]
    requests: int
    errors: int
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    cache_write_input_tokens: int
    reasoning_output_tokens: int
    cost_micro_usd: int
    unpriced_requests: int
    estimated_requests: int
    provider_cost_micro_usd: int


MEASURES: Final = tuple(name for name in Sums.__struct_fields__ if name != "group")
"""The sums, in the order of the columns of `usage_daily`."""


def total_of(lines: Sequence[Sums]) -> Sums:
    """The sum of all lines, as a line without a group."""
    return Sums(group={}, **{name: sum(getattr(line, name) for line in lines) for name in MEASURES})


def read_groups(text: str, allowed: Collection[str] = GROUPS) -> list[str]:
    """`key,model` as names of `GROUPS`. Raises ValueError with a message for the user."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in allowed:
            raise ValueError(f"knows no '{name}', only {', '.join(allowed)}")
    if len(set(names)) < len(names):
        raise ValueError("names something twice")
    return names


def sums_to_dict(sums: Sums) -> dict[str, Any]:
    """One line of the answer as JSON data."""
    return {
        **sums.group,
        "requests": sums.requests,
        "errors": sums.errors,
        "input_tokens": sums.input_tokens,
        "output_tokens": sums.output_tokens,
        "cached_input_tokens": sums.cached_input_tokens,
        "cache_write_input_tokens": sums.cache_write_input_tokens,
        "reasoning_output_tokens": sums.reasoning_output_tokens,
        "cost_usd": cost_usd(sums),
        "unpriced_requests": sums.unpriced_requests,
        "estimated_requests": sums.estimated_requests,
        "provider_cost_usd": usd(sums.provider_cost_micro_usd),
    }


def cost_usd(sums: Sums) -> float | None:
    """The cost of the requests whose price is known; None where that is 0 and others have an unknown price."""
    if sums.unpriced_requests and not sums.cost_micro_usd:
        return None
    return usd(sums.cost_micro_usd)


_LAST_MIDNIGHT: Final = datetime(9999, 12, 31, tzinfo=UTC)
"""There is no later one, and so no day that begins after a later moment."""

_AGO: Final = re.compile(r"(\d{1,6})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def read_moment(text: str, now: datetime) -> datetime:
    """`30m`, `24h`, `7d` ago; `2027-01-31` or `2027-01-31T12:00:00Z`, in UTC unless it has another zone.

    Raises ValueError with a message for the user.
    """
    match = _AGO.fullmatch(text)
    try:
        if match is not None:
            return now - timedelta(**{_UNITS[match[2]]: int(match[1])})
        moment = datetime.fromisoformat(text)
        return min(moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC), _LAST_MIDNIGHT)
    except (ValueError, OverflowError):
        raise ValueError("must be a time ago such as 30m, 24h or 7d, or a date such as 2027-01-31") from None
