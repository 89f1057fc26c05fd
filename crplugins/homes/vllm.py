"""Middleware: all that a configuration file says, in front of vLLM's own server.

    CRPLUGINS_CONFIG=gateway.yaml vllm serve MODEL --middleware crplugins.homes.vllm.Middleware

Of the file it takes everything but what only a gateway has: addresses of models, the port, the admin API. `model_list`
is not needed, because names pass to vLLM as they are; if it is there, it says what models cost and which names the
metrics know.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.config import Config, ConfigError, Problem, arrange_plugins, parse_config
from crplugins.config.load import CONFIG_VARIABLE
from crplugins.core.errors import GatewayError, internal_error
from crplugins.core.exchange import Exchange
from crplugins.core.patterns import PathSet
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Limits, Principal
from crplugins.core.wire import CHAT_PATH
from crplugins.homes.assembly import builtin_plugins, make_metrics, open_ledger
from crplugins.homes.metrics import MetricsPage
from crplugins.homes.middlewares_order import layers_inside
from crplugins.homes.middlewares_parts import alias_names
from crplugins.homes.price_list import PriceList
from crplugins.keys.opening import open_source
from crplugins.plugins.aliases.plugin import ModelAliases
from crplugins.plugins.auth import PUBLIC_PATHS, Auth
from crplugins.plugins.guard.plugin import RequestGuard
from crplugins.plugins.metrics.directory import DIRECTORY_VARIABLE
from crplugins.plugins.metrics.plugin import Metrics
from crplugins.plugins.rate_limits.rules import LimitRules
from crplugins.plugins.usage import Usage
from crplugins.settings.document import Document, read_document

METRICS_PATH: Final = "/crplugins/metrics"
"""Where our metrics are if the file does not say; vLLM has its own under /metrics."""

_ANY_MODEL: Final = ({"model_name": "*", "litellm_params": {"model": "hosted_vllm/*"}},)

logger = logging.getLogger("crplugins.vllm")


def read_config(environ: Mapping[str, str]) -> Config:
    """The file that `CRPLUGINS_CONFIG` names. Logs what of it means nothing here. Raises `ConfigError`."""
    path = environ.get(CONFIG_VARIABLE)
    if not path:
        raise ConfigError([Problem((), f"{CONFIG_VARIABLE} names no file")])
    document = _document(Path(path))
    problems = [*document.problems, *_empty_keys(document.data)]
    try:
        config = parse_config(_with_defaults(document.data), environ)
    except ConfigError as error:
        raise document.source.error([*problems, *error.problems]) from None
    if problems:
        raise document.source.error(problems)
    _warn(document.data, config, environ)
    return config.read_from(document.source, config.warnings)


def model_names(words: Config) -> list[str]:
    """The names that the file knows: of `model_list`, else those it limits."""
    listed = [entry.model_name for entry in words.model_list if entry.model_name != "*"]
    return listed or [*words.limits.per_model, *words.limits.per_key_and_model]


def _document(path: Path) -> Document:
    try:
        return read_document(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError([Problem((), f"cannot be read ({reason})")], str(path)) from None


def _empty_keys(data: Mapping[str, Any]) -> Iterator[Problem]:
    """`keys:` with nothing behind it would let everybody in, as no `keys` at all does."""
    if "keys" in data and data["keys"] is None:
        yield Problem(("keys",), "must not be empty")


def _with_defaults(data: Mapping[str, Any]) -> dict[str, Any]:
    """What is not said, as it should be in front of vLLM."""
    words = {"model_list": _ANY_MODEL, **data}
    metrics = data.get("metrics")
    if isinstance(metrics, Mapping):
        words["metrics"] = {"path": METRICS_PATH, **metrics}
    return words


def _warn(data: Mapping[str, Any], config: Config, environ: Mapping[str, str]) -> None:
    for warning in config.warnings:
        logger.warning("%s", warning)
    if "keys" not in data:
        logger.warning("no keys are configured: whoever reaches vLLM may use it")
    bounds = data.keys() & {"keys", "limits", "budgets"}
    if bounds and config.limits.store == "memory" and environ.get(DIRECTORY_VARIABLE):  # vLLM names it to all of them
        logger.warning(
            "limits.store is memory: of several API servers each limits on its own; sqlite:///limits.db is one for all"
        )
    if config.admin is not None:
        logger.warning("admin is ignored: only crplugins' own gateway serves the admin API")


_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

_COUNTS: Final = ("/tokenize", "/detokenize")
"""They run no model."""


class UnmeteredPaths(Plugin):
    """Refuses what would be a way around: a completion, an embedding, a change of the server by whoever has a key.

    Only chat completions are counted. Where something counts on that (limits, budgets, a ledger, the models a key may
    call), no other path may be posted to, but those that are named.

    Args:
        always: whether the configuration counts on it for every caller. What a key itself brings is looked at besides.
        paths: those that may be used all the same; one that ends with `/*` stands for all below it.
    """

    chat_only: bool = False

    def __init__(self, *, always: bool, paths: Iterable[str] = ()) -> None:
        self._always = always
        self._allowed = PathSet([*_COUNTS, *paths])

    async def on_request(self, exchange: Exchange) -> None:
        path = exchange.path
        if exchange.method in _READS or path.endswith(CHAT_PATH) or path in self._allowed:
            return
        if self._always or _is_bounded(exchange.principal):
            logger.warning("request %s refused: %s is not named in server.unmetered_paths", exchange.id, path)
            raise GatewayError(
                403,
                f"You may not use {path} here: only chat completions are metered. Please use /v1{CHAT_PATH}.",
                code="endpoint_not_metered",
            )


def meters_everybody(config: Config) -> bool:
    """Whether the configuration limits or records all callers, whatever their keys say."""
    budgets = config.budgets
    limited = config.limits.rules() != LimitRules(shadow=config.limits.shadow)
    return config.ledger is not None or limited or bool(budgets.per_team) or budgets.per_key is not None


def _is_bounded(principal: Principal | None) -> bool:
    if principal is None:
        return False
    return principal.models is not None or principal.budget is not None or principal.limits != Limits()


OPEN_PATHS: Final = (*PUBLIC_PATHS, "/ping", "/metrics", "/metrics/*")
"""What orchestrators and Prometheus ask vLLM for. Everything else needs a key, where there are keys."""


class Middleware(PluginMiddleware):
    """Called with the app alone, as vLLM does. Reads the file that `CRPLUGINS_CONFIG` names.

    With a file that cannot be used the server does not start: it is told so in the words of the lifespan protocol,
    because an exception here would be taken for an app that does not know that protocol.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._mistake: str | None = None
        try:
            config = read_config(os.environ)
            super().__init__(app, plugins=_plugins(config), max_body_bytes=config.server.max_body_bytes)
        except ConfigError as error:
            self._mistake = str(error)
            logger.error("%s", error)
            super().__init__(app)
        self._watch()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._mistake is not None:
            await _refuse(self._mistake, scope, receive, send)
        elif scope["type"] == "http" and scope["method"] == "OPTIONS":
            await self.app(scope, receive, send)  # a browser asks vLLM's CORS before it sends a key
        elif scope["type"] == "websocket" and any(isinstance(plugin, Auth) for plugin in self.plugins):
            await send({"type": "websocket.close", "code": 1008})  # plugins see HTTP only: nobody has looked at a key
        else:
            await super().__call__(scope, receive, send)

    def _watch(self) -> None:
        if any(isinstance(plugin, Auth) for plugin in self.plugins) and _asks_for_a_key(self.app):
            logger.warning("vLLM's own --api-key is set too: of the keys let in here it refuses all but that one")
        for page in self.plugins:
            if isinstance(page, MetricsPage):
                page.watch(self.plugins, self.faults)
                if _serves(self.app, page.path):
                    logger.warning(
                        "metrics.path is %s and hides vLLM's own metrics; %s would not", page.path, METRICS_PATH
                    )


