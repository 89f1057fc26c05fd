"""`crplugins replay`: another configuration over the requests of the ledger, before it is anybody's."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich import box
from rich.table import Table

from crplugins.cli.configuration import find
from crplugins.cli.keys.source import JsonOption, clock_of, keys_of, sentences
from crplugins.cli.options import ConfigOption, LedgerOption, read_option
from crplugins.cli.terminal import plain_console, printable
from crplugins.config import Config, ConfigError, Problem
from crplugins.keys.key import Key
from crplugins.keys.opening import parts_of
from crplugins.ledger.question import read_moment

if TYPE_CHECKING:
    from crplugins.homes.replay.report import ReplayReport
    from crplugins.ledger.reader import LedgerReader

_MOMENTS: Final = "such as 30m, 24h or 7d ago, or a date such as 2027-01-31 (UTC)"
_SHOWN: Final = 30
"""Groups of refusals in the table; JSON has all."""


def replay(
    context: typer.Context,
    since: Annotated[str, typer.Option(metavar="TIME", help=f"The beginning, {_MOMENTS}.")] = "7d",
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="The end, in the same form. Without it: now.")
    ] = None,
    each: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a line of JSON for each request that was or would be refused."),
    ] = None,
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show who would have been refused with this configuration, when and for what, and what it would have cost.

    Its keys, aliases, limits, budgets and prices are tried on the requests of the ledger. Nothing is written there.
    """
    now = clock_of(context)()
    begin = read_option("--since", lambda: read_moment(since, now))
    end = now if until is None else read_option("--until", lambda: read_moment(until, now))
    if begin >= end:
        raise typer.BadParameter("ends before it begins", param_hint="--until")
    found = find(config_file)
    with sentences():
        parts = parts_of(found.config.keys)
        keys = [key for part in parts for key in keys_of(part)]
    # Tokens of an identity provider, and the keys of a gateway without keys, are in no list.
    strangers = not parts or any("jwt" in part for part in parts)
    found.upstreams()  # imports litellm where a price may be in its table
    result, shadowed = _run(found.config, keys, begin, end, each, ledger, config_file, strangers=strangers)
    report = {"since": _text(begin), "until": _text(end), **result, "shadowed": shadowed}
    report["not_known"] = list(_not_known(found.config, keys, report, strangers=strangers))
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        _print(report)


def _run(
    config: Config,
    keys: Sequence[Key],
    begin: datetime,
    end: datetime,
    each: Path | None,
    ledger: str | None,
    config_file: Path | None,
    *,
    strangers: bool,
) -> tuple[dict[str, Any], Mapping[str, int]]:
    """Raises `ConfigError` and `Refused`."""
    try:
        from crplugins.cli.usage_source import ask, find_ledger  # needs the `sql` extra
        from crplugins.homes.replay.plan import replay as replay_ledger
        from crplugins.homes.replay.report import fate_to_dict
        from crplugins.homes.replay.simulation import Fate
    except ImportError as error:
        raise ConfigError([Problem((), f"needs {error.name}: pip install 'crplugins[sql]'")]) from None
    with ExitStack() as files:
        lines = None if each is None else files.enter_context(each.open("w", encoding="utf-8"))

        def told(fate: Fate) -> None:
            if lines is not None and (fate.refused or fate.past.refused):
                lines.write(json.dumps(fate_to_dict(fate)) + "\n")

        source = find_ledger(ledger, config_file)

        def replayed(reader: "LedgerReader") -> "Awaitable[tuple[ReplayReport, Mapping[str, int]]]":
            return replay_ledger(reader, config, keys, begin, end, told, strangers=strangers)

        found, shadowed = asyncio.run(ask(source, replayed))
    return found.to_dict(), shadowed


def _not_known(config: Config, keys: Sequence[Key], report: Mapping[str, Any], *, strangers: bool) -> Iterator[str]:
    """What the figures leave out, as far as it concerns this configuration and these requests."""
    limits = config.limits
    if report["requests_without_estimate"]:
        yield (
            f"{report['requests_without_estimate']} requests came when no limit counted tokens: what was expected of "
            "them is not recorded, and what they have used is taken for it"
        )
    if report["assumed_requests"]:
        yield (
            f"{report['assumed_requests']} requests were refused and would be answered: they are taken to use what "
            "others of their key and model have used"
        )
    if report["not_decided_requests"]:
        yield (
            f"{report['not_decided_requests']} requests were refused before their limits, for their body or for want "
            "of room: they stay refused"
        )
    if strangers and keys:
        yield "keys that are not in this configuration's lists are let through, with the limits of all"
    elif strangers:
        yield "who has which key is not in this configuration: every key is let through, with the limits of all"
    for name in ("per_client_address", "per_session", "per_deployment"):
        if getattr(limits, name).model_fields_set:
            yield f"limits.{name} is not replayed: no record says so much of a request"
    if config.plugins:
        yield "plugins of your own are not run"


def _print(report: Mapping[str, Any]) -> None:
    console = plain_console()
    console.width = 10_000 if not console.is_terminal else console.width
    console.print(f"{report['requests']:,} requests from {report['since']} to {report['until']}")
    both = Table("", "today", "replayed", box=box.SIMPLE_HEAD)
    today, replayed = report["today"], report["replayed"]
    for reason in sorted({*today["refused"], *replayed["refused"]}):
        both.add_row(reason, *(f"{side['refused'].get(reason, 0):,}" for side in (today, replayed)))
    both.add_row("refused in all", *(f"{sum(side['refused'].values()):,}" for side in (today, replayed)))
    both.add_row("cost", *(_cost(side) for side in (today, replayed)))
    console.print(both)
    console.print(
        f"{report['newly_refused']:,} would be refused that were not, {report['newly_admitted']:,} would not be that "
        f"were; {report['close_refusals']:,} refusals are close."
    )
    if report["refusals"]:
        _print_refusals(report["refusals"])
    for reason, number in report["shadowed"].items():
        console.print(f"{number:,} would be refused by limits in shadow mode: {reason}")
    for sentence in report["not_known"]:
        sys.stderr.write(f"note: {sentence}\n")


def _print_refusals(refusals: Sequence[Mapping[str, Any]]) -> None:
    console = plain_console()
    console.width = 10_000 if not console.is_terminal else console.width
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("key", "model", "refused as", "by", "requests", "new", "first", "last", "cost today"):
        table.add_column(name, justify="right" if name in ("requests", "new", "cost today") else "left", no_wrap=True)
    for line in refusals[:_SHOWN]:
        table.add_row(
            printable(line["key_id"] or "-"),
            printable(line["model"] or "-"),
            line["reason"],
            printable(line["limit"]),
            f"{line['requests']:,}",
            f"{line['newly']:,}",
            line["first"][:16].replace("T", " "),
            line["last"][:16].replace("T", " "),
            f"${line['cost_usd_today']:,.2f}",
        )
    console.print(table)
    if len(refusals) > _SHOWN:
        console.print(f"and {len(refusals) - _SHOWN:,} more groups; --json has all")


def _cost(side: Mapping[str, Any]) -> str:
    unpriced = f" + {side['unpriced_requests']:,} unpriced" if side["unpriced_requests"] else ""
    return f"${side['cost_usd']:,.2f}{unpriced}"


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
