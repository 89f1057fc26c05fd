"""`crplugins check`: whether the configuration is valid, and what it sets up."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table

from crplugins.cli.configuration import FoundConfig, find
from crplugins.cli.keys.source import keys_of, sentences
from crplugins.cli.litellm_report import report as report_litellm
from crplugins.cli.options import ConfigOption
from crplugins.cli.preflight import address_warnings, require_files
from crplugins.cli.terminal import plain_console, printable
from crplugins.config import Config, ModelEntry
from crplugins.core.redaction import without_credentials
from crplugins.handlers.demo_models import is_demo
from crplugins.handlers.routing.checks import ignored
from crplugins.handlers.upstream import Upstream, UpstreamUnknown
from crplugins.homes.upstream_choice import AnyUpstream
from crplugins.keys.key import Key
from crplugins.keys.opening import parts_of

if TYPE_CHECKING:
    from crplugins.cli.online import Trial

ONLINE_SECONDS: Final = 15.0


def check(
    config_file: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone on stdout.")] = False,
    litellm: Annotated[
        Path | None,
        typer.Option(
            "--litellm",
            metavar="FILE",
            help="Say what becomes of each key of LiteLLM's config.yaml, by its line. Exits with 1 if one is lost.",
        ),
    ] = None,
    online: Annotated[
        bool,
        typer.Option("--online", help="Try each deployment, database and store too. Exits with 1 if one fails."),
    ] = False,
    seconds: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds for each of them.")] = ONLINE_SECONDS,
) -> None:
    """Check the configuration and show what it sets up. Exits with 2 if it is not valid."""
    if litellm is not None:
        if config_file is not None or online:
            raise typer.BadParameter("it reads that file alone, without --config and --online", param_hint="--litellm")
        report_litellm(litellm, as_json=as_json)
        return
    from crplugins.homes.gateway.app import Gateway  # its import, with aiohttp, would double the start of all commands

    found = find(config_file)
    gateway = Gateway.from_config(found.config)  # raises for invalid places and options of the user's own plugins
    upstreams, keys = found.upstreams(), _known_keys(found.config)
    warnings = [f"{each}; it is not served" for each in upstreams if isinstance(each, UpstreamUnknown)]
    warnings += gateway.warnings(keys)
    warnings += [text for text in [ignored(_unchecked(found.config, upstreams))] if text]
    warnings += [*require_files(found.config), *address_warnings(found.config)]
    for warning in warnings:
        typer.echo(f"warning: {warning}", err=True)
    report = _report(found, upstreams, keys, warnings)
    trials = _trials(found.config, upstreams, seconds) if online else None
    if as_json:
        shown = report if trials is None else {**report, "online": [trial.as_dict() for trial in trials]}
        typer.echo(json.dumps(shown, indent=2))
    else:
        _print(report, _sources(found.config))
        if trials is not None:
            _print_trials(trials)
    if trials is not None and not all(trial.good for trial in trials):
        raise typer.Exit(1)


def _trials(config: Config, upstreams: Sequence[AnyUpstream], seconds: float) -> "list[Trial]":
    from crplugins.cli.online import try_everything  # handlers and databases, needed only here

    return asyncio.run(try_everything(config, upstreams, seconds))


def _print_trials(trials: "Sequence[Trial]") -> None:
    table = Table("what", "where", "result", "said", "seconds", title="online", title_justify="left")
    for trial in trials:
        good = "ok" if trial.good else "FAILS"
        words = [printable(word) for word in (trial.what, trial.where, good, trial.said)]
        table.add_row(*words, f"{trial.seconds:.1f}")
    plain_console().print(table)


def _report(
    found: FoundConfig, upstreams: Sequence[AnyUpstream], keys: Sequence[Key], warnings: Sequence[str]
) -> dict[str, Any]:
    config = found.config
    return {
        "file": str(found.file) if found.file else None,
        "model_list": list(_models(config, upstreams)),
        "keys": [key.id for key in keys],
        "server": config.server.model_dump(),
        "guard": config.guard.model_dump(),
        "plugins": [{"use": entry.name, "before": entry.before, "after": entry.after} for entry in config.plugins],
        "warnings": [*config.warnings, *warnings],
        **_written(config),
    }


def _written(config: Config) -> dict[str, Any]:
    """What the configuration says beside what is reported whole, without secrets."""
    names = config.model_fields_set - {"model_list", "keys", "server", "guard", "plugins"}
    written: dict[str, Any] = _shown(config.model_dump(mode="json", include=names, exclude_unset=True, warnings=False))
    return written


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shown(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shown(item) for item in value]
    return without_credentials(value) if isinstance(value, str) and "://" in value else value


def _known_keys(config: Config) -> list[Key]:
    """Those in the configuration and in files: a database is not asked whether the configuration is valid.

    Raises `ConfigError` and `Refused` for a file with which `serve` would not start.
    """
    known: list[Key] = []
    for part in parts_of(config.keys):
        if "sql" not in part:
            with sentences():
                known += keys_of(part)
    return known


def _models(config: Config, upstreams: Sequence[AnyUpstream]) -> Iterable[dict[str, Any]]:
    for entry, upstream in zip(config.model_list, upstreams, strict=True):
        base = upstream.base_url if isinstance(upstream, Upstream) else entry.litellm_params.api_base
        yield {
            "model_name": entry.model_name,
            "model": entry.litellm_params.model,
            "handler": _handler(entry, upstream),
            "api_base": without_credentials(base) if base else None,
        }


def _unchecked(config: Config, upstreams: Sequence[AnyUpstream]) -> Iterable[str]:
    """The models with a `health_check` that the direct handler does not serve."""
    for deployment, upstream in zip(config.deployments(), upstreams, strict=True):
        if deployment.routing.check_seconds and upstream is None:
            yield deployment.name


def _handler(entry: ModelEntry, upstream: AnyUpstream) -> str:
    if isinstance(upstream, UpstreamUnknown):
        return "none"
    if is_demo(entry.deployment()):
        return "demo"
    return "direct" if upstream else "litellm"


def _sources(config: Config) -> str:
    """Where the keys are, for people."""
    places = {"file": "the file", "sql": "the database", "jwt": "signed tokens"}
    texts = []
    for part in parts_of(config.keys):
        if "keys" in part:
            texts += [str(key.get("id")) for key in part["keys"]]
        else:
            kind = next(kind for kind in places if kind in part)
            texts.append(places[kind] + (f" {_shown(part[kind])}" if kind != "jwt" else ""))
    return ", ".join(texts)


def _print(report: dict[str, Any], sources: str) -> None:
    console = plain_console()
    file = report["file"]
    console.print(f"{file} is valid." if file else "There is no configuration file; the demo model is served.")
    models = Table("model_name", "model", "handler", "api_base", title="model_list", title_justify="left")
    for model in report["model_list"]:
        models.add_row(model["model_name"], model["model"], model["handler"], model["api_base"] or "")
    console.print(models)
    console.print(_settings(report, sources))


def _settings(report: dict[str, Any], sources: str) -> Table:
    table = Table("key", "value", title="other settings", title_justify="left")
    table.add_row("keys", sources or "none: `crplugins serve` generates one at start-up")
    for section, values in report.items():
        if section in Config.model_fields and section not in ("model_list", "keys", "plugins"):
            for key, value in values.items() if isinstance(values, dict) else [("", values)]:
                table.add_row(f"{section}.{key}".removesuffix("."), json.dumps(value))
    table.add_row("plugins", ", ".join(plugin["use"] for plugin in report["plugins"]) or "none")
    return table
