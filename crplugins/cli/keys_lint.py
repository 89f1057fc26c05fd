"""`crplugins keys lint`: what is wrong with keys, or soon will be."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from crplugins.cli.configuration import ConfigOption
from crplugins.cli.keys_entries import Entries
from crplugins.cli.keys_findings import Finding, Names, findings
from crplugins.cli.keys_source import (
    JsonOption,
    PepperOption,
    SourceOption,
    clock_of,
    expect_file,
    pepper_of,
    read_config,
    sentences,
)
from crplugins.config import Config
from crplugins.settings.document import read_document
from crplugins.settings.errors import KeyPath


def lint(
    context: typer.Context,
    source: SourceOption = None,
    pepper_env: PepperOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look for what is wrong with keys, or soon will be.

    That is: secrets in plain text or easily guessed, keys that end within 30 days or have no live secret, models
    nobody serves, ids or secrets that stand twice. Exits with 1 if anything is found.

    Besides a file or a database it takes keys that stand in the configuration. What is served is known with a
    configuration; with --source it is read only if --config names it.
    """
    with sentences():
        entries, names = _gather(source, pepper_of(pepper_env), config_file)
    found = [*entries.findings, *findings(entries.listed, clock_of(context)(), names)]
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(finding) for finding in found], indent=2))
    else:
        _print(found, len(entries.listed))
    if found:
        raise typer.Exit(1)


def _gather(source: str | None, pepper: str | None, config_file: Path | None) -> tuple[Entries, Names | None]:
    entries = Entries()
    names = None
    if source is None or config_file is not None:
        config, file = read_config(config_file)
        names = Names.of(config)
        if source is None:
            _add_configured(entries, config, file)
    if source is not None:
        expect_file(source)
        entries.add_source(source, pepper)
    return entries, names


def _add_configured(entries: Entries, config: Config, file: Path | None) -> None:
    """The keys of every source of a configuration but tokens, which are kept elsewhere."""
    if file is None:
        return
    document = read_document(file.read_text(encoding="utf-8"), str(file))
    for path, raw, spec in _parts(document.data.get("keys") or [], config.keys):
        if "file" in spec or "sql" in spec:
            expect_file(spec)
            entries.add_source(spec, None)
        elif "keys" in spec:
            entries.add_list(raw["keys"], path, str(file), document.source.lines)


def _parts(raw: Any, keys: Any) -> Iterator[tuple[KeyPath, Mapping[str, Any], Mapping[str, Any]]]:
    """Where the list of each source would stand, the source as it stands in the file, and as it was read."""
    if isinstance(keys, Mapping):
        yield ("keys", "keys"), raw, keys
    elif any("id" not in item for item in keys):
        for index, (item, spec) in enumerate(zip(raw, keys, strict=True)):
            yield ("keys", index, "keys"), item, spec
    else:
        yield ("keys",), {"keys": raw}, {"keys": keys}


def _print(found: Sequence[Finding], count: int) -> None:
    for finding in found:
        typer.echo(str(finding))
    if not found:
        typer.echo(f"{count} keys, nothing found wanting.")
