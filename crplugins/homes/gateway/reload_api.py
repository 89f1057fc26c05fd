"""POST /admin/reload: the configuration is read anew, and counts from the next request on in every process.

200 with what has changed; 422 with what is wrong, and then nothing has.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crplugins.core.errors import INVALID_REQUEST, ErrorObject
from crplugins.homes.gateway.admin import read_words
from crplugins.homes.gateway.admin_token import AdminToken
from crplugins.homes.gateway.reloading import Reloaded

RELOAD_PATH: Final = "/admin/reload"


class ReloadRefused(msgspec.Struct, frozen=True):
    """OpenAI's error object, and beside it each problem by itself."""

    error: ErrorObject
    problems: list[str]


class ReloadApi:
    """The endpoint, as a route of an app that renders `GatewayError`.

    Args:
        reload: loads the configuration from where it was read; it is told why.
        tokens: those of operators, by name; any other is 401.
    """

    def __init__(self, reload: Callable[[str], Awaitable[Reloaded]], tokens: Mapping[str, str]) -> None:
        self._reload = reload
        self._token = AdminToken(tokens)

    def routes(self) -> list[Route]:
        return [Route(RELOAD_PATH, self.reload, methods=["POST"])]

    async def reload(self, request: Request) -> Response:
        who = self._token.check(request.scope["headers"])
        await read_words(request, ())
        reloaded = await self._reload(f"POST {RELOAD_PATH} by {who}")
        if not reloaded.problems:
            return _json(reloaded, 200)
        message = "The configuration stays as it was. " + "\n".join(reloaded.problems)
        error = ErrorObject(message, INVALID_REQUEST, None, "invalid_configuration")
        return _json(ReloadRefused(error, list(reloaded.problems)), 422)


def _json(value: object, status: int) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")
