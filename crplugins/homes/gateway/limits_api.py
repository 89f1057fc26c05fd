"""GET /v1/limits: what the key that asks may use and spend, and how much of it is used now."""

from collections.abc import Awaitable, Callable
from typing import Final

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
