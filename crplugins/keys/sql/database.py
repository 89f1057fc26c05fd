"""Database: one engine, opened once however many use it, whose failures are `SourceUnavailable`."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from crplugins.keys.etag import KeyChanged
from crplugins.keys.source import Found, SourceUnavailable
from crplugins.keys.sql.lookup import Lookup, open_lookup
from crplugins.keys.sql.rows import found_in, read_keys
from crplugins.keys.store import ChangeRefused, KeyExists, NoSuchKey
from crplugins.settings.errors import ConfigError, Problem
from crplugins.sql.engine import WRITES, make_engine
from crplugins.sql.migrate import migrate
from crplugins.sql.url import DatabaseUrl, read_database_url

TIMEOUT: Final = 3.0
"""Seconds for one transaction. Slower is as good as down: requests wait for it."""

WAITING_SECONDS: Final = 5.0
"""How long a start waits for the database without a word; it waits for a minute at most."""

MIGRATIONS: Final = Path(__file__).parent / "migrations"
VERSION_TABLE: Final = "api_key_schema"
_LOCK: Final = 0x6372_706B_6579_7300  # any number, the same in every version

logger = logging.getLogger("crplugins.keys")


class Database:
    """Raises `ConfigError` for a URL that is none, `ImportError` without its driver, else `SourceUnavailable`."""

    def __init__(self, url: str, *, migrate: bool = True) -> None:
        try:
            self._url = read_database_url(url)
        except ValueError as error:
            raise ConfigError([Problem(("keys", "sql"), str(error))]) from None
        self._url.import_driver()
        self._migrates = migrate
        self._users = 0
        self._engine: AsyncEngine | None = None
        self._lookup: Lookup | None = None

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        async with _translated(self._url), asyncio.timeout(TIMEOUT), self._opened().connect() as connection:
            yield connection

    async def find(self, digests: Sequence[bytes]) -> Found | None:
        """The key one of whose secrets has one of these digests, of which there are one or two."""
        async with _translated(self._url), asyncio.timeout(TIMEOUT):
            return found_in(read_keys(await self._looked_up().rows(digests)), digests)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction, committed at the end of the block. It passes on `IntegrityError`."""
        engine = self._opened().execution_options(**{WRITES: True})
        async with _translated(self._url), asyncio.timeout(2 * TIMEOUT), engine.begin() as connection:
            yield connection

    async def __aenter__(self) -> Self:
        self._users += 1
        if self._users == 1:
            async with _translated(self._url), self._told_if_it_takes_long():
                if self._migrates:
                    await migrate(self._url, MIGRATIONS, VERSION_TABLE, _LOCK)
                self._engine = await asyncio.to_thread(make_engine, self._url, TIMEOUT)  # looks at files
                self._lookup = await asyncio.to_thread(open_lookup, self._url, self._engine.dialect, TIMEOUT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._users -= 1
        if self._users == 0 and self._engine is not None:
            engine, self._engine = self._engine, None
            lookup, self._lookup = self._lookup, None
            if lookup is not None:
                await lookup.close()
            await engine.dispose()

    @asynccontextmanager
    async def _told_if_it_takes_long(self) -> AsyncIterator[None]:
        """A start that waits says for what."""
        timer = asyncio.get_running_loop().call_later(
            WAITING_SECONDS,
            logger.warning,
            "waiting for the database of the keys, %s",
            self._url,
        )
        try:
            yield
        finally:
            timer.cancel()

    def __repr__(self) -> str:
        return f"Database({str(self._url)!r})"

    def _looked_up(self) -> Lookup:
        if self._lookup is None:
            raise SourceUnavailable("the database has not been opened")
        return self._lookup

    def _opened(self) -> AsyncEngine:
        if self._engine is None:
            raise SourceUnavailable("the database has not been opened")
        return self._engine


@asynccontextmanager
async def _translated(url: DatabaseUrl) -> AsyncIterator[None]:
    """Whatever a driver raises: each has errors of its own, and of the operating system, for a server that is gone."""
    try:
        yield
    except (SourceUnavailable, IntegrityError, KeyExists, NoSuchKey, ChangeRefused, KeyChanged):
        raise
    except Exception as error:
        raise SourceUnavailable(f"the database {url} cannot be asked ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    words = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
