"""`crplugins check --online`: each deployment, database and store is tried, all at once and within a time.

A deployment is asked for the list of its models, which costs nothing. Where there is no such list, or litellm
translates, it is sent a request of one token, which costs as much.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import msgspec

from crplugins.config import Config
from crplugins.core.body import Body
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, Timings
from crplugins.core.redaction import without_credentials
from crplugins.handlers.demo_models import is_demo
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.handler import Handler
from crplugins.handlers.http.interface import HttpError
from crplugins.handlers.routing.checks import Checkable
from crplugins.handlers.upstream import UpstreamUnknown
from crplugins.homes.gateway.open_handlers import handler_of
from crplugins.homes.upstream_choice import AnyUpstream
from crplugins.keys.opening import parts_of
from crplugins.limits.limit import Limit
from crplugins.limits.opening import open_limit_store
from crplugins.settings.errors import error_line
from crplugins.sinks.stream import Broker
from crplugins.sql.url import read_database_url

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

AT_ONCE: Final = 16
"""How many are tried at the same time."""

_NO_LIST: Final = frozenset({404, 405, 501})
_NOT_LET_IN: Final = frozenset({401, 403})


class NotReached(Exception):
    """It cannot be used. The text says why, and holds no secret."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What has become of one attempt."""

    what: str
    where: str
    good: bool
    said: str
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        row = {"what": self.what, "where": self.where, "ok": self.good, "said": self.said}
        return {**row, "seconds": round(self.seconds, 3)}


async def try_everything(config: Config, upstreams: Sequence[AnyUpstream], seconds: float) -> list[Trial]:
    """A trial for each deployment, then for each store, in the order of the file. Each takes `seconds` at most."""
    places = asyncio.Semaphore(AT_ONCE)
    tries: list[Awaitable[Trial]] = []
    for deployment, upstream in zip(config.deployments(), upstreams, strict=True):
        where = deployment.model
        if deployment.api_base:
            where += f" at {without_credentials(deployment.api_base)}"
        attempt = _deployment(deployment, upstream, seconds)
        tries.append(_tried(f"model {deployment.name}", where, attempt, seconds, places))
    for what, where, attempt in _stores(config, seconds):
        tries.append(_tried(what, where, attempt, seconds, places))
    return list(await asyncio.gather(*tries))


async def _tried(
    what: str, where: str, attempt: Callable[[], Awaitable[str]], seconds: float, places: asyncio.Semaphore
) -> Trial:
    async with places:
        began = time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                said, good = await attempt(), True
        except TimeoutError:
            said, good = f"no answer within {seconds:g} s", False
        except NotReached as error:
            said, good = str(error), False
        except Exception as error:  # of a driver or a provider's client; the others are tried all the same
            said, good = _without_secrets(error), False
        return Trial(what, where, good, said, time.monotonic() - began)


def _without_secrets(error: Exception) -> str:
    """Its class, and its text where that is the operating system's: others quote addresses with passwords."""
    return error_line(error) if isinstance(error, OSError) and error.strerror else type(error).__name__


def _deployment(deployment: Deployment, upstream: AnyUpstream, seconds: float) -> Callable[[], Awaitable[str]]:
    async def attempt() -> str:
        if isinstance(upstream, UpstreamUnknown):
            raise NotReached(str(upstream))
        handler = await asyncio.to_thread(handler_of, deployment, upstream)
        if is_demo(deployment):
            return "the demo model needs no provider"
        async with _entered(handler):
            return await _asked(handler, deployment, seconds)

    return attempt


def _entered(handler: Handler) -> AbstractAsyncContextManager[Any]:
    return handler


async def _asked(handler: Handler, deployment: Deployment, seconds: float) -> str:
    if isinstance(handler, Checkable):
        try:
            status = await handler.models_status(seconds)
        except HttpError as error:
            raise NotReached(f"it cannot be reached ({type(error).__name__})") from None
        if status in _NOT_LET_IN:
            raise NotReached(f"it refuses the gateway's key: {status} to GET /models")
        if status < 400:
            return f"{status} to GET /models"
        if status not in _NO_LIST:
            raise NotReached(f"{status} to GET /models")
    if "*" in deployment.model:
        return "not asked: a name with a * is no model, and there is no list"
    return await _one_token(handler, deployment)


async def _one_token(handler: Handler, deployment: Deployment) -> str:
    raw = msgspec.json.encode(
        {"model": deployment.name, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    )
    body = Body(raw)
    exchange = Exchange(
        id=uuid4().hex, method="POST", path="/v1/chat/completions", headers=[], client=None, clock=time.monotonic,
        timings=Timings(time.monotonic()), body=body, requested_model=deployment.name,
    )  # fmt: skip
    try:
        await handler.answer(exchange, body)
    except GatewayError as error:
        raise NotReached(f"{error.status} {error.error.code or error.error.type} to a request of one token") from None
    return "an answer to a request of one token"


def _stores(config: Config, seconds: float) -> Sequence[tuple[str, str, Callable[[], Awaitable[str]]]]:
    found: list[tuple[str, str, Callable[[], Awaitable[str]]]] = []
    if not config.limits.store.startswith(("memory", "sqlite:")):
        store = config.limits.store
        found.append(("limits.store", without_credentials(store), partial(_limit_store, store)))
    for part in parts_of(config.keys):
        if "sql" in part:
            found.append(_database("keys.sql", str(part["sql"]), seconds))
        if "jwt" in part:
            jwt = part["jwt"]
            found.append(("keys.jwt", without_credentials(str(jwt.get("jwks"))), partial(_issuer, jwt)))
    if config.ledger is not None:
        found.append(_database("ledger", config.ledger.url, seconds, _partitions))
    for kind, section in config.sinks.present().items():
        broker = section.broker()
        found.append((f"sinks.{kind}", str(broker), partial(_broker, broker)))
    return found


async def _limit_store(url: str) -> str:
    async with open_limit_store(url) as store:
        await store.levels([Limit("meter", "check/online", 1, 60_000, 1)])
    return "it answers"


async def _broker(broker: Broker) -> str:
    try:
        await broker.publish([])
    finally:
        await broker.close()
    return "it answers"


async def _issuer(settings: Any) -> str:
    from crplugins.keys.jwt.signing_keys import KeySet, fetcher

    KeySet(await fetcher(str(settings["jwks"]))())
    return "its keys are there"


async def _nothing_more(_: "AsyncConnection") -> str:
    return ""


async def _partitions(connection: "AsyncConnection") -> str:
    """Of a ledger: into which months it is divided."""
    if connection.dialect.name != "postgresql":
        return ""
    from crplugins.ledger.partitions import partition_status

    said, good = await partition_status(connection)
    if not good:
        raise NotReached(said)
    return f"; {said}"


def _database(
    what: str, url: str, seconds: float, more: Callable[["AsyncConnection"], Awaitable[str]] = _nothing_more
) -> tuple[str, str, Callable[[], Awaitable[str]]]:
    """`more` is asked what else there is to say."""
    database = read_database_url(url)

    async def attempt() -> str:
        if database.file is not None and not database.file.exists():
            return "the file will be made at the start"
        from sqlalchemy import text

        from crplugins.sql.engine import make_engine

        engine = await asyncio.to_thread(make_engine, database, seconds)
        try:
            async with engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
                return "it answers" + await more(connection)
        finally:
            await engine.dispose()

    return what, str(database), attempt
