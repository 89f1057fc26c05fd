"""Middleware: all that a configuration file says, in front of vLLM's own server.

    CRPLUGINS_CONFIG=gateway.yaml vllm serve MODEL --middleware crplugins.homes.vllm.Middleware

Of the file it takes everything but what only a gateway has: addresses of models, the port, the admin API. `model_list`
is not needed, because names pass to vLLM as they are; if it is there, it says what models cost and which names the
metrics know.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

from starlette.types import ASGIApp, Receive, Scope, Send

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.config import Config, ConfigError, Problem, parse_config
from crplugins.config.load import CONFIG_VARIABLE
from crplugins.core.dialects import Dialect
from crplugins.core.errors import internal_error
from crplugins.core.paths import ModelPaths
from crplugins.core.patterns import PathSet
from crplugins.homes.assembly import assemble, find
from crplugins.homes.metrics import MetricsPage
from crplugins.homes.order import check_callers, layers_inside
from crplugins.homes.parts import Parts
from crplugins.homes.price_list import PriceList
from crplugins.homes.price_refresh import PriceRefresh
from crplugins.homes.route_guard import RouteGuard, RouteKind, meters_everybody
from crplugins.plugins.aliases.table import names_in
from crplugins.plugins.auth import PUBLIC_PATHS, Auth
from crplugins.settings.document import YamlDocument, read_document

METRICS_PATH: Final = "/crplugins/metrics"
"""Where our metrics are if the file does not say; vLLM has its own under /metrics."""

_ANY_MODEL: Final = ({"model_name": "*", "litellm_params": {"model": "hosted_vllm/*"}},)

logger = logging.getLogger("crplugins.vllm")


OPEN_PATHS: Final = (*PUBLIC_PATHS, "/ping", "/metrics", "/metrics/*")
"""What orchestrators and Prometheus ask vLLM for. Everything else needs a key, where there are keys."""

_OPEN: Final = PathSet(OPEN_PATHS)
_READS: Final = frozenset({"GET", "HEAD"})


class Middleware(PluginMiddleware):
    """Called with the app alone, as vLLM does, it reads the file that `CRPLUGINS_CONFIG` names.

    With a file that cannot be used the server does not start: the lifespan protocol reports the mistake to it,
    because an exception here would be taken for an app that does not know that protocol.
    """

    def __init__(self, app: ASGIApp, config: Config | None = None) -> None:
        self._mistake: str | None = None
        try:
            config = config or read_config(os.environ)
            prices = PriceList(config.deployments(), fallback=config.budgets.fallback())
            plugins = assemble(_parts(config, prices), "vllm")
            check_callers(plugins, remedy="the file needs `keys`")
            super().__init__(
                app,
                plugins=plugins,
                resources=[prices, PriceRefresh(config.listed_prices)],
                max_body_bytes=config.server.max_body_bytes,
                find_uncovered=False,  # VllmRoutes looks at every path
            )
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
        elif scope["type"] == "websocket" and find(Auth, self.plugins) is not None:
            await send({"type": "websocket.close", "code": 1008})  # nobody limits or records what is said in it
        else:
            await super().__call__(scope, receive, send)

    def _watch(self) -> None:
        if find(Auth, self.plugins) is not None and _asks_for_a_key(self.app):
            logger.warning("vLLM's own --api-key is set too: of the keys let in here it refuses all but that one")
        page = find(MetricsPage, self.plugins)
        if page is not None:
            page.scraper.watch(self.plugins, self.faults)
            if _serves(self.app, page.path):
                logger.warning("metrics.path is %s and hides vLLM's own metrics; %s would not", page.path, METRICS_PATH)


def _parts(config: Config, prices: PriceList) -> Parts:
    parts = Parts(config, prices, public_paths=OPEN_PATHS, prices_records=True)
    parts.metric_names = [*model_names(config), *names_in(parts.aliases.table)]
    return parts


def model_names(words: Config) -> list[str]:
    """The names that the file knows: of `model_list`, else those it limits."""
    listed = [entry.model_name for entry in words.model_list if entry.model_name != "*"]
    return listed or [*words.limits.per_model, *words.limits.per_key_and_model]


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
    _warn(document.data, config)
    return config.read_from(document.source, config.warnings)


def _document(path: Path) -> YamlDocument:
    try:
        return read_document(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError([Problem((), f"cannot be read ({reason})")], str(path)) from None


def _empty_keys(data: Mapping[str, Any]) -> Iterator[Problem]:
    """`keys:` with nothing after it would let everybody in, as no `keys` at all does."""
    if "keys" in data and data["keys"] is None:
        yield Problem(("keys",), "must not be empty")


def _with_defaults(data: Mapping[str, Any]) -> dict[str, Any]:
    """What is not said, as it should be in front of vLLM."""
    words = {"model_list": _ANY_MODEL, **data}
    metrics = data.get("metrics")
    if isinstance(metrics, Mapping):
        words["metrics"] = {"path": METRICS_PATH, **metrics}
    return words


def _warn(data: Mapping[str, Any], config: Config) -> None:
    for warning in config.warnings:
        logger.warning("%s", warning)
    if "keys" not in data:
        logger.warning("no keys are configured: whoever reaches vLLM may use it")


_PATHS: Final = ModelPaths(stored=True)
_MODEL_LISTS: Final = PathSet(("/v1/models", "/v1/models/*"))

_MODEL_ROUTES: Final = PathSet((
    "/v1/completions", "/v1/chat/completions/batch", "/v1/chat/completions/render", "/v1/completions/render",
    "/v1/responses", "/v1/responses/*", "/v1/messages", "/v1/messages/count_tokens", "/v1/embeddings", "/v2/embed",
    "/v1/audio/transcriptions", "/v1/audio/translations", "/inference/v1/generate", "/invocations",
    "/generative_scoring", "/pooling", "/classify", "/score", "/v1/score", "/rerank", "/v1/rerank", "/v2/rerank",
    "/tokenize", "/detokenize",
))  # fmt: skip
"""What runs the model or its tokenizer besides chat completions (vLLM, "Security", "API key authentication")."""


class VllmRoutes(RouteGuard):
    """A key opens what serves a model. What changes the server or shows its insides is the operator's: adapters,
    caches, sleep, profiles, weights, settings, and whatever a later vLLM adds."""

    @classmethod
    def of(cls, config: Config) -> Self:
        return cls(
            always=meters_everybody(config),
            listed=config.server.unmetered_paths,
            shadow_models=config.models_shadow,
            shadow_budgets=config.budgets.shadow,
        )

    def kind_of(self, method: str, path: str) -> RouteKind:
        if path in _OPEN or (method in _READS and path in _MODEL_LISTS):
            return "open"
        kind = _PATHS.kind("POST", path)  # by another method: a browser asks before it posts
        if isinstance(kind, Dialect) or kind == "stored":
            return "open"
        return "unmetered" if path in _MODEL_ROUTES else "operator"
