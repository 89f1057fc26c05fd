"""The gateway's small endpoints: model list, health, OpenAPI document, and OpenAI-shaped answers to everything else."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crplugins.asgi.scope import find_exchange
from crplugins.core.dialects import MESSAGES
from crplugins.core.errors import GatewayError, internal_error, invalid_url, model_not_found, wrong_method
from crplugins.core.principal import Principal
from crplugins.homes.gateway.reloading import Loads

_CREATED: Final = 1_735_689_600
"""2025-01-01. When a provider made a model is not known, and a start time of ours would change with each restart."""


class Readiness(msgspec.Struct, omit_defaults=True):
    """What `GET /readyz` says.

    Attributes:
        status: `stopping`: the process ends, and takes nothing more.
        waiting: the models that do not answer yet, as litellm is imported for them.
        not_installed: the models that never will, as they need litellm, which is not installed.
        prices: which table of prices counts where `model_info` gives none.
        configuration: that a newer one was refused, and since when the one that is served counts.
    """

    status: Literal["ok", "starting", "stopping"]
    waiting: list[str] = []
    not_installed: list[str] = []
    prices: str = ""
    configuration: dict[str, str] | None = None


class Model(msgspec.Struct):
    """An entry of the model list."""

    id: str
    object: str = "model"
    created: int = _CREATED
    owned_by: str = "crplugins"


class ModelList(msgspec.Struct):
    data: list[Model]
    object: str = "list"


class AnthropicModel(msgspec.Struct):
    """The same as Anthropic's SDK and Claude Code read it."""

    id: str
    display_name: str
    created_at: str = datetime.fromtimestamp(_CREATED, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    type: str = "model"


class AnthropicModelList(msgspec.Struct):
    """All of them in one page."""

    data: list[AnthropicModel]
    first_id: str | None
    last_id: str | None
    has_more: bool = False


class Web:
    """Answers everything but chat completions.

    Args:
        model_names: the names a caller may ask for, as they are listed.
        readiness: what `GET /readyz` says; it is 503 unless the status is `ok`.
        openapi: makes the OpenAPI document; called once, on first demand.
        loads: how the loading of the configuration has gone, where it may be loaded anew.
        model_paths: where models are asked, which another app answers.
        has_model: whether a caller may ask for a name that may not be listed, as those that fit a pattern are not.
            None: there are no such names.
    """

    def __init__(
        self,
        model_names: Callable[[Principal | None], Sequence[str]],
        readiness: Callable[[], Readiness],
        openapi: Callable[[], dict[str, object]],
        loads: Loads | None = None,
        model_paths: Iterable[str] = (),
        has_model: Callable[[Principal | None, str], bool] | None = None,
    ) -> None:
        self._model_names = model_names
        self._has_model = has_model or (lambda principal, name: name in model_names(principal))
        self._readiness = readiness
        self._openapi = openapi
        self._model_paths = model_paths
        self._loads = loads
        self._document: bytes | None = None

    def app(self, more: Sequence[Route] = ()) -> Starlette:
        """The app; `more` are routes of other parts, whose `GatewayError`s it renders too."""
        routes = [*more]
        routes += [
            Route(prefix + path, endpoint, methods=["GET"])
            for prefix in ("/v1", "")
            for path, endpoint in (("/models", self.models), ("/models/{model:path}", self.model))
        ]
        routes += [
            *[Route(path, _never, methods=["POST"]) for path in self._model_paths],
            Route("/healthz", self.healthz, methods=["GET"]),
            Route("/readyz", self.readyz, methods=["GET"]),
            Route("/openapi.json", self.openapi, methods=["GET"]),
        ]
        handlers = {GatewayError: _render, HTTPException: _http, Exception: _bug}
        app = Starlette(routes=routes, exception_handlers=handlers)
        app.router.redirect_slashes = False  # a redirected POST loses its body in many clients
        return app

    async def models(self, request: Request) -> Response:
        names = self._model_names(_principal(request))
        if _speaks_messages(request):
            models = [AnthropicModel(name, name) for name in names]
            return _json(AnthropicModelList(models, names[0] if names else None, names[-1] if names else None))
        return _json(ModelList([Model(name) for name in names]))

    async def model(self, request: Request) -> Response:
        name = request.path_params["model"]
        if not self._has_model(_principal(request), name):
            raise model_not_found(name)
        return _json(AnthropicModel(name, name) if _speaks_messages(request) else Model(name))

    async def healthz(self, request: Request) -> Response:
        """The process runs."""
        return _json({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """Every model answers at once; while litellm is imported for one of them, others are served already.

        A configuration that was refused makes nothing less ready: the one before it is served.
        """
        readiness = self._readiness()
        if self._loads is not None and not self._loads.successful:  # why, only the log and the operator are told
            loaded_at = datetime.fromtimestamp(self._loads.succeeded_at, UTC).isoformat(timespec="seconds")
            refused = {"status": "reload_refused", "loaded_at": loaded_at}
            readiness = msgspec.structs.replace(readiness, configuration=refused)
        return _json(readiness, status=200 if readiness.status == "ok" else 503)

    async def openapi(self, request: Request) -> Response:
        if self._document is None:
            self._document = msgspec.json.encode(await asyncio.to_thread(self._openapi))
        return Response(self._document, media_type="application/json")


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _error(request: Request, error: GatewayError) -> Response:
    """In the protocol that the request speaks."""
    exchange = find_exchange(request.scope)
    body = error.body() if exchange is None else exchange.dialect.error_body(error, exchange.id)
    response = Response(body, error.status)
    response.raw_headers = error.response_headers(body)
    return response


def _principal(request: Request) -> Principal | None:
    exchange = find_exchange(request.scope)
    return None if exchange is None else exchange.principal


def _speaks_messages(request: Request) -> bool:
    """Whether a client of Anthropic's protocol asks, which sends its header on every path."""
    exchange = find_exchange(request.scope)
    return exchange is not None and exchange.dialect is MESSAGES


async def _render(request: Request, error: Exception) -> Response:
    assert isinstance(error, GatewayError)
    return _error(request, error)


async def _http(request: Request, error: Exception) -> Response:
    """Starlette's own refusals: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    method, path = request.method, request.url.path
    if error.status_code == 405:
        return _error(request, wrong_method(method, path, (error.headers or {}).get("Allow")))
    return _error(request, invalid_url(method, path))


async def _bug(request: Request, error: Exception) -> Response:
    """Starlette raises the error again after the answer, so that the server logs it."""
    return _error(request, internal_error())


async def _never(request: Request) -> Response:
    raise RuntimeError("requests that ask a model are dispatched before this app")
