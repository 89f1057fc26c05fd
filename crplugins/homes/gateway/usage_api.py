"""What was used, over HTTP: each key its own, the operator everything.

GET /v1/usage       ?by=model,day&since=7d&until=2027-01-31&model=fast     of the key that asks
GET /admin/usage    ?by=key,model&since=7d&key=team-a&team=search&...      of all, with the admin token

A question goes through all requests of a key, and its answer has as many lines as that has named users. So an answer
has a bound, and so have the questions that are asked at once: budgets are read from the same database.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, Protocol

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
from crplugins.ledger.errors import TooManyLines
from crplugins.ledger.question import GROUPS, Question, Sums, read_groups, sums_to_dict

OWN_GROUPS: Final = ("model", "endpoint", "user", "service_tier", "outcome", "error_type", "day")
"""What a key may ask about: not who serves its requests, which an alias may hide."""


MOST_LINES: Final = 10_000
"""Of one answer."""

AT_ONCE: Final = 2
"""Questions that are asked of the database at the same time. It answers more, those of budgets among them."""

MOST_OF_ONE: Final = 8
"""Questions of one key, or of the operator, that are asked or wait at the same time."""


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
    return Question(_groups(given.get("by", default), groups), since, until, {**values, **(only or {})}, MOST_LINES)


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
        self._turns = _Turns()

    def routes(self) -> list[Route]:
        routes = [Route(path, self.own, methods=["GET"]) for path in PATHS]
        return [*routes, Route(ADMIN_PATH, self.all, methods=["GET"])] if self._token is not None else routes

    async def own(self, request: Request) -> Response:
        """Of the key that asks. Whatever the query says, the condition on the key is ours."""
        exchange = find_exchange(request.scope)
        if exchange is None or exchange.principal is None:
            raise no_key()
        key_id = exchange.principal.key_id
        question = read_question(_parameters(request), OWN_GROUPS, self._now(), default="model", only={"key": key_id})
        return await self._answer(question, key_id)

    async def all(self, request: Request) -> Response:
        assert self._token is not None
        self._token.check(request.scope["headers"])
        question = read_question(_parameters(request), tuple(GROUPS), self._now(), default="key,model")
        return await self._answer(question, _OPERATOR)

    async def _answer(self, question: Question, asker: str | None) -> Response:
        async with self._turns.of(asker):
            try:
                lines = await self._ledger.answer(question)
            except TooManyLines:
                raise _too_many_lines() from None
            except Exception as error:
                logger.error("the ledger cannot be read: %s", type(error).__name__)
                raise _unavailable() from None
            body = await asyncio.to_thread(_encoded, lines)
        headers = {"cache-control": "no-store"}  # one key's numbers are not another's
        return Response(body, headers=headers, media_type="application/json")


_OPERATOR: Final = None
"""Asks as nobody's key."""


class _Turns:
    """Who may ask the database now: the others wait, in the order in which they came."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(AT_ONCE)
        self._asking: Counter[str | None] = Counter()

    @asynccontextmanager
    async def of(self, asker: str | None) -> AsyncIterator[None]:
        """Raises `GatewayError` 429 for one who asks too much at once, whose questions would keep others waiting."""
        if self._asking[asker] >= MOST_OF_ONE:
            raise _too_many_questions()
        self._asking[asker] += 1
        try:
            async with self._room:
                yield
        finally:
            self._asking[asker] -= 1
            if not self._asking[asker]:
                del self._asking[asker]


def _parameters(request: Request) -> Sequence[tuple[str, str]]:
    return request.query_params.multi_items()


def _too_many_lines() -> GatewayError:
    message = f"has more than {MOST_LINES:,} lines here: name less in it, or a shorter time in 'since' and 'until'"
    return bad_field("by", message)


def _too_many_questions() -> GatewayError:
    return GatewayError(
        429,
        f"{MOST_OF_ONE} questions about usage are being answered for this key. Please ask again when they are.",
        type="requests",
        code="rate_limit_exceeded",
        headers=[("retry-after", "1")],
    )


def _unavailable() -> GatewayError:
    return GatewayError(
        503,
        "Usage cannot be read at the moment. Please retry your request.",
        type=SERVER_ERROR,
        headers=[("retry-after", "5")],
    )


def _encoded(lines: Sequence[Sums]) -> bytes:
    return msgspec.json.encode({"object": "list", "data": [sums_to_dict(line) for line in lines]})
