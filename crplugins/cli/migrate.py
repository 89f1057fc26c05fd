"""`crplugins migrate`: a configuration of LiteLLM's proxy, written as one of ours."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from crplugins.cli.litellm_report import LitellmFile
from crplugins.cli.refused import Refused
from crplugins.config import ConfigError
from crplugins.config.litellm.report import totals


def migrate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="LiteLLM's config.yaml.")],
) -> None:
    """Write a configuration of LiteLLM's proxy as one of ours to stdout, with a comment for each key that is lost.

    Exits with 2 if no model of it could be served.
    """
    from crplugins.config.litellm.migration import migrated  # ruamel.yaml, needed only here

    read = LitellmFile.read(file, os.environ)
    read.outcome.config()
    text = migrated(file.read_text(encoding="utf-8"), str(file), read.outcome.reading, read.rows)
    _check(text, read)
    sys.stdout.write(text)
    counts = totals(read.rows)
    summary = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    typer.echo(f"{len(read.rows)} keys: {summary}", err=True)
    if read.unset:
        typer.echo(f"not set in this environment: {', '.join(read.unset)}", err=True)


def _check(text: str, read: LitellmFile) -> None:
    """That what is written says the same as the file. Raises `Refused`."""
    try:
        written = read.parsed(text)
    except ConfigError as error:
        raise Refused(f"what was written is not valid, which is a mistake of this command:\n{error}") from None
    if written.model_dump() != read.outcome.config().model_dump():
        raise Refused("what was written says something else, which is a mistake of this command")
