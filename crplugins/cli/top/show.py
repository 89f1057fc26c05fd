"""A frame of `crplugins top`, as text for a terminal and as JSON."""

import json
from collections.abc import Iterator
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

_NEARLY: Final = 0.75
_FULL: Final = 0.9


def as_json(figures: Figures) -> str:
    """Without Infinity or NaN; unknown figures are null."""
    return json.dumps(asdict(figures), indent=2, allow_nan=False)


def frame(figures: Figures, url: str, note: str | None = None) -> RenderableType:
    """`note` is the reason why there are no newer figures."""
    return Group(*_parts(figures, url, note))


def _parts(figures: Figures, url: str, note: str | None) -> Iterator[RenderableType]:
    up = "" if figures.uptime_seconds is None else f"  up {_duration(figures.uptime_seconds)}"
    yield Text(f"crplugins {figures.version}  {url}{up}", style="bold")
    if note is not None:
        yield Text(note, style="red")
    for trouble in figures.trouble:
        yield Text(printable(trouble), style="red")
    yield _summary(figures)
    yield _models(figures.models)
    yield _keys(figures.keys)
    if len(figures.deployments) > 1 or any(not use.healthy for use in figures.deployments):
        yield _deployments(figures.deployments)
    if figures.limits:
        yield _limits(figures)
    if figures.budgets:
        yield _budgets(figures)


def _summary(figures: Figures) -> Table:
    total = figures.total
    table = Table.grid(padding=(0, 3))
    table.add_row(
        f"requests {total.requests:,} ({total.requests_per_second:,.1f}/s)",
        f"in flight {figures.in_flight:,}{_of_most(figures)}{_waiting(figures)}",
        f"tokens/s {total.input_tokens_per_second:,.0f} in, {total.output_tokens_per_second:,.0f} out",
    )
    table.add_row(
        f"errors {total.errors:,} ({_share(total.errors, total.requests)})",
        f"refused {total.refused:,}",
        f"TTFT {_seconds(total.ttft_p50)} p50, {_seconds(total.ttft_p95)} p95",
    )
    return table


def _of_most(figures: Figures) -> str:
    shed = f", {figures.shed:,} shed" if figures.shed else ""
    return "" if figures.max_in_flight is None else f" of {figures.max_in_flight:,}{shed}"


def _waiting(figures: Figures) -> str:
    """How many of them wait, and for what."""
    scopes = ", ".join(f"{printable(scope)} {number:,}" for scope, number in figures.waiting.items())
    return f", waiting {sum(figures.waiting.values()):,} ({scopes})" if scopes else ""


def _deployments(deployments: list[DeploymentUse]) -> Table:
    table = _table("model", "deployment", "state", "in flight", "cooldowns")
    for use in deployments[:ROWS]:
        state = Text(_state(use), style="" if use.healthy else "red")
        table.add_row(
            printable(use.model), printable(use.deployment), state, f"{use.in_flight:,}", f"{use.cooldowns:,}"
        )
    return _with_count_of_others(table, len(deployments))


def _state(use: DeploymentUse) -> str:
    """One word where all processes agree, which one alone always does."""
    found = {"healthy": use.healthy, "cooling": use.cooling, "trial": use.trial}
    there = [(state, number) for state, number in found.items() if number]
    return there[0][0] if len(there) == 1 else ", ".join(f"{number} {state}" for state, number in there)


def _models(models: list[Traffic]) -> Table:
    table = _table("model", "requests", "req/s", "errors", "TTFT p50", "TTFT p95", "tokens/s", "spend")
    for model in models[:ROWS]:
        table.add_row(
            printable(model.name), f"{model.requests:,}", f"{model.requests_per_second:,.1f}",
            _share(model.errors, model.requests), _seconds(model.ttft_p50), _seconds(model.ttft_p95),
            f"{model.output_tokens_per_second:,.0f}", _dollars(model.cost_usd),
        )  # fmt: skip
    return _with_count_of_others(table, len(models))


def _keys(keys: list[Traffic]) -> Table:
    table = _table("key", "spend", "requests", "req/s", "errors", "refused", "input", "output")
    for key in keys[:ROWS]:
        table.add_row(
            printable(key.name), _dollars(key.cost_usd), f"{key.requests:,}", f"{key.requests_per_second:,.1f}",
            _share(key.errors, key.requests), f"{key.refused:,}", f"{key.input_tokens:,}", f"{key.output_tokens:,}",
        )  # fmt: skip
    return _with_count_of_others(table, len(keys))


def _limits(figures: Figures) -> Table:
    table = _table("limit", "of", "used")
    for use in figures.limits[:ROWS]:
        table.add_row(printable(use.limit), printable(use.key_id), Text(f"{use.used:.0%}", style=_style(use.used)))
    return _with_count_of_others(table, len(figures.limits))


def _budgets(figures: Figures) -> Table:
    table = _table("budget of", "spent", "budget", "used")
    for use in figures.budgets[:ROWS]:
        used = use.spent_usd / use.budget_usd if use.budget_usd else 1.0
        table.add_row(
            printable(use.key_id),
            _dollars(use.spent_usd),
            _dollars(use.budget_usd),
            Text(f"{used:.0%}", style=_style(used)),
        )
    return _with_count_of_others(table, len(figures.budgets))


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, no_wrap=True, min_width=16)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _with_count_of_others(table: Table, number: int) -> Table:
    if number > ROWS:
        table.add_row(f"and {number - ROWS:,} more")
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
