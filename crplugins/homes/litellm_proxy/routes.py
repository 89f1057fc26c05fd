"""Which routes of LiteLLM's proxy a key of ours opens.

LiteLLM has about 900, and with `custom_auth` it leaves to that function who may use which. Those on the list below are
limited and recorded by the hooks, or show the models. All others are closed: some run a model, and the hooks do not
see what they use (images, audio, batches, files, assistants, realtime, every pass-through), and the rest is for
operators. `server.unmetered_paths` and keys with `admin: true` open more.
"""

import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Self

from crplugins.config import Config
from crplugins.core.principal import Principal
from crplugins.homes.route_guard import RouteGuard, RouteKind

if TYPE_CHECKING:
    from fastapi import Request

METERED: Final = (
    "/v1/chat/completions",
    "/chat/completions",
    "/engines/{model}/chat/completions",
    "/openai/deployments/{model}/chat/completions",
    "/v1/completions",
    "/completions",
    "/engines/{model}/completions",
    "/openai/deployments/{model}/completions",
    "/v1/embeddings",
    "/embeddings",
    "/engines/{model}/embeddings",
    "/openai/deployments/{model}/embeddings",
    "/v1/responses",
    "/responses",
    "/openai/v1/responses",
    "/v1/messages",
)
"""What may be posted to, as LiteLLM writes its routes."""

MODEL_LISTS: Final = ("/v1/models", "/models", "/v1/models/{model_id}", "/models/{model_id}")
"""What may be read."""


class LitellmRoutes(RouteGuard):
    """Judges twice: in `user_api_key_auth` the route that LiteLLM has chosen, and around the whole proxy the path, for
    LiteLLM asks nobody about its public pages.

    Args:
        listed: paths that are open besides.
        root_path: LiteLLM's `SERVER_ROOT_PATH`, which stands before every path.
    """

    def __init__(self, *, listed: Iterable[str] = (), root_path: str = "") -> None:
        super().__init__(always=True, listed=listed)
        self._root = root_path.rstrip("/") + "/"

    @classmethod
    def of(cls, config: Config, public: Iterable[str]) -> Self:
        """`public` are paths that need no key."""
        listed = (*public, *config.server.unmetered_paths)
        return cls(listed=listed, root_path=os.environ.get("SERVER_ROOT_PATH", ""))

    def inside(self, path: str) -> str:
        return path[len(self._root) - 1 :] if path.startswith(self._root) else path

    def check_route(self, request: "Request", principal: Principal | None) -> None:
        """Raise `GatewayError` 403 unless `principal` may use the route that LiteLLM has found for this request.

        Without one it is closed: for WebSockets and for what LiteLLM mounts (MCP) it makes up a request to ask with.
        """
        from litellm.proxy.auth.auth_utils import get_request_route

        template = getattr(request.scope.get("route"), "path_format", None)
        route = _PARAMETER.sub("{}", template) if isinstance(template, str) else ""
        path = get_request_route(request)
        is_open = route in _OPEN.get(request.method, ())
        self.check(principal, path, self.kind_of(request.method, path) if is_open else _kind_of_closed(route or path))

    def kind_of(self, method: str, path: str) -> RouteKind:
        return "open" if any(p.fullmatch(path) for p in _PATTERNS.get(method, ())) else _kind_of_closed(path)


def _kind_of_closed(path: str) -> RouteKind:
    """LiteLLM knows which routes are for keys. The settings of models are on its list too."""
    from litellm.proxy._types import LiteLLMRoutes
    from litellm.proxy.auth.route_checks import RouteChecks

    is_llm = path not in LiteLLMRoutes.model_info_routes.value and RouteChecks.is_llm_api_route(path)
    return "unmetered" if is_llm else "operator"


_PARAMETER: Final = re.compile(r"\{[^}]*\}")
_OPEN: Final = {
    method: frozenset(_PARAMETER.sub("{}", route) for route in routes)
    for method, routes in (("POST", METERED), ("GET", MODEL_LISTS))
}
_PATTERNS: Final = {
    method: [re.compile(re.escape(route).replace(r"\{\}", ".+")) for route in routes]
    for method, routes in _OPEN.items()
}
