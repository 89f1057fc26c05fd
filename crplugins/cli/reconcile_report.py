"""How `crplugins reconcile` prints what it found: as a table of differences, or as JSON with every row."""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import typer
from rich import box
from rich.table import Table

from crplugins.cli.terminal import plain_console, printable
from crplugins.core.usage import usd
from crplugins.ledger.reconcile.amounts import COST, MEASURES, BookedAmounts
from crplugins.ledger.reconcile.compare import CAUSES, Comparison, Row, total_of
from crplugins.ledger.reconcile.export import Export

_HEADINGS: Final = ("requests", "input", "cached", "written", "output", "cost")
_MOST_HINTS: Final = 5


def print_json(export: Export, provider: str | None, comparison: Comparison, explained: Collection[str]) -> None:
    here, there = comparison.total("here"), comparison.total("there")
    causes = {cause: comparison.of_cause(cause) for cause in CAUSES}
    document = {
        "export": export.layout.name,
        "provider": provider,
        "first_day": str(export.first),
        "last_day": str(export.last),
        "measures": [name for name in MEASURES if name in comparison.measures],
        "rows": [_row(row, comparison) for row in comparison.rows],
        "total": {
            "here": _told(here, comparison),
            "there": _told(there, comparison),
            "difference": _told(here.minus(there), comparison),
        },
        "causes": {
            cause: {"explained": cause in explained, "rows": len(found), **_told(total_of(found), comparison)}
            for cause, found in causes.items()
            if found
        },
        "uncounted_requests": comparison.uncounted,
        "unexplained_rows": sum(any(part.cause not in explained for part in row.residuals) for row in comparison.rows),
    }
    typer.echo(json.dumps(document, indent=2))


def _row(row: Row, comparison: Comparison) -> Mapping[str, Any]:
    return {
        "day": str(row.group.day),
        "model": row.group.model or None,
        "tier": row.group.tier or None,
        "here": _told(row.here, comparison),
        "there": _told(row.there, comparison),
        "differences": [{"cause": cause, **_told(amounts, comparison)} for cause, amounts in row.residuals],
    }


def _told(amounts: BookedAmounts, comparison: Comparison) -> dict[str, int]:
    return {name: count for name, count in zip(MEASURES, amounts, strict=True) if name in comparison.measures}


def print_table(export: Export, provider: str | None, comparison: Comparison, explained: Collection[str]) -> None:
    told = [measure for measure, name in enumerate(MEASURES) if name in comparison.measures]
    table = Table(box=box.SIMPLE_HEAD, show_footer=True)
    for name, footers in (("day", "here\nthere\ndifference"), ("model", ""), ("tier", "")):
        table.add_column(name, footer=footers, no_wrap=True)
    here, there = comparison.total("here"), comparison.total("there")
    for measure in told:
        footer = [_number(measure, amounts[measure]) for amounts in (here, there)]
        footer.append(_signed(measure, here[measure] - there[measure]))
        table.add_column(_HEADINGS[measure], footer="\n".join(footer), justify="right", no_wrap=True)
    table.add_column("why", no_wrap=True)
    for row in comparison.rows:
        for cause, amounts in row.residuals:
            group = (str(row.group.day), printable(row.group.model or "-"), printable(row.group.tier or "-"))
            table.add_row(*group, *(_signed(measure, amounts[measure]) for measure in told), _words(cause))
    console = plain_console()
    console.width = 10_000  # rich would shorten numbers to make them fit
    console.print(
        f"{export.layout.name}, {export.first} to {export.last}, provider {provider or 'any'}: here minus there"
    )
    console.print(table)
    for line in _sentences(comparison, explained):
        console.print(line)


def _sentences(comparison: Comparison, explained: Collection[str]) -> Iterable[str]:
    agree = sum(not row.residuals for row in comparison.rows)
    yield f"{agree:,} of {len(comparison.rows):,} days, models and tiers agree."
    for cause, meaning in CAUSES.items():
        number = len(comparison.of_cause(cause))
        if number:
            told = "explained" if cause in explained else "not explained"
            yield f"{told}: {number:,} {_words(cause)}: {meaning}."
    if comparison.uncounted:
        yield f"{comparison.uncounted:,} answered requests have no tokens here: missing_usage is free, or nothing came."
    for here, there in sorted(_other_names(comparison.rows))[:_MOST_HINTS]:
        yield f"The same numbers under two names: --model '{printable(here)}={printable(there)}' if it is one model."


def _other_names(rows: Iterable[Row]) -> set[tuple[str, str]]:
    """Models that stand only here and only there, with the same amounts on the same day in the same tier."""
    only_there = {(row.group.day, row.group.tier, row.there): row.group.model for row in rows if not any(row.here)}
    found = {
        (row.group.model, only_there.get((row.group.day, row.group.tier, row.here), ""))
        for row in rows
        if not any(row.there)
    }
    return {(here, there) for here, there in found if here and there}


def _number(measure: int, count: int) -> str:
    return f"${usd(count):,.6f}" if measure == COST else f"{count:,}"


def _signed(measure: int, count: int) -> str:
    return f"{'-' if count < 0 else '+' if count else ''}{_number(measure, abs(count))}"


def _words(cause: str) -> str:
    return cause.replace("_", " ")
