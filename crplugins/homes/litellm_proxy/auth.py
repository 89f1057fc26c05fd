"""`user_api_key_auth`: our keys, as LiteLLM's `custom_auth`."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from crplugins.asgi.scope import find_exchange, kind_of, make_exchange
from crplugins.core.dialects import CHAT, Dialect
from crplugins.core.exchange import Exchange, new_request_id
from crplugins.core.paths import ModelPaths
from crplugins.core.principal import Principal

if TYPE_CHECKING:
    from fastapi import Request
    from litellm.proxy._types import UserAPIKeyAuth

_PATHS: Final = ModelPaths(dialects=(CHAT,))


async def user_api_key_auth(request: "Request", api_key: str) -> "UserAPIKeyAuth":
    """The caller of a request by the keys of our configuration, if the key opens the route.

    LiteLLM calls it by keyword. Its own idea of the key is taken only where a client used one of LiteLLM's own headers.

    Raises LiteLLM's `ProxyException`, in OpenAI's shape.
    """
    from crplugins.core.errors import GatewayError, invalid_url
    from crplugins.homes.litellm_proxy.failures import ProxyRefusal
    from crplugins.homes.litellm_proxy.requests import Authenticated
    from crplugins.homes.litellm_proxy.runtime import runtime

    around = find_exchange(request.scope)
    if around is not None and around.principal is not None and runtime().guarded:  # the entry has asked already
        principal: Principal | None = around.principal
    else:
        kind = kind_of(request.scope, _PATHS, request.scope["method"])
        exchange = _exchange(request.scope, api_key, kind if isinstance(kind, Dialect) else None)
        try:
            await (await runtime().opened()).authenticate(exchange)
            if kind == "nearly":  # such as `/engines/m//chat/completions`, which LiteLLM's router takes for a chat path
                raise invalid_url(exchange.method, exchange.path)
        except GatewayError as error:
            raise ProxyRefusal(*await runtime().unauthenticated(exchange, error)) from None
        principal = exchange.principal
    try:
        runtime().check_route(request, principal)
    except GatewayError as error:
        raise ProxyRefusal(error) from None
    return Authenticated.of(principal)


def _exchange(scope: Mapping[str, Any], api_key: str, dialect: Dialect | None) -> Exchange:
    exchange = make_exchange(dict(scope), time.monotonic, new_request_id, dialect)
    if api_key and not any(name in (b"authorization", b"x-api-key", b"api-key") for name, _ in exchange.headers):
        exchange.headers = [*exchange.headers, (b"x-api-key", api_key.removeprefix("Bearer ").encode("latin-1"))]
    return exchange
