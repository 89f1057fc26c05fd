"""The one order of named middlewares: taken by neighbours, demanded across a foreign middleware."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from starlette.middleware.cors import CORSMiddleware

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.config import ConfigError, Problem
from crplugins.core.plugin import Plugin
from crplugins.homes.metrics import MetricsPage
from crplugins.homes.middlewares_parts import AnswerReader
from crplugins.plugins.aliases.plugin import ModelAliases
from crplugins.plugins.auth import Auth
from crplugins.plugins.budgets.plugin import Budgets
from crplugins.plugins.disconnects import Disconnects
from crplugins.plugins.host_principal import HostPrincipal
from crplugins.plugins.metrics.plugin import Metrics
from crplugins.plugins.missing_usage import MissingUsage
from crplugins.plugins.rate_limits.plugin import RateLimits
from crplugins.plugins.stream_usage import StreamUsage
from crplugins.plugins.usage import Usage

_ORDER: Final[Sequence[tuple[type[Plugin], ...]]] = (
    (MetricsPage,),
    (Metrics,),
    (Auth, HostPrincipal),
    (Usage,),
    (ModelAliases,),
    (RateLimits,),
    (Budgets,),
    (Disconnects,),
    (StreamUsage,),
    (MissingUsage,),
    (AnswerReader,),  # further out it would have the body read before anybody has asked for a key
)
"""Outermost first, as in the gateway (`builtin.py`)."""

_ANYWHERE: Final = (Disconnects, StreamUsage, MissingUsage, AnswerReader)
"""What these do is the same whatever stands further in."""


_LAST: Final = "What is added last with add_middleware stands outermost"


def in_order(plugins: Sequence[Plugin]) -> tuple[Plugin, ...]:
    """The built-in ones in their order, on the places they have together; one's own stay where they are."""
    known = iter(sorted((plugin for plugin in plugins if _rank(plugin) is not None), key=_place))
    return tuple(plugin if _rank(plugin) is None else next(known) for plugin in plugins)


def layers_inside(app: Any) -> Iterator[Any]:
    """`app` and what is inside it, as far as each keeps the next as `app`."""
    while app is not None:
        yield app
        app = getattr(app, "app", None)


def plugins_inside(app: Any) -> list[Plugin]:
    """All plugins from `app` inwards, whatever stands between them."""
    return [p for layer in layers_inside(app) if isinstance(layer, PluginMiddleware) for p in layer.plugins]


def check_order(outer: Sequence[Plugin], app: Any) -> None:
    """Raise `ConfigError` for plugins in `app` that should stand outside some of `outer`, and cannot get there."""
    foreign = ""
    for layer in layers_inside(app):
        if not isinstance(layer, PluginMiddleware):
            foreign = foreign or type(layer).__name__
            _check_cors(outer, layer)
            continue
        for plugin in layer.plugins:
            _check(outer, plugin, foreign)


def _check(outer: Sequence[Plugin], inner: Plugin, foreign: str) -> None:
    place = _rank(inner)
    between = f", and {foreign} is between them: move {foreign} outside both, or {inner.name} outside {foreign}"
    for plugin in outer:
        if place is not None and _place(plugin) > place and not isinstance(plugin, _ANYWHERE):
            raise _refused(f"{inner.name} must stand outside {plugin.name}{between if foreign else ''}. {_LAST}")


def _check_cors(outer: Sequence[Plugin], layer: Any) -> None:
    if isinstance(layer, CORSMiddleware) and any(isinstance(plugin, Auth) for plugin in outer):
        raise _refused(
            "CORSMiddleware must stand outside Auth, because a browser asks it before it sends a key: move "
            f"CORSMiddleware outside. {_LAST}"
        )


def _refused(sentence: str) -> ConfigError:
    return ConfigError([Problem((), sentence)])


def _rank(plugin: Plugin) -> int | None:
    """The number of its place; None for one's own plugins."""
    return next((number for number, kinds in enumerate(_ORDER) if isinstance(plugin, kinds)), None)


def _place(plugin: Plugin) -> int:
    rank = _rank(plugin)
    return -1 if rank is None else rank
