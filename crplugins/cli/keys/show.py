"""`crplugins keys list | show`: no secret and no digest of one, only hints.

How limits stand is read where they are kept: in the store that all processes share, else by asking the gateway itself.
"""

import asyncio
import json
import math
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import msgspec
import typer
from rich.table import Table

from crplugins.cli.address import local_url
from crplugins.cli.fetch import fetch
from crplugins.cli.keys.source import (
    IdArgument,
    JsonOption,
    PepperOption,
    SourceOption,
    all_keys,
    clock_of,
    one_key,
    read_config,
)
from crplugins.cli.options import ConfigOption
from crplugins.cli.refused import Refused
from crplugins.cli.terminal import plain_console
from crplugins.config import Config, ConfigError
from crplugins.core.principal import Principal
from crplugins.homes.caller_limits import ADMIN_PATH, CallerLimits, read_caller_limits
from crplugins.keys.state import key_to_public_dict
from crplugins.limits.opening import open_limit_store
from crplugins.limits.reservations import Reservations
from crplugins.limits.store import StoreUnavailable
from crplugins.plugins.budgets.plugin import Budgets
from crplugins.plugins.rate_limits.plugin import RateLimits


class LevelsUnknown(Exception):
    """How the limits stand cannot be seen from here. The text says why."""


def levels_of(config: Config, principal: Principal, gateway: str | None) -> CallerLimits:
    """How the limits and budgets of a key and of its team stand. Raises `LevelsUnknown`."""
    if config.limits.store == "memory" or gateway is not None:
        return _asked(config, principal, gateway or local_url(config.server.host, config.server.port))
    try:
        return asyncio.run(_read(config, principal))
    except StoreUnavailable:
        raise LevelsUnknown("the limit store is unavailable") from None


def _asked(config: Config, principal: Principal, gateway: str) -> CallerLimits:
    """As the running gateway says, in whose memory they are."""
    where = "limits are kept in the memory of the gateway"
    if config.admin is None:
        raise LevelsUnknown(f"{where}, which is asked if the configuration has admin: {{token: ...}}")
    url = f"{gateway.rstrip('/')}{ADMIN_PATH}?{urlencode({'key': principal.key_id})}"
    token = config.admin.token.get_secret_value()
    try:
        status, body = fetch(url, {"authorization": f"Bearer {token}"})
        if status != 200:
            raise LevelsUnknown(f"{where}, and {gateway} answers {status}: does it run with this configuration?")
        return msgspec.json.decode(body, type=CallerLimits)
    except Refused as refused:
        raise LevelsUnknown(f"{where}, and {refused}; --gateway names another address") from None
    except msgspec.DecodeError:
        raise LevelsUnknown(f"{where}, and what answers at {gateway} is none of ours") from None


async def _read(config: Config, principal: Principal) -> CallerLimits:
    reservations = Reservations(open_limit_store(config.limits.store))
    rate_limits = RateLimits(config.limits.rules(), store=reservations)
    section = config.budgets
    budgets = Budgets(section.key(), section.teams(), shadow=section.shadow, store=reservations)
    async with rate_limits, budgets:
        return await read_caller_limits(principal, rate_limits, budgets, lambda _principal, model: [model])


_PLAIN: Final = ("id", "state", "team", "owner", "created_at", "not_before", "expires")
_STYLES: Final = {"not yet valid": "yellow", "expired": "red", "revoked": "red", "disabled": "red"}


def list_(
    context: typer.Context,
    source: SourceOption = None,
    pepper_env: PepperOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show every key and its state, those that stand in the configuration too."""
    found = all_keys(context, source, pepper_env, config_file)
    now = clock_of(context)()
    keys = [key_to_public_dict(key, now) for key in found]
    if as_json:
        typer.echo(json.dumps(keys, indent=2))
    else:
        plain_console().print(_table(keys))


def show(
    context: typer.Context,
    key_id: IdArgument,
    gateway: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The gateway to ask how limits stand. Without it: the configuration's."),
    ] = None,
    source: SourceOption = None,
    pepper_env: PepperOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one key: its policy, its state, its secrets by their hints, and how its limits stand.

    Limits that are kept in the memory of the gateway are asked for there, with the admin token of the configuration.
    """
    found = one_key(context, key_id, source, pepper_env, config_file)
    key = key_to_public_dict(found, clock_of(context)())
    levels, unseen = _levels(config_file, found.principal, gateway)
    if as_json:
        typer.echo(json.dumps({**key, "standing": msgspec.to_builtins(levels)}, indent=2))
        return
    console = plain_console()
    console.print(_details(key))
    console.print(_secrets(key["secrets"]))
    if levels is not None and (levels.limits or levels.budgets):
        console.print(_limits(levels))
    elif unseen and (key["limits"] or key["budget"]):
        console.print(unseen)


def _levels(config_file: Path | None, principal: Principal, gateway: str | None) -> tuple[CallerLimits | None, str]:
    """How the limits stand; None, and why, where that cannot be seen."""
    try:
        config, _ = read_config(config_file)
        return levels_of(config, principal, gateway), ""
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


def _named(name: str, *, shadow: bool) -> str:
    return f"{name} (shadow)" if shadow else name


def _limits(levels: CallerLimits) -> Table:
    table = Table("limit", "of", "used", "remaining", "amount", "free again", title="limits", title_justify="left")
    for limit in levels.limits:
        models = f", {', '.join(limit.models)}" if limit.models else ""
        reset = "" if not limit.reset_seconds else f"in {timedelta(seconds=math.ceil(limit.reset_seconds))}"
        table.add_row(
            _named(limit.name, shadow=limit.shadow),
            f"{limit.scope} {limit.owner}{models}",
            f"{limit.used}",
            f"{limit.remaining}",
            f"{limit.limit}",
            reset,
        )
    for budget in levels.budgets:
        name = "budget" if budget.period == "total" else f"budget per {budget.period}"
        table.add_row(
            _named(name, shadow=budget.shadow),
            f"{budget.scope} {budget.owner}",
            f"{budget.spent_usd:g} USD",
            f"{budget.remaining_usd:g} USD",
            f"{budget.limit_usd:g} USD",
            _date(budget.resets_at),
        )
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
