"""GET /admin/limits?key=team-a: what a key may use and spend, and how much of it is used now, for operators."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crplugins.homes.caller_limits import ADMIN_PATH
from crplugins.homes.gateway.admin_token import AdminToken, bad_field
from crplugins.homes.gateway.limits_api import LimitsOf, answer_limits
from crplugins.homes.gateway.parameters import read_parameters
from crplugins.homes.gateway.store_errors import as_gateway_errors
from crplugins.keys.service import KeyService


class AdminLimitsApi:
    """The endpoint, as a route of an app that renders `GatewayError`.

    Args:
        tokens: the bearer tokens of operators by name, one of which every request needs; any other is 401.
    """

    def __init__(self, limits_of: LimitsOf, service: KeyService, tokens: Mapping[str, str]) -> None:
        self._limits_of, self._service, self._token = limits_of, service, AdminToken(tokens)

    def routes(self) -> list[Route]:
        return [Route(ADMIN_PATH, self.of_any, methods=["GET"])]

    async def of_any(self, request: Request) -> Response:
        self._token.check(request.scope["headers"])
        key_id = read_parameters(request.query_params.multi_items(), ("key",)).get("key")
        if key_id is None:
            raise bad_field("key", "is missing")
        with as_gateway_errors():
            key = await self._service.get(key_id)
        return await answer_limits(self._limits_of, key.principal)
