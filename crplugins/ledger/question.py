"""A question to the ledger, and the form of its answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from types import MappingProxyType
from typing import Final

GROUPS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "key": "key_id", "team": "team", "user": "user", "model": "requested_model", "served_model": "served_model",
        "provider": "provider", "outcome": "outcome", "error_type": "error_type", "day": "day",
    }
)  # fmt: skip
"""What can be asked for each of, and the column it stands in."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    Attributes:
        by: names of `GROUPS`.
        since, until: moments with a zone; None for no bound. `until` is outside.
        only: names of `GROUPS` without `day`, and the one value that counts.
    """

    by: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None
    only: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """The requests of one group. Cached and written tokens stand in `input_tokens` too, reasoning in `output_tokens`.

    Attributes:
        group: the value in each column asked for; None where requests have none.
        errors: requests that ended neither well nor because the client left.
        cost_micro_usd: in millionths of a dollar, of the requests whose price is known.
        estimated_requests: those whose tokens the provider did not tell.
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


MEASURES: Final = tuple(field.name for field in fields(Sums) if field.name != "group")
"""What is summed, in the order of the columns of `usage_daily`."""


def total_of(lines: Sequence[Sums]) -> Sums:
    """Their sum, a group of its own."""
    return Sums(group={}, **{name: sum(getattr(line, name) for line in lines) for name in MEASURES})
