"""What stands before the plugins of the gateway: the prefix of its paths, and CORS.

A browser's preflight never carries a key, so Auth must not see it. The prefix is taken off before anybody looks at a
path: what guards a path and what serves it cannot read it differently.
"""

from collections.abc import Sequence
from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Scope

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


def without_prefix(scope: Scope, prefix: str) -> Scope:
    """`/prefix/v1/...` as `/v1/...`, which is served as well: a proxy may keep the prefix or take it off."""
    if "path" not in scope or not (scope["path"] + "/").startswith(prefix + "/"):
        return scope
    scope = {**scope, "path": scope["path"].removeprefix(prefix) or "/"}
    raw = scope.get("raw_path")
    if raw is not None:
        scope["raw_path"] = raw.removeprefix(prefix.encode()) or b"/"
    return scope


class Cors(CORSMiddleware):
    """CORS for scripts of these origins, or of all (`*`). Their requests carry a key, and no cookies are taken.

    Any other preflight gets an empty answer, which permits nothing; without origins there is nothing else.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(
            app, allow_origins=origins, allow_methods=_METHODS, allow_headers=("*",), expose_headers=EXPOSED
        )

    def concerns(self, scope: Scope) -> bool:
        """Whether there is anything for it to do. Others go past it."""
        return scope["type"] == "http" and bool(self.allow_origins or scope["method"] == "OPTIONS")

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        return Response(status_code=204, headers={"vary": response.headers["vary"]})
