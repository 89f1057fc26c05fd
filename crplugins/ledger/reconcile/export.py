"""Export: a provider's file, read once from its beginning to its end and kept as sums by day, model and tier."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from operator import add
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from crplugins.core.usage import MICRO, PICO
from crplugins.ledger.reconcile import anthropic, openai
from crplugins.ledger.reconcile.amounts import COST, MEASURES, BookedAmounts, ExportGroup, tier_name
from crplugins.ledger.reconcile.cells import Cells, DecimalMark, Unreadable
from crplugins.ledger.reconcile.columns import has_amounts, table_layout
from crplugins.ledger.reconcile.csv_file import read_csv
from crplugins.ledger.reconcile.json_file import BUCKET_ENDS, BUCKET_STARTS, Bucket, JsonReader, read_json
from crplugins.ledger.reconcile.layout import Layout, Line

LAYOUTS: Final = (
    openai.USAGE,
    openai.COSTS,
    anthropic.CONSOLE_USAGE,
    anthropic.CONSOLE_COST,
    anthropic.API_USAGE,
    anthropic.API_COST,
)
MOST_GROUPS: Final = 200_000
"""Days times models times tiers of one export: two years of a hundred models are 73,000."""

_PICO_PER_MICRO: Final = PICO // MICRO
T = TypeVar("T")


@dataclass(slots=True)
class Sum:
    """The lines of one group. The cost is in millionths of a millionth of a US dollar."""

    counts: list[int] = field(default_factory=lambda: [0] * len(MEASURES))
    lines: int = 0

    def take(self, other: "Sum") -> None:
        self.counts = list(map(add, self.counts, other.counts))
        self.lines += other.lines


@dataclass(frozen=True, slots=True)
class Export:
    """What a provider's export says.

    Attributes:
        layout: which kind of export it is.
        amounts: the sums. A model is named as the export names it.
        rounding: by how many micro-USD the cost of each group may be off, because the export rounds its lines.
        measures: which of `MEASURES` the export tells.
        first, last: the days (UTC) that were asked for, else those it covers; None if it has no line with a time.
        models, tiers: whether it tells models and tiers apart.
        notes: what the user should know of it.
    """

    layout: Layout
    amounts: Mapping[ExportGroup, BookedAmounts]
    rounding: Mapping[ExportGroup, int]
    measures: frozenset[str]
    first: date | None
    last: date | None
    models: bool
    tiers: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How to read an export.

    Attributes:
        columns: the column of each of `columns.FIELDS`, for a table that is no export we know.
        mark: the decimal mark, if the user has named it.
        only: lines with another value in one of these columns are left out.
        first, last: lines of days (UTC) before and after are left out.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    mark: DecimalMark | None = None
    only: Mapping[str, str] = field(default_factory=dict)
    first: date | None = None
    last: date | None = None


def read_export(path: Path, options: ReadOptions | None = None) -> Export:
    """Reads the file line by line. Raises `Unreadable`, OSError, and ValueError for columns that there are not."""
    tally = Tally(options or ReadOptions())
    with path.open("rb") as file:
        if _is_json(file):
            tally.read_json(JsonReader(file))
        else:
            tally.read_csv(file)
    return tally.export()


class Tally:
    """Adds up the lines of one export."""

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._table = table_layout(options.columns)
        self._only = {name.strip().casefold(): value for name, value in options.only.items()}
        self._layout: Layout | None = None
        self._sums: dict[tuple[date, str, str], Sum] = {}
        self._told: set[int] = set()
        self._days: list[date] = []
        self._notes: list[str] = []
        self._left_out = {"of other days": 0, "by --only": 0, "of other endpoints than chat completions": 0}

    def read_csv(self, file: BinaryIO) -> None:
        for layout, cells in read_csv(file, self._recognise, self._options.mark):
            self._layout = layout
            day = cells.day(layout.starts, layout.ends)
            if day is None:
                raise cells.fault(layout.starts[0], "must say which day the line is of")
            if self._covers(day) and self._wanted(cells):
                self._add(day, {}, layout.read(cells))
        if self._layout is None:
            self._notes.append("the export has no line")

    def read_json(self, reader: JsonReader) -> None:
        results: dict[tuple[str, str], Sum] = {}
        found = False
        for part in read_json(reader):
            if isinstance(part, str):
                self._notes.append(part)
            elif isinstance(part, Bucket):
                self._close(part.cells(), results)
                found, results = True, {}
            elif self._wanted(part) and self._layout_of(part):
                assert self._layout is not None
                self._add(None, results, self._layout.read(part))
        if not found:
            raise Unreadable("line 1: is no page of a usage or costs API: it has no results")

    def export(self) -> Export:
        """Everything that was read, each group's cost rounded once."""
        assert self._layout is not None or not self._sums
        layout = self._layout or openai.USAGE
        models = any(model for _, model, _ in self._sums)
        tiers = any(tier for _, _, tier in self._sums)
        groups: dict[ExportGroup, Sum] = {}
        for (day, model, tier), found in self._sums.items():
            groups.setdefault(ExportGroup(day, model, tier_name(tier) if tiers else ""), Sum()).take(found)
        self._notes += [f"left out of the export: {n:,} {why}" for why, n in self._left_out.items() if n]
        return Export(
            layout=layout,
            amounts={group: _amounts(found) for group, found in groups.items()},
            rounding={group: found.lines * layout.cost_step // 2 + 1 for group, found in groups.items()},
            measures=frozenset(MEASURES[measure] for measure in self._told),
            first=self._options.first or min(self._days, default=None),
            last=self._options.last or max(self._days, default=None),
            models=models,
            tiers=tiers,
            notes=tuple(self._notes),
        )

    def _recognise(self, header: frozenset[str]) -> Layout | None:
        if not self._options.columns:
            known = next((layout for layout in LAYOUTS if layout.columns <= header), None)
            if known is not None:
                return known
        table = self._table
        return table if table.columns <= header and has_amounts(self._options.columns, header) else None

    def _layout_of(self, result: Cells) -> bool:
        """Whether the result is of chat completions. The first one says which kind of export this is."""
        names = result.names()
        if self._layout is not None and self._layout.columns <= names:
            return True
        layout = next((layout for layout in LAYOUTS if layout.columns <= names), None)
        kind = result.text("object")
        if layout is None and kind.startswith("organization."):
            self._left_out["of other endpoints than chat completions"] += 1
            return False
        if layout is None:
            raise result.fault("results", "this is no result of a usage or costs API")
        if self._layout is not None:
            raise result.fault("results", f"{layout.name} among {self._layout.name}: reconcile one, then the other")
        self._layout = layout
        return True

    def _close(self, time: Cells, results: Mapping[tuple[str, str], Sum]) -> None:
        day = time.day(BUCKET_STARTS, BUCKET_ENDS)
        if day is None:
            raise time.fault("start_time", "the bucket does not say when it begins")
        if self._covers(day):
            for (model, tier), found in results.items():
                _sum_of(self._sums, (day, model, tier)).take(found)

    def _covers(self, day: date) -> bool:
        """Whether the day is asked for; notes the days that the export covers."""
        first, last = self._options.first, self._options.last
        if (first is not None and day < first) or (last is not None and day > last):
            self._left_out["of other days"] += 1
            return False
        if not self._days or not self._days[0] <= day <= self._days[-1]:
            self._days = [min([day, *self._days]), max([day, *self._days])]
        return True

    def _wanted(self, cells: Cells) -> bool:
        if all(cells.text(name) == value for name, value in self._only.items()):
            return True
        self._left_out["by --only"] += 1
        return False

    def _add(self, day: date | None, results: dict[tuple[str, str], Sum], line: Line) -> None:
        """To the sums of the day; to `results` while the day is not known yet. A line without amounts adds nothing."""
        told = [measure for measure, count in enumerate(line[2:]) if count is not None]
        if not told:
            return
        self._told.update(told)
        key = (line.model, line.tier)
        found = _sum_of(results, key) if day is None else _sum_of(self._sums, (day, *key))
        for measure in told:
            found.counts[measure] += line[2 + measure]  # type: ignore[operator]  # told: no None
        found.lines += 1


def _sum_of(sums: dict[T, Sum], key: T) -> Sum:
    found = sums.get(key)
    if found is None:
        if len(sums) >= MOST_GROUPS:
            raise Unreadable(
                f"has more than {MOST_GROUPS:,} days, models and tiers: reconcile a part with --from, --to"
            )
        found = sums[key] = Sum()
    return found


def _amounts(found: Sum) -> BookedAmounts:
    counts = list(found.counts)
    counts[COST] = (counts[COST] + _PICO_PER_MICRO // 2) // _PICO_PER_MICRO
    return BookedAmounts(*counts)


def _is_json(file: BinaryIO) -> bool:
    """By its first character that is no space."""
    begin = file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()
    file.seek(0)
    return begin[:1] in (b"{", b"[")
