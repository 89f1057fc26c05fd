"""ASGI's types, and the messages and scope of one request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


def http_scope(
    method: str, path: str, headers: Mapping[str, str] | Sequence[tuple[str, str]] = (), *, has_body: bool = False
) -> Scope:
    """The scope of a request to `path`, which may carry a query; header names are sent in lower case."""
    target, _, query = path.partition("?")
    defaults = {"host": "testserver"} | ({"content-type": "application/json"} if has_body else {})
    given = [(name.lower(), value) for name, value in (headers.items() if isinstance(headers, Mapping) else headers)]
    names = {name for name, _ in given}
    pairs = [*((name, value) for name, value in defaults.items() if name not in names), *given]
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(target),
        "raw_path": target.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs],
        "client": ("127.0.0.1", 50000),
        "server": ("testserver", 80),
    }


def request_messages(body: Any = None, chunks: Sequence[bytes] | None = None) -> list[Message]:
    """The `http.request` messages of a body: one, or one per chunk. ValueError if both are given."""
    if body is not None and chunks is not None:
        raise ValueError("give body or chunks, not both")
    parts = list(chunks) if chunks else [_encoded(body)]
    last = len(parts) - 1
    return [{"type": "http.request", "body": part, "more_body": number < last} for number, part in enumerate(parts)]


def _encoded(body: Any) -> bytes:
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    return body if isinstance(body, bytes) else msgspec.json.encode(body)
