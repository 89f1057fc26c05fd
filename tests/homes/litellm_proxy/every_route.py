"""LiteLLM's proxy, and the same inside our entry, with one page more: what every registered route is for our keys.

LiteLLM's own `/routes` leaves out those of included routers.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from fastapi import Request
from litellm.proxy._types import ProxyException
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from crplugins.homes.litellm_proxy import user_api_key_auth

PAGE: Final = "/every-route"


def registered(routes: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, str, Any]]:
    """Method ("WEBSOCKET" for one), path as a template, and the route."""
    for route in routes:
        if hasattr(route, "effective_candidates"):  # a router that FastAPI has included
            yield from registered(route.effective_candidates(), prefix)
        elif isinstance(route, Mount):
            yield "GET", f"{prefix}{route.path}/", None
            yield from registered(route.routes or (), prefix + route.path)
        else:
            for method in sorted(getattr(route, "methods", None) or ("WEBSOCKET",)):
                yield method, prefix + route.path, route


async def verdict(method: str, path: str, route: Any, key: str) -> int:
    """The status with which `user_api_key_auth` refuses a request; 0 if it lets it in."""
    scope = {
        "type": "http",
        "method": method,
        "path": path.replace("{", "").replace("}", ""),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {key}".encode())],
        "client": None,
        "route": getattr(route, "original_route", route),
    }
    try:
        await user_api_key_auth(request=Request(scope), api_key=f"Bearer {key}")
    except ProxyException as error:
        return int(error.code or 500)
    return 0


async def page(key: str) -> list[dict[str, Any]]:
    """Of every route, whether LiteLLM asks who calls, and what the key is told."""
    from litellm.proxy.proxy_server import app

    return [
        {
            "method": method,
            "path": path,
            "asks": any("user_api_key_auth" in name for name in _names(getattr(route, "dependant", None))),
            "verdict": await verdict(method, path, route, key),
        }
        for method, path, route in registered(app.routes)
    ]


def _names(dependant: Any) -> Iterator[str]:
    for inner in getattr(dependant, "dependencies", ()):
        yield getattr(inner.call, "__name__", "")
        yield from _names(inner)


class _WithPage:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PAGE:
            await self._app(scope, receive, send)
            return
        body = json.dumps(await page(scope["query_string"].decode())).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": body})


def __getattr__(name: str) -> Any:
    if name == "callback":
        from litellm.proxy.proxy_server import app

        return _WithPage(app)
    if name == "entry":
        from crplugins.homes.litellm_proxy import app as entry

        return _WithPage(entry)
    raise AttributeError(name)
