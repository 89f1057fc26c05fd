"""The configuration of a command: found, read, and checked as far as possible without serving."""

import sys
from dataclasses import dataclass
from pathlib import Path

from crplugins.config import Config, Problem, find_config, load_config, parse_config
from crplugins.handlers.upstream import ProviderUnknown, Upstream, UpstreamUnknown, can_wait, resolve


@dataclass(frozen=True, slots=True)
class FoundConfig:
    """A configuration and its file, if there is one."""

    config: Config
    file: Path | None

    def upstreams(self) -> list[Upstream | ProviderUnknown | None]:
        """The upstream of each entry of `model_list` (None: litellm, or the demo model), or why it is not served.

        Imports litellm if a model needs its tables. Raises `ConfigError` for models that no handler can serve.
        """
        return _upstreams(self.config)


def find(option: Path | None) -> FoundConfig:
    """Reads the configuration and prints its warnings to stderr.

    Its `plugins` may be in modules in the file's folder. litellm is imported only where no other table knows whether a
    model can be served. Raises `ConfigError`.
    """
    file = find_config(option)
    if file is not None:
        sys.path.append(str(file.resolve().parent))  # last, so that a file there cannot replace an installed module
    config = parse_config({}) if file is None else load_config(file)
    for warning in config.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    _upstreams(config, waiting=True)
    return FoundConfig(config, file)


def _upstreams(config: Config, *, waiting: bool = False) -> list[Upstream | ProviderUnknown | None]:
    """`waiting`: None, too, for each that can wait for litellm.

    A model of a provider that nobody knows stops nothing, unless there is no other.
    """
    upstreams: list[Upstream | ProviderUnknown | None] = []
    problems: list[Problem] = []
    for index, entry in enumerate(config.model_list):
        deployment = entry.deployment()
        try:
            waits = waiting and can_wait(deployment, entry.handler)
            upstreams.append(None if waits else resolve(deployment, entry.handler))
        except ProviderUnknown as error:
            upstreams.append(error)
        except UpstreamUnknown as error:
            problems.append(Problem(("model_list", index), str(error)))
    if all(isinstance(upstream, ProviderUnknown) for upstream in upstreams):
        problems += [Problem(("model_list", index), str(error)) for index, error in enumerate(upstreams)]
    if problems:
        raise config.source.error(problems)
    return upstreams
