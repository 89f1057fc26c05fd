"""A file of LiteLLM's as `check --litellm` and `migrate` read it: every key and what becomes of it."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec
import typer

from crplugins.cli.terminal import printable
from crplugins.config import Config, Problem
from crplugins.config.litellm.report import KeyRow, rows_of, totals
from crplugins.config.litellm.variables import with_stand_ins
from crplugins.config.load import Outcome, outcome_of, parse_text, read_config_file
from crplugins.homes.upstream_choice import unserved


@dataclass(frozen=True, slots=True)
class LitellmFile:
    """The file, read without the variables of the environment that are not set.

    Attributes:
        unset: their names.
        rows: every key of the file.
    """

    path: Path
    environ: Mapping[str, str]
    outcome: Outcome
    unset: Sequence[str]
    rows: Sequence[KeyRow]

    @classmethod
    def read(cls, path: Path, environ: Mapping[str, str] = os.environ) -> Self:
        """Raises `ConfigError` for a file that cannot be read as YAML."""
        document = read_config_file(path)
        assumed, unset = with_stand_ins(document.data, environ)
        outcome = outcome_of(document, assumed)
        if outcome.made is not None:
            left_out = unserved(outcome.made)
            for index, why in left_out:
                outcome.reading.not_served(outcome.reading.entries[index], why)
            if left_out and len(left_out) == len(outcome.made.model_list):
                places = (("model_list", outcome.reading.entries[index]) for index, _ in left_out)
                problems = [Problem(place, why) for place, (_, why) in zip(places, left_out, strict=True)]
                outcome = msgspec.structs.replace(outcome, made=None, problems=problems)
        return cls(path, assumed, outcome, unset, rows_of(document, outcome.reading, outcome.problems))

    def parsed(self, text: str) -> Config:
        """Another text, as a configuration in the same environment. Raises `ConfigError`."""
        return parse_text(text, self.environ)


def report(path: Path, *, as_json: bool) -> None:
    """Prints what becomes of each key. Exits with 1 if one is lost, with 2 if no model could be served."""
    read = LitellmFile.read(path)
    if as_json:
        typer.echo(json.dumps(_as_dict(read), indent=2))
    else:
        _print(read)
    for problem in read.outcome.problems:
        typer.echo(read.outcome.document.source.located(problem).sentence(str(path)), err=True)
    if read.outcome.problems:
        raise typer.Exit(2)
    if any(row.fate.is_lost for row in read.rows):
        raise typer.Exit(1)


def _as_dict(read: LitellmFile) -> dict[str, Any]:
    made = read.outcome.made
    fates = read.outcome.reading.fates
    left_out = [str(place[1]) for place in fates if len(place) == 2 and place[0] == "model_list"]
    return {
        "file": str(read.path),
        "keys": [row.as_dict() for row in read.rows],
        "totals": totals(read.rows),
        "models": [entry.model_name for entry in made.model_list] if made is not None else [],
        "left_out": left_out,
        "unset": list(read.unset),
    }


def _print(read: LitellmFile) -> None:
    where = {id(row): f"{row.file}:{row.line}" if row.file else str(row.line or "") for row in read.rows}
    wide = max([len("line"), *map(len, where.values())])
    names = [printable(row.shown) for row in read.rows]
    longest = min(max([len("key"), *map(len, names)]), 70)
    typer.echo(f"{'line':>{wide}}  {'key':<{longest}}  fate      what becomes of it")
    for row, name in zip(read.rows, names, strict=True):
        typer.echo(f"{where[id(row)]:>{wide}}  {name:<{longest}}  {row.fate.kind:<8}  {printable(row.fate.say)}")
    counts = totals(read.rows)
    typer.echo(f"{len(read.rows)} keys: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()))
    if read.unset:
        typer.echo(f"not set in this environment: {', '.join(read.unset)}")
