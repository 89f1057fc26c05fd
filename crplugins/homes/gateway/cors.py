"""CORS of the gateway, which stands before its plugins: a browser's preflight never carries a key, so Auth must not see
it.
"""

from collections.abc import Sequence
from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

EXPOSED: Final = (
    "x-request-id",
    "request-id",
    *(f"x-ratelimit-{what}-{kind}" for kind in ("requests", "tokens") for what in ("limit", "remaining", "reset")),
    "etag",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    "server-timing",
    "x-crplugins-model",
    "x-crplugins-queue-position",
)
"""What scripts in browsers may read of an answer; OpenAI's and Anthropic's SDKs do."""

_METHODS: Final = ("GET", "HEAD", "POST", "PATCH", "DELETE")


class Cors(CORSMiddleware):
    """CORS for scripts of these origins, or of all (`*`). Their requests carry a key, and no cookies are taken.

    Any other preflight gets an empty answer, which permits nothing; without origins there is nothing else.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(
            app, allow_origins=origins, allow_methods=_METHODS, allow_headers=("*",), expose_headers=EXPOSED
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        return Response(status_code=204, headers={"vary": response.headers["vary"]})
