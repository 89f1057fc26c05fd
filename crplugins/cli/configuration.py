"""The configuration of a command: found, read, and checked as far as possible without serving."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from crplugins.cli.address import local_url, unix_url
from crplugins.config import Config, ConfigError, Problem, find_config, load_config, parse_config
from crplugins.homes.upstream_choice import AnyUpstream, served_names, upstreams_of


class FoundConfig(msgspec.Struct, frozen=True):
    """A configuration and its file, if there is one; `names` are those that are served, see `served_names`."""

    config: Config
    file: Path | None
    names: list[str]

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
        beside(file)
    config = _read(file, None, os.environ)
    os.environ.update(config.variables)  # for litellm and the providers' clients, and for workers
    names = served_names(config)
    for warning in config.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    return FoundConfig(config, file, names)


def beside(file: Path) -> None:
    """The modules in its folder can be imported; last, so that a file there cannot replace an installed module.

    A symlink to itself raises nothing here: whoever reads the file says so.
    """
    sys.path.append(str(Path(os.path.realpath(file)).parent))


def read_whole(file: Path | None, text: str | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration in `file`, or in `text`, what it said; without a file the demo models'.

    Raises `ConfigError`, also for a model that no handler can serve.
    """
    config = _read(file, text, environ)
    upstreams_of(config, waiting=True)
    return config


def _read(file: Path | None, text: str | None, environ: Mapping[str, str]) -> Config:
    return parse_config({}, environ).with_litellm_demo() if file is None else load_config(file, environ, text)


def listening(config: Config) -> str:
    """The address of the configuration's gateway for a client on this machine. Raises `ConfigError`."""
    host, port = config.server.host, config.server.port
    if config.server.uds is not None:
        return unix_url(config.server.uds)
    if port == 0:
        raise ConfigError([Problem(("server", "port"), "is any free port; name the gateway with --url")])
    return local_url(host, port, tls=config.server.tls is not None)
