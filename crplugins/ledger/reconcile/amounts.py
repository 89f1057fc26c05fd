"""BookedAmounts: what both sides count of one day (UTC), model and service tier."""

from dataclasses import dataclass
from datetime import date
from operator import add, sub
from typing import Final, NamedTuple, Self


class ExportGroup(NamedTuple):
    """What is compared with its like. `model` and `tier` are empty where the export does not tell them apart."""

    day: date
    model: str
    tier: str


class BookedAmounts(NamedTuple):
    """Cached and written tokens are parts of `input_tokens`. Differences are amounts too, and may be negative."""

    requests: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_input_tokens: int = 0
    output_tokens: int = 0
    cost_micro_usd: int = 0

    def plus(self, other: Self) -> "BookedAmounts":
        return BookedAmounts(*map(add, self, other))

    def minus(self, other: Self) -> "BookedAmounts":
        return BookedAmounts(*map(sub, self, other))


@dataclass(frozen=True, slots=True)
class Entry:
    """The requests of one day (UTC), model and tier in the ledger.

    Attributes:
        names: what the answers called the model, and the name under which it was asked for; empty if unknown.
        late: whether they ended so late that the provider may book them on the next day.
        estimated: whether their tokens are estimates.
        unpriced: how many of them have no known price.
        uncounted: how many more were answered, and have no tokens: `missing_usage: free`.
    """

    day: date
    names: tuple[str, str]
    tier: str
    late: bool
    estimated: bool
    amounts: BookedAmounts
    unpriced: int = 0
    uncounted: int = 0


NOTHING: Final = BookedAmounts()
MEASURES: Final = BookedAmounts._fields
REQUESTS, INPUT, CACHED, WRITTEN, OUTPUT, COST = range(6)
"""The places of the measures in `BookedAmounts`."""

_DEFAULT_TIERS: Final = frozenset({"", "default", "standard", "auto", "on_demand", "not_available"})
_SAME_TIERS: Final = {"priority_on_demand": "priority", "flex_discount": "flex"}


def tier_name(text: str | None) -> str:
    """One word for one tier: OpenAI's `default` is Anthropic's `standard`, and what an answer leaves out is that."""
    tier = (text or "").strip().casefold()
    return "default" if tier in _DEFAULT_TIERS else _SAME_TIERS.get(tier, tier)
