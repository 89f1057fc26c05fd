"""The admin API: keys made, shown, changed, rotated and ended over HTTP, behind a token of its own.

GET    /admin/keys                 every key
POST   /admin/keys                 {id, team, models, ...}: makes a key; the answer alone has its secret
GET    /admin/keys/{id}            one key; its ETag is what it is now
PATCH  /admin/keys/{id}            {team, limits, ...}: changes it, as RFC 7396 merges JSON
DELETE /admin/keys/{id}            removes it and its secrets
POST   /admin/keys/{id}/rotate     {overlap_seconds}: one more secret, in the answer alone
POST   /admin/keys/{id}/revoke     ends every secret now
POST   /admin/keys/{id}/disable    {disabled}: refuses the key, or takes it back
GET    /admin/audit                ?key=team-a&actor=ann&since=7d&until=...&limit=100&after=...: what was changed

Every change of a key takes `If-Match`: with the ETag of a version that is not the present one it is 412, and nothing is
changed. Without it the last one wins of two who change the same word. What a `PATCH` does not name stays in any case.
"""

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crplugins.asgi.incoming import check_declared_length, read_body
from crplugins.asgi.scope import find_exchange
from crplugins.core.errors import unparsable_body
from crplugins.core.lenient_json import NOT_JSON
from crplugins.core.request_json import check_unique
from crplugins.homes.gateway.admin_token import AdminToken, bad_field
from crplugins.homes.gateway.parameters import read_parameters, read_time
from crplugins.homes.gateway.store_errors import as_gateway_errors
from crplugins.keys.audit import MOST_ENTRIES, AuditQuestion, Author
from crplugins.keys.etag import IfMatch, etag_of
from crplugins.keys.key import Key
from crplugins.keys.service import DEFAULT_OVERLAP, LONGEST_OVERLAP, KeyService, Minted
from crplugins.keys.state import key_to_public_dict

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
        words = msgspec.json.decode(body, type=dict[str, Any])
    except NOT_JSON:
        raise unparsable_body() from None
    check_unique(body)
    return words


PATH: Final = "/admin/keys"

AUDIT_PATH: Final = "/admin/audit"

PUBLIC_PATHS: Final = (PATH, f"{PATH}/*", AUDIT_PATH)
"""Not Auth's to guard: the token is no key, and is looked at here."""

Endpoint = Callable[[Request, KeyService], Awaitable[Response]]
"""The service makes its changes in the name of whoever has sent the request."""

logger = logging.getLogger("crplugins.admin")


class AdminApi:
    """The endpoints, as routes of an app that renders `GatewayError`.

    Args:
        service: works on a store that is open while requests come in.
        tokens: the bearer tokens of operators by name, one of which every request needs; any other is 401.
    """

    def __init__(self, service: KeyService, tokens: Mapping[str, str]) -> None:
        self._service = service
        self._token = AdminToken(tokens)

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
            self._route(AUDIT_PATH, "GET", self.audit),
        ]

    async def all(self, _request: Request, service: KeyService) -> Response:
        now = service.now()
        return _json({"object": "list", "data": [key_to_public_dict(key, now) for key in await service.list()]})

    async def one(self, request: Request, service: KeyService) -> Response:
        return self._shown(await service.get(_id(request)))

    async def new(self, request: Request, service: KeyService) -> Response:
        minted = await service.new(await read_words(request))
        return self._minted(minted, "made", status=201)

    async def update(self, request: Request, service: KeyService) -> Response:
        return self._changed(await service.update(_id(request), await read_words(request)), "changed")

    async def audit(self, request: Request, service: KeyService) -> Response:
        question = read_audit_question(request.query_params.multi_items(), service.now())
        one_more = msgspec.structs.replace(question, limit=question.limit + 1)  # which tells whether there is
        entries = await service.audit(one_more)
        data = entries[: question.limit]
        return _json({"object": "list", "data": data, "has_more": len(entries) > len(data)})

    async def delete(self, request: Request, service: KeyService) -> Response:
        key_id = _id(request)
        await read_words(request, ())
        await service.delete(key_id)
        logger.info("the key %r is deleted", key_id)
        return _json({"id": key_id, "object": "key.deleted", "deleted": True})

    async def rotate(self, request: Request, service: KeyService) -> Response:
        words = await read_words(request, ["overlap_seconds"])
        return self._minted(await service.rotate(_id(request), _overlap(words)), "rotated")

    async def revoke(self, request: Request, service: KeyService) -> Response:
        await read_words(request, ())
        return self._changed(await service.revoke(_id(request)), "revoked")

    async def disable(self, request: Request, service: KeyService) -> Response:
        disabled = (await read_words(request, ["disabled"])).get("disabled", True)
        if not isinstance(disabled, bool):
            raise bad_field("disabled", "must be true or false")
        key = await service.set_disabled(_id(request), disabled=disabled)
        return self._changed(key, "disabled" if disabled else "enabled")

    def _route(self, path: str, method: str, endpoint: Endpoint) -> Route:
        async def guarded(request: Request) -> Response:
            name = self._token.check(request.scope["headers"])
            with as_gateway_errors():
                return await endpoint(request, self._service.acting_for(_author(request, name, self._service.now)))

        return Route(path, guarded, methods=[method])

    def _shown(self, key: Key) -> Response:
        now = self._service.now()
        return _json(key_to_public_dict(key, now), etag=etag_of(key, now))

    def _changed(self, key: Key, done: str) -> Response:
        logger.info("the key %r is %s", key.id, done)
        return self._shown(key)

    def _minted(self, minted: Minted, done: str, status: int = 200) -> Response:
        logger.info("the key %r is %s", minted.key.id, done)
        now = self._service.now()
        shown = {**key_to_public_dict(minted.key, now), "secret": minted.secret}
        return _json(shown, status, etag=etag_of(minted.key, now))


def _author(request: Request, name: str, now: Callable[[], datetime]) -> Author:
    exchange = find_exchange(request.scope)
    request_id = None if exchange is None else exchange.id
    return Author(name, "admin_api", request_id, IfMatch.parse(request.headers.getlist("if-match")), now)


def _id(request: Request) -> str:
    return str(request.path_params["id"])


def _overlap(words: dict[str, Any]) -> timedelta:
    seconds = words.get("overlap_seconds", DEFAULT_OVERLAP.total_seconds())
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise bad_field("overlap_seconds", "must be a number of seconds")
    if not 0 <= seconds <= LONGEST_OVERLAP.total_seconds():
        raise bad_field("overlap_seconds", f"must be from 0 to {int(LONGEST_OVERLAP.total_seconds())}")
    return timedelta(seconds=seconds)


def read_audit_question(parameters: Iterable[tuple[str, str]], now: datetime) -> AuditQuestion:
    """Raises `GatewayError` 400 that names the parameter."""
    given = read_parameters(parameters, ("key", "actor", "since", "until", "limit", "after"))
    limit = given.get("limit", "100")
    if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit[:9]) <= MOST_ENTRIES):
        raise bad_field("limit", f"must be a number from 1 to {MOST_ENTRIES}")
    return AuditQuestion(
        given.get("key"),
        given.get("actor"),
        read_time("since", given, now),
        read_time("until", given, now),
        given.get("after"),
        int(limit),
    )


def _json(value: object, status: int = 200, *, etag: str | None = None) -> Response:
    headers = {"cache-control": "no-store"}  # secrets are in some of them
    if etag is not None:
        headers["etag"] = etag
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")
