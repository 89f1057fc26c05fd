"""What was used, over HTTP: each key its own, the operator everything.

GET /v1/usage       ?by=model,day&since=7d&until=2027-01-31&model=fast     of the key that asks
GET /admin/usage    ?by=key,model&since=7d&key=team-a&team=search&...      of all, with the admin token
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crplugins.asgi.scope import find_exchange
from crplugins.core.errors import SERVER_ERROR, GatewayError
from crplugins.homes.gateway.admin_token import AdminToken, bad_field
from crplugins.homes.gateway.parameters import read_parameters, read_time
from crplugins.keys.key import utc_now
from crplugins.keys.refusals import no_key
from crplugins.ledger.question import GROUPS, Question, Sums, read_groups, sums_to_dict

OWN_GROUPS: Final = ("model", "endpoint", "user", "service_tier", "outcome", "error_type", "day")
"""What a key may ask about: not who serves its requests, which an alias may hide."""


def read_question(
    parameters: Iterable[tuple[str, str]],
    groups: Sequence[str],
    now: datetime,
    *,
    default: str,
    only: Mapping[str, str] | None = None,
) -> Question:
    """`by`, `since`, `until`, and a value for each of `groups` but `day`. `only` comes on top, and always counts.

    Raises `GatewayError` 400 that names the parameter.
    """
    given = read_parameters(parameters, ("by", "since", "until", *(name for name in groups if name != "day")))
    since, until = read_time("since", given, now), read_time("until", given, now)
    if since and until and since >= until:
        raise bad_field("until", "must be later than 'since'")
    values = {name: value for name, value in given.items() if name in groups}
    return Question(_groups(given.get("by", default), groups), since, until, {**values, **(only or {})})


def _groups(text: str, groups: Sequence[str]) -> list[str]:
    try:
        return read_groups(text, groups)
    except ValueError as error:
        raise bad_field("by", str(error)) from None


PATHS: Final = ("/v1/usage", "/usage")
ADMIN_PATH: Final = "/admin/usage"

PUBLIC_PATHS: Final = (ADMIN_PATH,)
"""Not Auth's to guard: the token is no key, and is looked at here."""

logger = logging.getLogger("crplugins.usage")


class Readable(Protocol):
    """An open `Ledger`."""

    async def answer(self, question: Question) -> list[Sums]: ...


class UsageApi:
    """The endpoints, as routes of an app that renders `GatewayError`, behind Auth.

    Args:
        ledger: open while requests come in.
        admin_tokens: those of operators by name; None for no endpoint of theirs.
        now: the wall clock.
    """

    def __init__(
        self, ledger: Readable, *, admin_tokens: Mapping[str, str] | None = None, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._ledger = ledger
        self._token = AdminToken(admin_tokens) if admin_tokens is not None else None
        self._now = now

    def routes(self) -> list[Route]:
        routes = [Route(path, self.own, methods=["GET"]) for path in PATHS]
        return [*routes, Route(ADMIN_PATH, self.all, methods=["GET"])] if self._token is not None else routes

    async def own(self, request: Request) -> Response:
        """Of the key that asks. Whatever the query says, the condition on the key is ours."""
        exchange = find_exchange(request.scope)
        if exchange is None or exchange.principal is None:
            raise no_key()
        mine = {"key": exchange.principal.key_id}
        return await self._answer(
            read_question(_parameters(request), OWN_GROUPS, self._now(), default="model", only=mine)
        )

    async def all(self, request: Request) -> Response:
        assert self._token is not None
        self._token.check(request.scope["headers"])
        return await self._answer(read_question(_parameters(request), tuple(GROUPS), self._now(), default="key,model"))

    async def _answer(self, question: Question) -> Response:
        try:
            lines = await self._ledger.answer(question)
        except Exception as error:
            logger.error("the ledger cannot be read: %s", type(error).__name__)
            raise _unavailable() from None
        return _json({"object": "list", "data": [sums_to_dict(line) for line in lines]})


def _parameters(request: Request) -> Sequence[tuple[str, str]]:
    return request.query_params.multi_items()


def _unavailable() -> GatewayError:
    return GatewayError(
        503,
        "Usage cannot be read at the moment. Please retry your request.",
        type=SERVER_ERROR,
        headers=[("retry-after", "5")],
    )


def _json(value: Mapping[str, Any]) -> Response:
    headers = {"cache-control": "no-store"}  # one key's numbers are not another's
    return Response(msgspec.json.encode(value), headers=headers, media_type="application/json")
