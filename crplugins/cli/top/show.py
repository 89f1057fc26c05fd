"""A frame of `crplugins top`, as text for a terminal and as JSON."""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from crplugins.cli.terminal import printable
from crplugins.cli.top.figures import DeploymentUse, Figures, Traffic

ROWS: Final = 10
"""The number of rows shown of each table; the others are counted."""

WIDE: Final = 90
"""Columns of a terminal on which everything has room."""

_NEARLY: Final = 0.75
_FULL: Final = 0.9


def as_json(figures: Figures) -> str:
    """Without Infinity or NaN; unknown figures are null."""
    return json.dumps(asdict(figures), indent=2, allow_nan=False)


def frame(figures: Figures, url: str, note: str | None = None, *, width: int = WIDE) -> RenderableType:
    """`note` is the reason why there are no newer figures. On a narrow terminal less is shown of each row."""
    return Group(*_parts(figures, url, note, width))


def _parts(figures: Figures, url: str, note: str | None, width: int) -> Iterator[RenderableType]:
    up = "" if figures.uptime_seconds is None else f"  up {_duration(figures.uptime_seconds)}"
    yield Text(f"crplugins {figures.version}  {url}{up}", style="bold")
    if note is not None:
        yield Text(note, style="red")
    for trouble in figures.trouble:
        yield Text(printable(trouble), style="red")
    yield _summary(figures, width)
    yield _models(figures.models, width)
    yield _keys(figures.keys, width)
    if len(figures.deployments) > 1 or any(not use.healthy for use in figures.deployments):
        yield _deployments(figures.deployments, width)
    if figures.limits:
        yield _limits(figures)
    if figures.budgets:
        yield _budgets(figures)


def _summary(figures: Figures, width: int) -> Table:
    total = figures.total
    table = Table.grid(padding=(0, 3))
    first = (
        f"requests {total.requests:,} ({total.requests_per_second:,.1f}/s)",
        f"in flight {figures.in_flight:,}{_of_most(figures)}{_waiting(figures)}",
        f"tokens/s {total.input_tokens_per_second:,.0f} in, {total.output_tokens_per_second:,.0f} out",
    )
    second = (
        f"errors {total.errors:,} ({_share(total.errors, total.requests)})",
        f"refused {total.refused:,}",
        f"TTFT {_seconds(total.ttft_p50)} p50, {_seconds(total.ttft_p95)} p95",
    )
    rows = [first, second] if width >= WIDE else list(zip(first, second, strict=True))
    for row in rows:
        table.add_row(*row)
    return table


def _of_most(figures: Figures) -> str:
    shed = f", {figures.shed:,} shed" if figures.shed else ""
    return "" if figures.max_in_flight is None else f" of {figures.max_in_flight:,}{shed}"


def _waiting(figures: Figures) -> str:
    """How many of them wait, and for what."""
    scopes = ", ".join(f"{printable(scope)} {number:,}" for scope, number in figures.waiting.items())
    return f", waiting {sum(figures.waiting.values()):,} ({scopes})" if scopes else ""


def _deployments(deployments: list[DeploymentUse], width: int) -> Table:
    rows = [
        (
            printable(use.model), printable(use.deployment), Text(_state(use), style="" if use.healthy else "red"),
            f"{use.in_flight:,}", f"{use.cooldowns:,}",
        )
        for use in deployments
    ]  # fmt: skip
    return _table(rows, ("model", "deployment", "state", "in flight", "cooldowns"), width, ("in flight", "cooldowns"))


def _state(use: DeploymentUse) -> str:
    """One word where all processes agree, which one alone always does."""
    found = {"healthy": use.healthy, "cooling": use.cooling, "trial": use.trial}
    there = [(state, number) for state, number in found.items() if number]
    return there[0][0] if len(there) == 1 else ", ".join(f"{number} {state}" for state, number in there)


def _models(models: list[Traffic], width: int) -> Table:
    rows = [
        (
            printable(model.name), f"{model.requests:,}", f"{model.requests_per_second:,.1f}",
            _share(model.errors, model.requests), _seconds(model.ttft_p50), _seconds(model.ttft_p95),
            f"{model.output_tokens_per_second:,.0f}", _dollars(model.cost_usd),
        )
        for model in models
    ]  # fmt: skip
    names = ("model", "requests", "req/s", "errors", "TTFT p50", "TTFT p95", "tokens/s", "spend")
    return _table(rows, names, width, ("requests", "TTFT p50", "tokens/s"))


def _keys(keys: list[Traffic], width: int) -> Table:
    rows = [
        (
            printable(key.name), _dollars(key.cost_usd), f"{key.requests:,}", f"{key.requests_per_second:,.1f}",
            _share(key.errors, key.requests), f"{key.refused:,}", f"{key.input_tokens:,}", f"{key.output_tokens:,}",
        )
        for key in keys
    ]  # fmt: skip
    names = ("key", "spend", "requests", "req/s", "errors", "refused", "input", "output")
    return _table(rows, names, width, ("requests", "input", "output"))


def _limits(figures: Figures) -> Table:
    rows = [
        (printable(use.limit), printable(use.key_id), Text(f"{use.used:.0%}", style=_style(use.used)))
        for use in figures.limits
    ]
    return _table(rows, ("limit", "of", "used"))


def _budgets(figures: Figures) -> Table:
    rows = []
    for use in figures.budgets:
        used = use.spent_usd / use.budget_usd if use.budget_usd else 1.0
        shown = Text(f"{used:.0%}", style=_style(used))
        rows.append((printable(use.key_id), _dollars(use.spent_usd), _dollars(use.budget_usd), shown))
    return _table(rows, ("budget of", "spent", "budget", "used"))


def _table(
    rows: Sequence[Sequence[str | Text]], names: Sequence[str], width: int = WIDE, dispensable: Collection[str] = ()
) -> Table:
    """The first rows. On a narrow terminal without the columns that are `dispensable`."""
    shown = [at for at, name in enumerate(names) if width >= WIDE or name not in dispensable]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for at in shown:
        if at == 0:
            table.add_column(names[0], no_wrap=True, min_width=16)
        else:
            table.add_column(names[at], justify="right", no_wrap=True)
    for row in rows[:ROWS]:
        table.add_row(*[row[at] for at in shown])
    if len(rows) > ROWS:
        table.add_row(f"and {len(rows) - ROWS:,} more")
    return table


def _style(used: float) -> str:
    return "red" if used >= _FULL else "yellow" if used >= _NEARLY else ""


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _dollars(usd: float) -> str:
    return f"${usd:,.2f}" if usd >= 1 or not usd else f"${usd:.4f}"


def _duration(seconds: float) -> str:
    minutes = int(seconds) // 60
    days, hours = divmod(minutes // 60, 24)
    if days:
        return f"{days}d {hours}h"
    return f"{hours}h {minutes % 60}m" if hours else f"{minutes}m {int(seconds) % 60}s"
