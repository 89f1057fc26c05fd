"""`crplugins keys audit`: who changed what of which key, and when."""

import json
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
import typer

from crplugins.cli.keys.source import JsonOption, PepperOption, SourceOption, clock_of, key_id, with_service
from crplugins.cli.options import ConfigOption, read_option
from crplugins.keys.audit import MOST_ENTRIES, AuditEntry, AuditQuestion
from crplugins.keys.state import format_moment
from crplugins.ledger.question import read_moment


def audit(
    context: typer.Context,
    of_key: Annotated[
        str | None, typer.Argument(parser=key_id, metavar="[ID]", help="Only changes of this key.")
    ] = None,
    actor: Annotated[str | None, typer.Option(metavar="NAME", help="Only changes by this one.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="7d, 24h, or a date such as 2027-01-31.")] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="The end, in the same form; it is not included.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_ENTRIES, help="How many, the newest.")] = 100,
    source: SourceOption = None,
    pepper_env: PepperOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show who changed what of which key, the newest change first.

    The names are those of admin tokens, and of users of the operating system with their machine.
    """
    now = clock_of(context)()
    question = AuditQuestion(of_key, actor, _moment("--since", since, now), _moment("--until", until, now), limit=limit)
    entries = with_service(context, source, pepper_env, config_file, lambda service: service.audit(question))
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(entries), indent=2))
    else:
        for entry in entries:
            typer.echo(
                f"{format_moment(entry.at)}  {entry.actor}  {entry.action}  {entry.key_id}  {_what(entry)}".rstrip()
            )


def _moment(option: str, text: str | None, now: datetime) -> datetime | None:
    return None if text is None else read_option(option, lambda: read_moment(text, now))


def _what(entry: AuditEntry) -> str:
    """`limits: {...} -> {...}` for each word that has changed; of a whole key what it was given."""
    if entry.before is None or entry.after is None:
        given = entry.after or entry.before or {}
        return ", ".join(f"{name}: {_text(value)}" for name, value in given.items() if name not in _PLAIN)
    before, after = entry.before, entry.after
    return ", ".join(f"{name}: {_text(before.get(name))} -> {_text(after.get(name))}" for name in after)


_PLAIN: Final = frozenset({"id", "created_at"})


def _text(value: Any) -> str:
    """JSON without its quotes; secrets by their hints."""
    if isinstance(value, list) and value and isinstance(value[0], dict) and "hint" in value[0]:
        return " ".join(
            each["hint"] + (f" (ends {each['not_after']})" if "not_after" in each else "") for each in value
        )
    return "-" if value is None else json.dumps(value, ensure_ascii=False).replace('"', "")
