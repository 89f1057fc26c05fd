"""Which upstream each entry of `model_list` has, found out without serving."""

from crplugins.config import Config, Problem
from crplugins.core.network import Networks
from crplugins.handlers.upstream import Upstream, UpstreamUnknown, can_wait, is_left_out, resolve

AnyUpstream = Upstream | UpstreamUnknown | None
"""Of an entry of `model_list`, see `upstreams_of`."""


def upstreams_of(config: Config, *, waiting: bool = False) -> list[AnyUpstream]:
    """The upstream of each entry of `model_list` (None: litellm, or the demo model), or why it is not served.

    Imports litellm if a model needs its tables. `waiting`: None, too, for each that can wait for litellm.

    One that may be left out (`is_left_out`) stops nothing, unless there is no other. Raises `ConfigError` for models
    that no handler can serve.
    """
    upstreams: list[AnyUpstream] = []
    problems: list[Problem] = []
    networks = Networks()
    for index, (entry, deployment) in enumerate(zip(config.model_list, config.deployments(), strict=True)):
        try:
            waits = waiting and can_wait(deployment, entry.handler, networks=networks)
            upstreams.append(None if waits else resolve(deployment, entry.handler, networks=networks))
        except UpstreamUnknown as error:
            upstreams.append(error)
            if not is_left_out(error, in_litellms_file=config.is_litellms):
                problems.append(Problem(config.place_of(index), str(error)))
    if not problems and all(isinstance(upstream, UpstreamUnknown) for upstream in upstreams):
        problems += [Problem(config.place_of(index), str(error)) for index, error in enumerate(upstreams)]
    if problems:
        raise config.source.error(problems)
    return upstreams


def served_names(config: Config) -> list[str]:
    """The names of `model_list` that a deployment answers for, now or when litellm has been imported.

    Raises `ConfigError` for models that no handler can serve.
    """
    upstreams = upstreams_of(config, waiting=True)
    pairs = zip(config.model_list, upstreams, strict=True)
    return list(dict.fromkeys(entry.model_name for entry, each in pairs if not isinstance(each, UpstreamUnknown)))


def unserved(config: Config) -> list[tuple[int, str]]:
    """The entries of `model_list` that no handler can serve, by their index, each with the reason. Asks no network."""
    found, networks = [], Networks()
    for index, (entry, deployment) in enumerate(zip(config.model_list, config.deployments(), strict=True)):
        try:
            if not can_wait(deployment, entry.handler, networks=networks):
                resolve(deployment, entry.handler, networks=networks)
        except UpstreamUnknown as error:
            found.append((index, str(error)))
    return found
