"""GET /v1/limits: what the key that asks may use and spend, and how much of it is used now."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crplugins.asgi.scope import find_exchange
from crplugins.core.principal import Principal
from crplugins.homes.caller_limits import ADMIN_PATH, CallerLimits
from crplugins.keys.refusals import no_key
from crplugins.limits.reservations import limits_unavailable
from crplugins.limits.store import StoreUnavailable

PATHS: Final = ("/v1/limits", "/limits")

LimitsOf = Callable[[Principal], Awaitable[CallerLimits]]
"""How the limits and budgets of a key stand. It raises `StoreUnavailable`."""


class LimitsApi:
    """The endpoint, as routes of an app that renders `GatewayError`, behind Auth."""

    def __init__(self, limits_of: LimitsOf) -> None:
        self._limits_of = limits_of

    def routes(self) -> list[Route]:
        return [Route(path, self.own, methods=["GET"]) for path in PATHS]

    async def own(self, request: Request) -> Response:
        exchange = find_exchange(request.scope)
        if exchange is None or exchange.principal is None:
            raise no_key()
        return await answer_limits(self._limits_of, exchange.principal)


async def answer_limits(limits_of: LimitsOf, principal: Principal) -> Response:
    """Raises `GatewayError` 503."""
    try:
        found = await limits_of(principal)
    except StoreUnavailable:
        raise limits_unavailable() from None
    headers = {"cache-control": "no-store"}  # one key's numbers are not another's, nor true for long
    return Response(msgspec.json.encode(found), headers=headers, media_type="application/json")


def with_limits(document: dict[str, Any], *, admin: bool) -> dict[str, Any]:
    """A copy of the gateway's OpenAPI document with the endpoint in it. `admin`: that of operators too."""
    _, schemas = msgspec.json.schema_components([CallerLimits], ref_template="#/components/schemas/{name}")
    paths = {PATHS[0]: {"get": _operation("limits", "What this key may use and spend, and how much of it is used.")}}
    if admin:
        key = {"name": "key", "in": "query", "required": True, "schema": {"type": "string"}}
        operation = _operation("adminLimits", "What a key may use and spend, and how much of it is used.")
        operation["responses"]["404"] = _response("There is no such key.", "ErrorBody")
        paths[ADMIN_PATH] = {"get": operation | {"parameters": [key], "security": [{"admin": []}]}}
    components = document["components"]
    return {
        **document,
        "paths": {**document["paths"], **paths},
        "components": {**components, "schemas": components["schemas"] | schemas},
    }


def _operation(name: str, summary: str) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "responses": {
            "200": _response("How the limits and budgets of the key and of its team stand.", "CallerLimits"),
            "401": _response("The key, or the admin token, is missing or wrong.", "ErrorBody"),
            "503": _response("The store of the limits cannot be read now.", "ErrorBody"),
        },
    }


def _response(description: str, schema: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": content}