def _plugins(config: Config) -> list[Plugin]:
    """The gateway's plugins, without those that nothing in the file asks for."""
    aliases = ModelAliases(
        aliases=config.aliases,
        teams=config.team_aliases,
        response_model=config.response_model,
        hidden_status=config.hidden_model_status,
    )
    keys, prices, ledger = open_source(config.keys), PriceList(config.deployments()), open_ledger(config)
    metrics = make_metrics(config, [*model_names(config), *alias_names(aliases.table)], None)
    builtin = builtin_plugins(config, keys=keys, aliases=aliases, ledger=ledger, metrics=metrics, prices=prices)
    here: dict[type[Plugin], Plugin] = {
        Auth: Auth(keys, public_paths=OPEN_PATHS),
        Usage: Usage(ledger, metadata=config.usage.metadata, prices=prices),
    }
    plugins = arrange_plugins(config, [here.get(type(plugin), plugin) for plugin in _asked_for(config, builtin)])
    return [prices, *plugins] if metrics is None else [_page(config, metrics), prices, *plugins]


def _asked_for(config: Config, plugins: Iterator[Plugin]) -> Iterator[Plugin]:
    """Without `keys` vLLM's own may do, and without `guard` it checks requests itself: it takes more than OpenAI."""
    optional: dict[type[Plugin], str] = {Auth: "keys", RequestGuard: "guard"}
    left_out = {kind for kind, key in optional.items() if key not in config.model_fields_set}
    for plugin in plugins:
        if type(plugin) not in left_out:
            yield plugin
        if isinstance(plugin, Auth):
            yield UnmeteredPaths(always=meters_everybody(config), paths=(*OPEN_PATHS, *config.server.unmetered_paths))


def _page(config: Config, metrics: Metrics) -> MetricsPage:
    assert config.metrics is not None, "there are metrics"
    return MetricsPage(metrics, path=config.metrics.path, token=config.metrics.secret)


def _asks_for_a_key(app: ASGIApp) -> bool:
    """Whether vLLM's AuthenticationMiddleware stands further in."""
    return any(hasattr(layer, "api_tokens") for layer in layers_inside(app))


def _serves(app: ASGIApp, path: str) -> bool:
    """Whether an app of Starlette's kind has a route of this path."""
    routes = [route for layer in layers_inside(app) for route in getattr(layer, "routes", ())]
    return any(getattr(route, "path", None) == path for route in routes)


async def _refuse(mistake: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": mistake})
    elif scope["type"] == "http":
        error = internal_error()
        await send({"type": "http.response.start", "status": error.status, "headers": error.response_headers()})
        await send({"type": "http.response.body", "body": error.body()})
