"""Layout: how to read the lines of one kind of export. The kinds are in `openai`, `anthropic` and `columns`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from crplugins.ledger.reconcile.cells import Cells


class Line(NamedTuple):
    """One line of an export, without its time. None where it does not tell; an empty model or tier likewise.

    `input_tokens` include the cached and the written ones, as in the ledger.
    """

    model: str = ""
    tier: str = ""
    requests: int | None = None
    input_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    output_tokens: int | None = None
    cost_pico_usd: int | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """One kind of export.

    Attributes:
        name: as the user knows it.
        provider: whose export it is, as the ledger names the provider; None if that cannot be told.
        columns: a file or result with all of these names is of this kind.
        starts, ends: where the time of a line stands, in the order of preference.
        read: the line of some cells. Raises `Unreadable`.
        cost_step: to how many micro-USD the export rounds the cost of a line.
    """

    name: str
    provider: str | None
    columns: frozenset[str]
    starts: tuple[str, ...]
    ends: tuple[str, ...]
    read: Callable[[Cells], Line]
    cost_step: int = 1


def total(*counts: int | None) -> int | None:
    """The sum of what is told; None if nothing is."""
    told = [count for count in counts if count is not None]
    return sum(told) if told else None
