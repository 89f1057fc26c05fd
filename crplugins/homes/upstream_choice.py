"""Which upstream each entry of `model_list` has, found out without serving."""

from crplugins.config import Config, Problem
from crplugins.handlers.upstream import ProviderUnknown, Upstream, UpstreamUnknown, can_wait, resolve

AnyUpstream = Upstream | ProviderUnknown | None
"""Of an entry of `model_list`, see `upstreams_of`."""


def upstreams_of(config: Config, *, waiting: bool = False) -> list[AnyUpstream]:
    """The upstream of each entry of `model_list` (None: litellm, or the demo model), or why it is not served.

    Imports litellm if a model needs its tables. `waiting`: None, too, for each that can wait for litellm.

    A model of a provider that nobody knows stops nothing, unless there is no other. Raises `ConfigError` for models
    that no handler can serve.
    """
    upstreams: list[AnyUpstream] = []
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


def unserved(config: Config) -> list[tuple[int, str]]:
    """The entries of `model_list` that no handler can serve, by their index, each with the reason. Asks no network."""
    found = []
    for index, entry in enumerate(config.model_list):
        deployment = entry.deployment()
        try:
            if not can_wait(deployment, entry.handler):
                resolve(deployment, entry.handler)
        except UpstreamUnknown as error:
            found.append((index, str(error)))
    return found
