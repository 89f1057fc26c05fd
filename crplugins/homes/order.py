"""The one order of named middlewares: taken by neighbours, demanded across a foreign middleware."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from starlette.middleware.cors import CORSMiddleware

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.config import ConfigError, Problem
from crplugins.core.plugin import Plugin
from crplugins.homes.assembly import PLACES, find, place_of
from crplugins.plugins.auth import Auth
from crplugins.plugins.host_principal import HostPrincipal

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


_ADD_AUTH: Final = f"add AuthMiddleware or HostPrincipalMiddleware outside it. {_LAST}"


def check_callers(plugins: Iterable[Plugin], *, known: bool = False, remedy: str = _ADD_AUTH) -> None:
    """Raise `ConfigError` for the first of `plugins`, outermost first, that needs a caller whom nobody outside names.

    Args:
        known: the caller may have been named further out, where nobody can look.
        remedy: what to do.
    """
    for plugin in plugins:
        if plugin.needs_principal and not known:
            what = f"{plugin.name} is for keys and teams, and nothing outside it says whose a request is"
            raise _refused(f"{what}, so it would be for nobody: {remedy}")
        known = known or _may_name_caller(plugin)


def _may_name_caller(plugin: Plugin) -> bool:
    """Auth and HostPrincipal do. What one's own plugin does with a request cannot be known."""
    if place_of(plugin) is None:
        return type(plugin).on_request is not Plugin.on_request
    return find(Auth, [plugin]) is not None or find(HostPrincipal, [plugin]) is not None


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
