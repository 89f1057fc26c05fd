"""The admin API: keys made, shown, changed, rotated and ended over HTTP, behind a token of its own.

GET    /admin/keys                 every key
POST   /admin/keys                 {id, team, models, ...}: makes a key; the answer alone has its secret
GET    /admin/keys/{id}            one key
PATCH  /admin/keys/{id}            {team, limits, ...}: changes it, as RFC 7396 merges JSON
DELETE /admin/keys/{id}            removes it and its secrets
POST   /admin/keys/{id}/rotate     {overlap_seconds}: one more secret, in the answer alone
POST   /admin/keys/{id}/revoke     ends every secret now
POST   /admin/keys/{id}/disable    {disabled}: refuses the key, or takes it back
"""

import logging
from collections.abc import Awaitable, Callable, Collection, Iterator
from datetime import timedelta
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crplugins.asgi.incoming import check_declared_length, read_body
from crplugins.core.errors import unparsable_body
from crplugins.homes.gateway.admin_token import AdminToken, as_gateway_errors, bad_field
from crplugins.keys.chain import Chain
from crplugins.keys.key import Key
from crplugins.keys.service import DEFAULT_OVERLAP, LONGEST_OVERLAP, KeyService, Minted, key_to_public_dict
from crplugins.keys.source import KeySource
from crplugins.keys.store import KeyStore

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
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise unparsable_body() from None


PATH: Final = "/admin/keys"

PUBLIC_PATHS: Final = (PATH, f"{PATH}/*")
"""Not Auth's to guard: the token is no key, and is looked at here."""

Endpoint = Callable[[Request], Awaitable[Response]]

logger = logging.getLogger("crplugins.admin")


class AdminApi:
    """The endpoints, as routes of an app that renders `GatewayError`.

    Args:
        service: works on a store that is open while requests come in.
        token: the bearer token every request needs; any other is 401.
    """

    def __init__(self, service: KeyService, token: str) -> None:
        self._service = service
        self._token = AdminToken(token)

    def routes(self) -> list[Route]:
        """An id may hold slashes, so the longer paths stand first."""
        one = PATH + "/{id:path}"
        return [
            self._route(PATH, "GET", self.all),
            self._route(PATH, "POST", self.new),
            self._route(f"{one}/rotate", "POST", self.rotate),
            self._route(f"{one}/revoke", "POST", self.revoke),
            self._route(f"{one}/disable", "POST", self.disable),
            self._route(one, "GET", self.one),
            self._route(one, "PATCH", self.update),
            self._route(one, "DELETE", self.delete),
        ]

    async def all(self, _request: Request) -> Response:
        now = self._service.now()
        return _json({"object": "list", "data": [key_to_public_dict(key, now) for key in await self._service.list()]})

    async def one(self, request: Request) -> Response:
        return self._shown(await self._service.get(_id(request)))

    async def new(self, request: Request) -> Response:
        minted = await self._service.new(await read_words(request))
        return self._minted(minted, "made", status=201)

    async def update(self, request: Request) -> Response:
        return self._changed(await self._service.update(_id(request), await read_words(request)), "changed")

    async def delete(self, request: Request) -> Response:
        key_id = _id(request)
        await read_words(request, ())
        await self._service.delete(key_id)
        logger.info("the key %r is deleted", key_id)
        return _json({"id": key_id, "object": "key.deleted", "deleted": True})

    async def rotate(self, request: Request) -> Response:
        words = await read_words(request, ["overlap_seconds"])
        return self._minted(await self._service.rotate(_id(request), _overlap(words)), "rotated")

    async def revoke(self, request: Request) -> Response:
        await read_words(request, ())
        return self._changed(await self._service.revoke(_id(request)), "revoked")

    async def disable(self, request: Request) -> Response:
        disabled = (await read_words(request, ["disabled"])).get("disabled", True)
        if not isinstance(disabled, bool):
            raise bad_field("disabled", "must be true or false")
        key = await self._service.set_disabled(_id(request), disabled=disabled)
        return self._changed(key, "disabled" if disabled else "enabled")

    def _route(self, path: str, method: str, endpoint: Endpoint) -> Route:
        async def guarded(request: Request) -> Response:
            self._token.check(request.scope["headers"])
            with as_gateway_errors():
                return await endpoint(request)

        return Route(path, guarded, methods=[method])

    def _shown(self, key: Key) -> Response:
        return _json(key_to_public_dict(key, self._service.now()))

    def _changed(self, key: Key, done: str) -> Response:
        logger.info("the key %r is %s", key.id, done)
        return self._shown(key)

    def _minted(self, minted: Minted, done: str, status: int = 200) -> Response:
        logger.info("the key %r is %s", minted.key.id, done)
        return _json({**key_to_public_dict(minted.key, self._service.now()), "secret": minted.secret}, status)


def _id(request: Request) -> str:
    return str(request.path_params["id"])


def _overlap(words: dict[str, Any]) -> timedelta:
    seconds = words.get("overlap_seconds", DEFAULT_OVERLAP.total_seconds())
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise bad_field("overlap_seconds", "must be a number of seconds")
    if not 0 <= seconds <= LONGEST_OVERLAP.total_seconds():
        raise bad_field("overlap_seconds", f"must be from 0 to {int(LONGEST_OVERLAP.total_seconds())}")
    return timedelta(seconds=seconds)


def _json(value: object, status: int = 200) -> Response:
    headers = {"cache-control": "no-store"}  # secrets are in some of them
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")


class NoStore(ValueError):
    """No source, or more than one, can be changed. The message is a sentence about the configuration's `keys`."""


def store_of(source: KeySource) -> KeyStore:
    """The store behind `source`, open as long as that is: what it changes counts here at once. Raises `NoStore`."""
    stores = list(_stores(source))
    if len(stores) != 1:
        count = "holds several" if stores else "holds no"
        raise NoStore(f"admin needs keys it can change, one {{file: ...}} or {{sql: ...}}; keys {count} such source")
    return stores[0]


def _stores(source: KeySource) -> Iterator[KeyStore]:
    for each in source.sources if isinstance(source, Chain) else [source]:
        store: KeyStore | None = getattr(each, "store", None)  # FileKeys and SqlKeys, which are not imported for this
        if store is not None:
            yield store
