"""The configuration of a command: found, read, and checked as far as possible without serving."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from crplugins.config import Config, Problem, find_config, load_config, parse_config
from crplugins.handlers.upstream import Upstream, UpstreamUnknown, resolve

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The YAML file. Without it: CRPLUGINS_CONFIG, else gateway.yaml in this folder, else the demo model.",
    ),
]

LedgerOption = Annotated[
    str | None,
    typer.Option(
        "--ledger", metavar="URL", help="sqlite:///usage.db or postgresql://... Without it: the configuration's."
    ),
]


@dataclass(frozen=True, slots=True)
class FoundConfig:
    """A configuration, its file if there is one, and the upstream of each entry of `model_list` (None: litellm)."""

    config: Config
    file: Path | None
    upstreams: list[Upstream | None]


def find(option: Path | None) -> FoundConfig:
    """Reads the configuration and prints its warnings to stderr.

    Its `plugins` may be in modules in the file's folder. Raises `ConfigError`.
    """
    file = find_config(option)
    if file is not None:
        sys.path.append(str(file.resolve().parent))  # last, so that a file there cannot replace an installed module
    config = parse_config({}) if file is None else load_config(file)
    for warning in config.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    return FoundConfig(config, file, _upstreams(config))


def _upstreams(config: Config) -> list[Upstream | None]:
    """Imports litellm if a model needs its tables. Raises `ConfigError` for models that no handler can serve."""
    upstreams: list[Upstream | None] = []
    problems: list[Problem] = []
    for index, entry in enumerate(config.model_list):
        try:
            upstreams.append(resolve(entry.deployment(), entry.handler))
        except UpstreamUnknown as error:
            problems.append(Problem(("model_list", index), str(error)))
    if problems:
        raise config.source.error(problems)
    return upstreams
