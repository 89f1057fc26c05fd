"""The two books side by side: of each day, model and tier what differs, and why.

A difference is what is here minus what is there. It is taken apart into residuals, each with one cause, so that they
add up to it again: nothing is lost, and nothing is explained twice.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from typing import Final, Literal, NamedTuple

from crplugins.ledger.reconcile.amounts import (
    CACHED,
    COST,
    INPUT,
    MEASURES,
    NOTHING,
    OUTPUT,
    REQUESTS,
    WRITTEN,
    BookedAmounts,
    Entry,
    ExportGroup,
    tier_name,
)
from crplugins.ledger.reconcile.export import Export
from crplugins.ledger.reconcile.names import ModelNames, one_name_each

Cause = Literal[
    "late", "tier", "cache", "estimated", "rounding", "unpriced", "missing_here", "missing_there", "unexplained"
]
CAUSES: Final[Mapping[Cause, str]] = {
    "late": "began before midnight here, and is booked on the next day there",
    "tier": "the same requests of the same model, in another tier",
    "cache": "the same input, of which another part was cached or written to the cache",
    "estimated": "the provider reported no usage, and the tokens here are estimates",
    "rounding": "fractions of the smallest unit, or within the tolerance",
    "unpriced": "has no known price here",
    "missing_here": "the provider counts it, and the ledger does not have it",
    "missing_there": "the ledger has it, and the provider does not count it",
    "unexplained": "the same requests with other numbers",
}
EXPLAINED: Final[frozenset[Cause]] = frozenset({"late", "tier", "cache", "estimated", "rounding"})

_TOKENS: Final = (INPUT, CACHED, WRITTEN, OUTPUT)
_DAY: Final = timedelta(days=1)
_MOST_TIERS: Final = 50
"""Every pair of them is looked at. No provider has as many; a column that is no tier could have a million."""


class Residual(NamedTuple):
    """A part of a difference, here minus there."""

    cause: Cause
    amounts: BookedAmounts


@dataclass(frozen=True, slots=True)
class Row:
    """One day, model and tier in both books. Measures that the export does not tell are 0."""

    group: ExportGroup
    here: BookedAmounts
    there: BookedAmounts
    residuals: tuple[Residual, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All rows, in the order of days, models and tiers. `uncounted` requests are here without tokens."""

    rows: Sequence[Row]
    measures: frozenset[str]
    uncounted: int

    def total(self, side: Literal["here", "there"]) -> BookedAmounts:
        return total_of(getattr(row, side) for row in self.rows)

    def of_cause(self, cause: Cause) -> Sequence[BookedAmounts]:
        return [residual.amounts for row in self.rows for residual in row.residuals if residual.cause == cause]


def total_of(amounts: Iterable[BookedAmounts]) -> BookedAmounts:
    whole = NOTHING
    for part in amounts:
        whole = whole.plus(part)
    return whole


def compare(export: Export, entries: Sequence[Entry], models: Mapping[str, str], tolerance: float = 0.0) -> Comparison:
    """Compares what the export tells: its measures, and its models and tiers if it tells them apart.

    `entries` may be of the day before the export's first: they explain what is booked late on it, and no more.
    `models` are configured names, or other names of the export, to exported ones. `tolerance` is a share of the larger
    number, such as 0.001.
    """
    books = _Books(export, entries, models)
    _late(books)
    _tiers(books)
    rows = [_row(books, group, tolerance) for group in sorted(books.left)]
    return Comparison(rows, export.measures, books.uncounted)


class _Books:
    """Both sides under the same names, and what of the difference of each group is left to be explained."""

    def __init__(self, export: Export, entries: Sequence[Entry], models: Mapping[str, str]) -> None:
        assert export.first is not None
        assert export.last is not None
        self.first, self.last = export.first, export.last
        self.told = frozenset(measure for measure, name in enumerate(MEASURES) if name in export.measures)
        self.here, self.there, self.late, self.estimated = _amounts(), _amounts(), _amounts(), _amounts()
        self.unpriced: defaultdict[ExportGroup, int] = defaultdict(int)
        self.rounding: defaultdict[ExportGroup, int] = defaultdict(int)
        self.uncounted = 0
        names = ModelNames({group.model for group in export.amounts}, models)
        labels, joined = one_name_each(names, {entry.names for entry in entries})
        for exported, amounts in export.amounts.items():
            model = names.exported(exported.model)
            group = exported._replace(model=joined.get(model, model))
            self.there[group] = self.there[group].plus(amounts)
            self.rounding[group] += export.rounding[exported]
        for entry in entries:
            model = labels[entry.names] if export.models else ""
            self._enter(ExportGroup(entry.day, model, tier_name(entry.tier) if export.tiers else ""), entry)
        self.left = {group: list(self.here[group].minus(self.there[group])) for group in {*self.here, *self.there}}
        self.parts: dict[ExportGroup, dict[Cause, list[int]]] = {group: {} for group in self.left}

    def _enter(self, group: ExportGroup, entry: Entry) -> None:
        amounts = BookedAmounts(
            *(amount if measure in self.told else 0 for measure, amount in enumerate(entry.amounts))
        )
        if entry.late:
            self.late[group] = self.late[group].plus(amounts)
        if entry.day < self.first:
            return
        self.uncounted += entry.uncounted
        if not any(entry.amounts):
            return
        self.here[group] = self.here[group].plus(amounts)
        self.unpriced[group] += entry.unpriced
        self.rounding[group] += (entry.amounts.requests + 1) // 2  # each cost is rounded to a micro-USD
        if entry.estimated:
            self.estimated[group] = self.estimated[group].plus(amounts)

    def explain(self, group: ExportGroup, cause: Cause, measure: int, amount: int) -> None:
        """Takes `amount` from what is left of the group, as the work of `cause`."""
        if amount:
            self.left[group][measure] -= amount
            self.parts[group].setdefault(cause, [0] * len(MEASURES))[measure] += amount

    def are_requests(self, moved: Sequence[int]) -> bool:
        """Whether these amounts can be requests: with a number of them, where the export counts requests."""
        return moved[REQUESTS] > 0 if REQUESTS in self.told else any(count > 0 for count in moved)


