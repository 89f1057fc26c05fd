"""The JSON object in the body of an admin request."""

from collections.abc import Collection
from typing import Any, Final

import msgspec
from starlette.requests import Request

from crplugins.asgi.incoming import check_declared_length, read_body
from crplugins.core.errors import unparsable_body
from crplugins.homes.admin_errors import bad_field

MAX_BODY_BYTES: Final = 256 * 1024


async def read_words(request: Request, known: Collection[str] | None = None) -> dict[str, Any]:
    """The object; an empty body is an empty one. With `known` no other keys may stand in it.

    Raises `GatewayError` 400 and 413.
    """
    check_declared_length(request.scope["headers"], MAX_BODY_BYTES)
    body = await read_body(request.receive, MAX_BODY_BYTES)
    words = _decoded(body) if body.strip() else {}
    unknown = next((name for name in words if known is not None and name not in known), None)
    if unknown is not None:
        raise bad_field(unknown, "is not known here")
    return words


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise unparsable_body() from None
