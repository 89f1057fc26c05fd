"""The configuration of a command: found, read, and checked as far as possible without serving."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from crplugins.config import Config, find_config, load_config, parse_config
from crplugins.homes.upstream_choice import AnyUpstream, upstreams_of


@dataclass(frozen=True, slots=True)
class FoundConfig:
    """A configuration and its file, if there is one."""

    config: Config
    file: Path | None

    def upstreams(self) -> list[AnyUpstream]:
        """As `upstreams_of` says."""
        return upstreams_of(self.config)


def find(option: Path | None) -> FoundConfig:
    """Reads the configuration and prints its warnings to stderr.

    Its `plugins` may be in modules in the file's folder. litellm is imported only where no other table knows whether a
    model can be served. Raises `ConfigError`.
    """
    file = find_config(option)
    if file is not None:
        sys.path.append(str(file.resolve().parent))  # last, so that a file there cannot replace an installed module
    config = parse_config({}) if file is None else load_config(file)
    os.environ.update(config.variables)  # for litellm and the providers' clients, and for workers
    for warning in config.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    upstreams_of(config, waiting=True)
    return FoundConfig(config, file)