def _amounts() -> defaultdict[ExportGroup, BookedAmounts]:
    return defaultdict(lambda: NOTHING)


def _late(books: _Books) -> None:
    """What is too much here on one day and too little on the next, as far as requests ended late on the first.

    What began on the day before the export, or is booked on the day after it, has its other half out of sight.
    """
    for group, late in sorted(books.late.items()):
        after = group._replace(day=group.day + _DAY)
        moved = list(late)
        if group.day >= books.first:
            moved = list(map(min, moved, books.left[group]))
        if after.day <= books.last:
            moved = [min(count, -left) for count, left in zip(moved, books.left.get(after, NOTHING), strict=True)]
        if not books.are_requests(moved):
            continue
        for measure, count in enumerate(moved):
            if count > 0 and group.day >= books.first:
                books.explain(group, "late", measure, count)
            if count > 0 and after.day <= books.last:
                books.explain(after, "late", measure, -count)


def _tiers(books: _Books) -> None:
    """What is too much here in one tier and too little in another, of the same model and day."""
    models: dict[ExportGroup, list[ExportGroup]] = {}
    for group in sorted(books.left):
        models.setdefault(group._replace(tier=""), []).append(group)
    for groups in models.values():
        if len(groups) > _MOST_TIERS:
            continue
        for more, less in product(groups, groups):
            moved = [min(a, -b) for a, b in zip(books.left[more], books.left[less], strict=True)]
            if books.are_requests(moved):
                for measure, count in enumerate(moved):
                    if count > 0:
                        books.explain(more, "tier", measure, count)
                        books.explain(less, "tier", measure, -count)


def _row(books: _Books, group: ExportGroup, tolerance: float) -> Row:
    _cache(books, group)
    _estimated(books, group)
    _rounding(books, group, tolerance)
    _cost(books, group)
    _rest(books, group)
    parts = books.parts[group]
    residuals = tuple(Residual(cause, BookedAmounts(*parts[cause])) for cause in CAUSES if cause in parts)
    return Row(group, books.here[group], books.there[group], residuals)


def _cache(books: _Books, group: ExportGroup) -> None:
    """Cached and written tokens that differ by more than the input does; and input that differs by exactly the cached
    or written tokens, because one side leaves them out of it."""
    here, there, left = books.here[group], books.there[group], books.left[group]
    if any(here) and any(there) and not left[REQUESTS] and not left[OUTPUT]:
        parts = {amounts[CACHED] for amounts in (here, there)} | {amounts[WRITTEN] for amounts in (here, there)}
        parts |= {amounts[CACHED] + amounts[WRITTEN] for amounts in (here, there)}
        if abs(left[INPUT]) in parts:
            books.explain(group, "cache", INPUT, left[INPUT])
    for measure in (CACHED, WRITTEN):
        books.explain(group, "cache", measure, left[measure] - _within(left[measure], left[INPUT]))


def _within(count: int, bound: int) -> int:
    """The part of `count` that goes along with a difference of `bound` in the whole."""
    return max(min(count, max(bound, 0)), min(bound, 0))


def _estimated(books: _Books, group: ExportGroup) -> None:
    """Up to as much as was estimated: the provider may have counted nothing, or twice of it."""
    estimated, left = books.estimated[group], books.left[group]
    if not 0 <= left[REQUESTS] <= estimated.requests:
        return
    for measure, bound in enumerate(estimated):
        bound = estimated[INPUT] if measure in (CACHED, WRITTEN) else bound
        books.explain(group, "estimated", measure, max(-bound, min(left[measure], bound)))


def _rounding(books: _Books, group: ExportGroup, tolerance: float) -> None:
    for measure, left in enumerate(books.left[group]):
        bound = int(tolerance * max(books.here[group][measure], books.there[group][measure]))
        if measure == COST:
            bound += books.rounding[group]
        if abs(left) <= bound:
            books.explain(group, "rounding", measure, left)


def _cost(books: _Books, group: ExportGroup) -> None:
    """A cost that differs where the tokens do not any more: it has the cause that the tokens had."""
    left, parts = books.left[group], books.parts[group]
    if any(left[:COST]):
        return
    known: list[Cause] = [cause for cause in ("tier", "cache", "estimated") if cause in parts]
    if books.unpriced[group] and left[COST] < 0:
        books.explain(group, "unpriced", COST, left[COST])
    elif known:
        books.explain(group, known[0], COST, left[COST])


def _rest(books: _Books, group: ExportGroup) -> None:
    """What no cause explains is missing on one side, as far as it is requests; the rest stays unexplained."""
    here, there, left = books.here[group], books.there[group], books.left[group]
    tokens = [count for measure, count in enumerate(left) if measure in _TOKENS and count]
    if REQUESTS in books.told:
        direction = left[REQUESTS]
    elif not any(here) or not any(there):
        direction = 1 if any(here) else -1
    else:
        same = all(count > 0 for count in tokens) or all(count < 0 for count in tokens)
        direction = tokens[0] if tokens and same else 0
    for measure, count in enumerate(left):
        if count * direction > 0:
            books.explain(group, "missing_there" if count > 0 else "missing_here", measure, count)
        else:
            books.explain(group, "unexplained", measure, count)
