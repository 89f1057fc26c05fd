"""`crplugins keys list | show`: no secret and no digest of one, only hints."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import typer
from rich.console import Console
from rich.table import Table

from crplugins.cli.configuration import ConfigOption
from crplugins.cli.keys_source import JsonOption, PepperOption, SourceOption, clock_of, read_config, with_desk
from crplugins.cli.keys_usage import NoStanding, standing_of
from crplugins.cli.keys_words import IdArgument
from crplugins.config import ConfigError
from crplugins.core.principal import Principal
from crplugins.keys.desk import describe

_PLAIN: Final = ("id", "state", "team", "owner", "created_at", "not_before", "expires")
_STYLES: Final = {"not yet valid": "yellow", "expired": "red", "revoked": "red", "disabled": "red"}


def list_(
    context: typer.Context,
    source: SourceOption = None,
    pepper_env: PepperOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show every key and its state."""
    found = with_desk(context, source, pepper_env, config_file, lambda desk: desk.list())
    now = clock_of(context)()
    keys = [describe(key, now) for key in found]
    if as_json:
        typer.echo(json.dumps(keys, indent=2))
    else:
        _console().print(_table(keys))


def show(
    context: typer.Context,
    key_id: IdArgument,
    source: SourceOption = None,
    pepper_env: PepperOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one key: its policy, its state, its secrets by their hints, and how its limits stand."""
    found = with_desk(context, source, pepper_env, config_file, lambda desk: desk.get(key_id))
    key = describe(found, clock_of(context)())
    standing, unseen = _standing(config_file, found.principal)
    if as_json:
        typer.echo(json.dumps({**key, "standing": standing}, indent=2))
        return
    console = _console()
    console.print(_details(key))
    console.print(_secrets(key["secrets"]))
    if standing:
        console.print(_limits(standing))
    elif unseen and (key["limits"] or key["budget"]):
        console.print(unseen)


def _standing(config_file: Path | None, principal: Principal) -> tuple[list[dict[str, Any]] | None, str]:
    """How the limits stand; None, and why, where that cannot be seen."""
    try:
        config, _ = read_config(config_file)
        return standing_of(config, principal), ""
    except NoStanding as error:
        return None, str(error)
    except ConfigError:  # a source named on the command line needs no configuration
        return None, ""


def _console() -> Console:
    return Console(markup=False, emoji=False, highlight=False)


def _table(keys: Iterable[dict[str, Any]]) -> Table:
    table = Table("id", "state", "team", "models", "expires", "secrets")
    for key in keys:
        hints = [secret["hint"] for secret in key["secrets"] if secret["live"]]
        row = (key["id"], key["state"], key["team"] or "", _models(key), _date(key["expires"]), ", ".join(hints))
        table.add_row(*row, style=_STYLES.get(key["state"]))
    return table


def _details(key: dict[str, Any]) -> Table:
    table = Table("key", "value")
    for name in _PLAIN:
        if key[name] is not None:
            table.add_row(name, key[name])
    table.add_row("models", _models(key))
    for name in ("tags", "aliases", "limits", "budget"):
        for inner, value in (key[name] or {}).items():
            table.add_row(f"{name}.{inner}", value if isinstance(value, str) else json.dumps(value))
    return table


def _limits(standing: Iterable[dict[str, Any]]) -> Table:
    table = Table("limit", "of", "used", "amount", title="limits", title_justify="left")
    for entry in standing:
        table.add_row(entry["limit"], f"{entry['scope']} {entry['of']}", f"{entry['used']:g}", f"{entry['amount']:g}")
    return table


def _secrets(secrets: Iterable[dict[str, Any]]) -> Table:
    table = Table("secret", "made", "ends", "live", title="secrets", title_justify="left")
    for secret in secrets:
        ends = secret["not_after"] or "with the key"
        table.add_row(secret["hint"], secret["created_at"] or "", ends, "yes" if secret["live"] else "no")
    return table


def _models(key: dict[str, Any]) -> str:
    return "all" if key["models"] is None else ", ".join(key["models"]) or "none"


def _date(moment: str | None) -> str:
    return (moment or "").removesuffix("T00:00:00Z")
