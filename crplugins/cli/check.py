"""`crplugins check`: whether the configuration is valid, and what it sets up."""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.table import Table

from crplugins.cli.configuration import FoundConfig, find
from crplugins.cli.keys.source import keys_of, parts_of
from crplugins.cli.options import ConfigOption
from crplugins.cli.terminal import plain_console
from crplugins.config import Config, ConfigError, ModelEntry
from crplugins.handlers.demo import is_demo
from crplugins.handlers.upstream import Upstream
from crplugins.keys.key import Key
from crplugins.keys.source import SourceUnavailable


def check(
    config_file: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone on stdout.")] = False,
) -> None:
    """Check the configuration and show what it sets up. Exits with 2 if it is not valid."""
    from crplugins.homes.gateway.app import Gateway  # its import, with aiohttp, would double the start of all commands

    found = find(config_file)
    gateway = Gateway.from_config(found.config)  # raises for invalid places and options of the user's own plugins
    unpriced = gateway.unpriced_warnings(_known_keys(found.config))
    for warning in unpriced:
        typer.echo(f"warning: {warning}", err=True)
    report = _report(found, unpriced)
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        _print(report)


def _report(found: FoundConfig, unpriced: Sequence[str]) -> dict[str, Any]:
    config = found.config
    return {
        "file": str(found.file) if found.file else None,
        "model_list": list(_models(found)),
        "keys": config.key_ids(),
        "server": config.server.model_dump(),
        "guard": config.guard.model_dump(),
        "plugins": [{"use": entry.name, "before": entry.before, "after": entry.after} for entry in config.plugins],
        "warnings": [*config.warnings, *unpriced],
    }


def _known_keys(config: Config) -> list[Key]:
    """Those in the configuration and in a readable file: a database is not asked whether the configuration is valid."""
    known: list[Key] = []
    for part in parts_of(config.keys):
        if "sql" not in part:
            with suppress(ConfigError, SourceUnavailable):
                known += keys_of(part)
    return known


def _models(found: FoundConfig) -> Iterable[dict[str, Any]]:
    for entry, upstream in zip(found.config.model_list, found.upstreams(), strict=True):
        base = upstream.base_url if upstream else entry.litellm_params.api_base
        yield {
            "model_name": entry.model_name,
            "model": entry.litellm_params.model,
            "handler": _handler(entry, upstream),
            "api_base": without_credentials(base) if base else None,
        }


def _handler(entry: ModelEntry, upstream: Upstream | None) -> str:
    if is_demo(entry.deployment()):
        return "demo"
    return "direct" if upstream else "litellm"


def without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def _print(report: dict[str, Any]) -> None:
    console = plain_console()
    file = report["file"]
    console.print(f"{file} is valid." if file else "There is no configuration file; the demo model is served.")
    models = Table("model_name", "model", "handler", "api_base", title="model_list", title_justify="left")
    for model in report["model_list"]:
        models.add_row(model["model_name"], model["model"], model["handler"], model["api_base"] or "")
    console.print(models)
    console.print(_settings(report))


def _settings(report: dict[str, Any]) -> Table:
    table = Table("key", "value", title="everything else", title_justify="left")
    table.add_row("keys", ", ".join(report["keys"]) or "none: `crplugins serve` generates one at start-up")
    for section in ("server", "guard"):
        for key, value in report[section].items():
            table.add_row(f"{section}.{key}", json.dumps(value))
    table.add_row("plugins", ", ".join(plugin["use"] for plugin in report["plugins"]) or "none")
    return table
