"""GET /v1/limits: what the key that asks may use and spend, and how much of it is used now."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crplugins.asgi.scope import find_exchange
from crplugins.core.principal import Principal
from crplugins.homes.caller_limits import CallerLimits
from crplugins.keys.refusals import no_key
from crplugins.limits.reservations import limits_unavailable
from crplugins.limits.store import StoreUnavailable

PATHS: Final = ("/v1/limits", "/limits")


class LimitsApi:
    """The endpoint, as routes of an app that renders `GatewayError`, behind Auth.

    Args:
        limits_of: how the limits and budgets of a key stand; raises `StoreUnavailable`.
    """

    def __init__(self, limits_of: Callable[[Principal], Awaitable[CallerLimits]]) -> None:
        self._limits_of = limits_of

    def routes(self) -> list[Route]:
        return [Route(path, self.own, methods=["GET"]) for path in PATHS]

    async def own(self, request: Request) -> Response:
        exchange = find_exchange(request.scope)
        if exchange is None or exchange.principal is None:
            raise no_key()
        try:
            found = await self._limits_of(exchange.principal)
        except StoreUnavailable:
            raise limits_unavailable() from None
        headers = {"cache-control": "no-store"}  # one key's numbers are not another's, nor true for long
        return Response(msgspec.json.encode(found), headers=headers, media_type="application/json")


def with_limits(document: dict[str, Any]) -> dict[str, Any]:
    """A copy of the gateway's OpenAPI document with the endpoint in it."""
    _, schemas = msgspec.json.schema_components([CallerLimits], ref_template="#/components/schemas/{name}")
    operation = {
        "operationId": "limits",
        "summary": "What this key may use and spend, and how much of it is used.",
        "responses": {
            "200": _response("How the limits and budgets of the key and of its team stand.", "CallerLimits"),
            "401": _response("The key is missing or wrong.", "ErrorBody"),
            "503": _response("The store of the limits cannot be read now.", "ErrorBody"),
        },
    }
    components = document["components"]
    return {
        **document,
        "paths": {**document["paths"], PATHS[0]: {"get": operation}},
        "components": {**components, "schemas": components["schemas"] | schemas},
    }


def _response(description: str, schema: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": content}
