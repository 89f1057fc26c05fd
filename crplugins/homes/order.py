"""The one order of named middlewares: taken by neighbours, demanded across a foreign middleware."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from starlette.middleware.cors import CORSMiddleware

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.config import ConfigError, Problem
from crplugins.core.plugin import Plugin
from crplugins.homes.assembly import PLACES, find, place_of
from crplugins.plugins.auth import Auth

_LAST: Final = "What is added last with add_middleware stands outermost"


def in_order(plugins: Sequence[Plugin]) -> tuple[Plugin, ...]:
    """The built-in ones in their order, on the places they have together; one's own stay where they are."""
    known = iter(sorted((plugin for plugin in plugins if place_of(plugin) is not None), key=_rank))
    return tuple(plugin if place_of(plugin) is None else next(known) for plugin in plugins)


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
    place = place_of(inner)
    between = f", and {foreign} is between them: move {foreign} outside both, or {inner.name} outside {foreign}"
    for plugin in outer:
        rank = _rank(plugin)
        if place is not None and rank > place and not PLACES[rank].anywhere:
            raise _refused(f"{inner.name} must stand outside {plugin.name}{between if foreign else ''}. {_LAST}")


def _check_cors(outer: Sequence[Plugin], layer: Any) -> None:
    if isinstance(layer, CORSMiddleware) and find(Auth, outer) is not None:
        raise _refused(
            "CORSMiddleware must stand outside Auth, because a browser asks it before it sends a key: move "
            f"CORSMiddleware outside. {_LAST}"
        )


def _refused(sentence: str) -> ConfigError:
    return ConfigError([Problem((), sentence)])


def _rank(plugin: Plugin) -> int:
    """The number of its place; -1 for one's own plugins, which may stand anywhere."""
    place = place_of(plugin)
    return -1 if place is None else place
