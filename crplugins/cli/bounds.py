"""Bounds of connections: those of the configuration, as far as the system allows, and what is answered past them."""

import resource
from contextlib import suppress
from typing import Final

import msgspec

from crplugins.config import Config
from crplugins.core.errors import SERVER_ERROR, GatewayError

LEAST_BODY_BYTES: Final = 1024
"""What must come of a body within `body_seconds`. Few enough for an upload over the worst line that is honest."""

_OTHER_FILES: Final = 40
"""File descriptors that are no connections: of the standard streams, the event loop, databases, journals."""


class Bounds(msgspec.Struct, frozen=True):
    """As in the configuration's `server`.

    Attributes:
        head_bytes: of a request line and its headers, and of what frames a body in chunks.
        head_seconds: from the connection or, in a kept one, from the first byte, to the end of the head.
        body_seconds: the time in which `LEAST_BODY_BYTES` of a body, or its end, must come.
        connections: open at once in one process.
        why: says what keeps it from having more.
    """

    head_bytes: int
    head_seconds: float
    body_seconds: float
    connections: int
    why: str = "as many as server.max_connections allows"


def allow_descriptors(config: Config) -> None:
    """Raises the soft limit of open files, as far as may be, for all connections and an upstream's for each."""
    wanted = 2 * config.server.max_connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(ValueError, OSError):  # some systems have a limit besides, which only they know
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))


def bounds_of(config: Config) -> Bounds:
    """Those of the configuration, and no more connections than there are file descriptors for.

    With all of them used up no upstream can be reached, no record written, and uvloop closes new connections without a
    word.
    """
    server = config.server
    bounds = Bounds(
        head_bytes=server.max_header_bytes,
        head_seconds=server.header_timeout_seconds,
        body_seconds=server.body_timeout_seconds,
        connections=server.max_connections,
    )
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    most = max((files - _OTHER_FILES) // 2, 1)
    if files == resource.RLIM_INFINITY or most >= server.max_connections:
        return bounds
    return msgspec.structs.replace(
        bounds, connections=most, why=f"and file descriptors are used up: {files} (ulimit -n) are for {most}"
    )


def malformed() -> GatewayError:
    return GatewayError(400, "This is not a valid HTTP/1.1 request.")


def head_too_large(limit: int) -> GatewayError:
    return GatewayError(
        431, f"The request line and the headers are larger than {limit} bytes.", code="headers_too_large"
    )


def body_too_slow(seconds: float) -> GatewayError:
    message = f"Less than {LEAST_BODY_BYTES} bytes of the request's body arrived within {seconds:g} seconds."
    return GatewayError(408, message, code="request_timeout")


def too_many_connections() -> GatewayError:
    return GatewayError(
        503,
        "The server has too many open connections. Please retry your request.",
        type=SERVER_ERROR,
        headers=[("retry-after", "1")],
    )
