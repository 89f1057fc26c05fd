"""GET /v1/limits: what the key that asks may use and spend, and how much of it is used now."""

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crplugins.asgi.scope import find_exchange
from crplugins.homes.caller_limits import CallerLimits, ModelNames, read_caller_limits
from crplugins.keys.refusals import no_key
from crplugins.limits.reservations import limits_unavailable
from crplugins.limits.store import StoreUnavailable
from crplugins.plugins.budgets.plugin import Budgets
from crplugins.plugins.rate_limits.plugin import RateLimits

PATHS: Final = ("/v1/limits", "/limits")


class LimitsApi:
    """The endpoint, as routes of an app that renders `GatewayError`, behind Auth.

    Args:
        names_of: the names under which a key may have requests served by a model.
    """

    def __init__(self, rate_limits: RateLimits, budgets: Budgets, names_of: ModelNames) -> None:
        self._rate_limits, self._budgets, self._names_of = rate_limits, budgets, names_of

    def routes(self) -> list[Route]:
        return [Route(path, self.own, methods=["GET"]) for path in PATHS]

    async def own(self, request: Request) -> Response:
        exchange = find_exchange(request.scope)
        if exchange is None or exchange.principal is None:
            raise no_key()
        try:
            found = await read_caller_limits(exchange.principal, self._rate_limits, self._budgets, self._names_of)
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
