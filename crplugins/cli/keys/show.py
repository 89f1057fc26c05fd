"""`crplugins keys list | show`: no secret and no digest of one, only hints."""

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import typer
from rich.table import Table

from crplugins.cli.keys.source import (
    IdArgument,
    JsonOption,
    PepperOption,
    SourceOption,
    clock_of,
    read_config,
    with_service,
)
from crplugins.cli.options import ConfigOption
from crplugins.cli.terminal import plain_console
from crplugins.config import Config, ConfigError
from crplugins.core.principal import Principal
from crplugins.core.usage import usd
from crplugins.keys.service import format_moment, key_to_public_dict
from crplugins.limits.opening import open_limit_store
from crplugins.limits.reservations import Reservations
from crplugins.limits.store import StoreUnavailable
from crplugins.plugins.budgets.plugin import Budgets, BudgetState
from crplugins.plugins.rate_limits.levels import LimitLevel
from crplugins.plugins.rate_limits.plugin import RateLimits

IN_MEMORY = "limits are kept in the memory of the gateway: see its /metrics"


class LevelsUnknown(Exception):
    """How the limits stand cannot be seen from here. The text says why."""


def levels_of(config: Config, principal: Principal) -> list[dict[str, Any]]:
    """One entry for each limit and budget of the key and its team: its name, whose it is, used, amount, reset.

    Raises `LevelsUnknown` where only the gateway itself knows.
    """
    if config.limits.store == "memory":
        raise LevelsUnknown(IN_MEMORY)
    try:
        return asyncio.run(_read(config, principal))
    except StoreUnavailable:
        raise LevelsUnknown("the limit store is unavailable") from None


async def _read(config: Config, principal: Principal) -> list[dict[str, Any]]:
    reservations = Reservations(open_limit_store(config.limits.store))
    rate_limits = RateLimits(config.limits.rules(), store=reservations)
    section = config.budgets
    budgets = Budgets(section.key(), section.teams(), shadow=section.shadow, store=reservations)
    async with rate_limits, budgets:
        levels = await rate_limits.levels_of(principal)
        states = await budgets.states_of(principal)
    return [*map(_level, levels), *map(_state, states)]


def _level(level: LimitLevel) -> dict[str, Any]:
    whose = f"{level.owner}, {level.model}" if level.model else level.owner
    return {
        "limit": level.limit,
        "scope": level.scope,
        "of": whose,
        "used": level.used,
        "amount": level.amount,
        "reset_seconds": level.reset / 1000,
        "shadow": level.shadow,
    }


def _state(state: BudgetState) -> dict[str, Any]:
    return {
        "limit": f"budget per {state.period}" if state.period != "total" else "budget",
        "scope": state.scope,
        "of": state.owner,
        "used": usd(state.spent),
        "amount": usd(state.amount),
        "reset": None if state.reset is None else format_moment(state.reset),
        "shadow": state.shadow,
    }


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
    found = with_service(context, source, pepper_env, config_file, lambda service: service.list())
    now = clock_of(context)()
    keys = [key_to_public_dict(key, now) for key in found]
    if as_json:
        typer.echo(json.dumps(keys, indent=2))
    else:
        plain_console().print(_table(keys))


def show(
    context: typer.Context,
    key_id: IdArgument,
    source: SourceOption = None,
    pepper_env: PepperOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one key: its policy, its state, its secrets by their hints, and how its limits stand."""
    found = with_service(context, source, pepper_env, config_file, lambda service: service.get(key_id))
    key = key_to_public_dict(found, clock_of(context)())
    levels, unseen = _levels(config_file, found.principal)
    if as_json:
        typer.echo(json.dumps({**key, "standing": levels}, indent=2))
        return
    console = plain_console()
    console.print(_details(key))
    console.print(_secrets(key["secrets"]))
    if levels:
        console.print(_limits(levels))
    elif unseen and (key["limits"] or key["budget"]):
        console.print(unseen)


def _levels(config_file: Path | None, principal: Principal) -> tuple[list[dict[str, Any]] | None, str]:
    """How the limits stand; None, and why, where that cannot be seen."""
    try:
        config, _ = read_config(config_file)
        return levels_of(config, principal), ""
    except LevelsUnknown as error:
        return None, str(error)
    except ConfigError:  # a source named on the command line needs no configuration
        return None, ""


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
    table.add_row("priority", key["priority"])
    if key["admin"]:
        table.add_row("admin", "yes")
    for name in ("tags", "aliases", "limits", "budget"):
        for inner, value in (key[name] or {}).items():
            table.add_row(f"{name}.{inner}", value if isinstance(value, str) else json.dumps(value))
    return table


def _limits(levels: Iterable[dict[str, Any]]) -> Table:
    table = Table("limit", "of", "used", "amount", title="limits", title_justify="left")
    for entry in levels:
        name = entry["limit"] + " (shadow)" * entry["shadow"]
        table.add_row(name, f"{entry['scope']} {entry['of']}", f"{entry['used']:g}", f"{entry['amount']:g}")
    return table


def _secrets(secrets: Iterable[dict[str, Any]]) -> Table:
    table = Table("secret", "made", "ends", "live", title="secrets", title_justify="left")
    for secret in secrets:
        ends = secret["not_after"] or "with the key"
        table.add_row(secret["hint"], secret["created_at"] or "", ends, "yes" if secret["live"] else "no")
    return table


def _models(key: dict[str, Any]) -> str:
    if key["models"] is None:
        return "all"
    return (", ".join(key["models"]) or "none") + " (shadow)" * bool(key["models_shadow"])


def _date(moment: str | None) -> str:
    return (moment or "").removesuffix("T00:00:00Z")
