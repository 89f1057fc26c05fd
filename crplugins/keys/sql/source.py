"""SqlKeys: a key source on SQLite or PostgreSQL, behind a cache that knows how long it may be believed."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Final, NamedTuple, TypeVar

from crplugins.core.shared import Shared
from crplugins.core.single_flight import SingleFlight
from crplugins.core.waiting import stopped
from crplugins.keys.key import Key
from crplugins.keys.secrets import PREFIX, Digester, has_valid_checksum
from crplugins.keys.sections import DEFAULT_CACHED_KEYS, DEFAULT_STALE_SECONDS
from crplugins.keys.source import Found, SourceUnavailable
from crplugins.keys.sql.database import Database
from crplugins.keys.sql.rows import api_key, changed_since, current_version, select_keys
from crplugins.keys.sql.store import SqlStore

UNKNOWN_SECONDS: Final = 5.0
_MOST_UNKNOWN: Final = 10_000


T = TypeVar("T")


class CachedKey(NamedTuple):
    found: Found
    loaded_at: float


class FoundCache:
    """Immutable snapshots by digest, the least used going first; and digests that nobody has, for 5 s.

    Times are seconds of one monotonic clock. `generation` goes up whenever something may have changed: what was asked
    before that is not worth keeping.
    """

    def __init__(self, size: int = DEFAULT_CACHED_KEYS, unknown_seconds: float = UNKNOWN_SECONDS) -> None:
        self.generation = 0
        self._size, self._unknown_seconds = size, unknown_seconds
        self._known: OrderedDict[bytes, CachedKey] = OrderedDict()
        self._unknown: OrderedDict[bytes, float] = OrderedDict()

    def get(self, digest: bytes) -> CachedKey | None:
        entry = self._known.get(digest)
        if entry is not None:
            self._known.move_to_end(digest)
        return entry

    def is_unknown(self, digest: bytes, now: float) -> bool:
        return now < self._unknown.get(digest, now)

    def put(self, digest: bytes, found: Found | None, now: float) -> None:
        if found is None:
            self._known.pop(digest, None)
            _put(self._unknown, digest, now + self._unknown_seconds, min(self._size, _MOST_UNKNOWN))
        else:
            _put(self._known, digest, CachedKey(found, now), self._size)

    def forget(self, key_ids: AbstractSet[str]) -> None:
        """These keys have changed, and any unknown secret may have become one."""
        self.generation += 1
        self._unknown.clear()
        for digest in [digest for digest, entry in self._known.items() if entry.found.key.id in key_ids]:
            del self._known[digest]

    def clear(self) -> None:
        self.generation += 1
        self._unknown.clear()
        self._known.clear()


def _put(values: OrderedDict[bytes, T], digest: bytes, value: T, size: int) -> None:
    values[digest] = value
    values.move_to_end(digest)
    if len(values) > size:
        values.popitem(last=False)


POLL_SECONDS: Final = 1.0
"""A change elsewhere counts here after this and the time of two queries: well within 2 s."""

FRESH_SECONDS: Final = 60.0
"""When a cached key is loaded again, behind the request: for changes made by hand, which no version counts."""

RETRY_SECONDS: Final = 1.0
"""How long unknown secrets are not asked about after the database has failed, so that requests do not pile up."""

logger = logging.getLogger("crplugins.keys")


class SqlKeys(Shared):
    """The keys of a database. `store` changes them; such changes count at once here, elsewhere within 2 s.

    While the database is unavailable, known keys go on for `stale_seconds`, counted from when it last answered;
    others are `SourceUnavailable`. So a revocation made meanwhile counts after that long at the latest. At start-up it
    must be there.

    Args:
        url: `sqlite:///gw.db` or `postgresql://...`.
        migrate: whether to bring the tables to the newest schema when entered.
        cached_keys: how many are kept in memory, at about 1 KB each: those that were used last. Any other is looked up.
        clock: monotonic seconds.
        sleep: waits between two polls.
    """

    def __init__(
        self,
        url: str,
        *,
        digester: Digester | None = None,
        migrate: bool = True,
        stale_seconds: float = DEFAULT_STALE_SECONDS,
        cached_keys: int = DEFAULT_CACHED_KEYS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._digester = digester or Digester()
        self._database = Database(url, migrate=migrate)
        self.store: Final = SqlStore(self._database, digester=self._digester, changed=self._forget)
        self._stale_seconds, self._clock, self._sleep = stale_seconds, clock, sleep
        self._cache = FoundCache(cached_keys)
        self._flights: SingleFlight[Found | None] = SingleFlight()
        self._version: int | None = None
        self._answered = float("-inf")
        self._retry_at = float("-inf")
        self._down = False
        self._poller: asyncio.Task[None] | None = None

    async def find(self, secret: str) -> Found | None:
        digest, now = self._digester.digest(secret), self._clock()
        entry = self._cache.get(digest)
        if entry is not None and now - self._answered <= self._stale_seconds:
            if now - entry.loaded_at > FRESH_SECONDS and now >= self._retry_at:
                self._flights.start(digest, lambda: self._load(secret))
            return entry.found
        if secret.startswith(PREFIX) and not has_valid_checksum(secret):
            return None
        if self._cache.is_unknown(digest, now):
            return None
        if now < self._retry_at:
            raise SourceUnavailable("the database could not be asked a moment ago")
        return await self._flights.run(digest, lambda: self._load(secret))

    async def expiring(self, since: datetime, until: datetime) -> Sequence[Key]:
        """The keys that expire in that time. Raises `SourceUnavailable`."""
        async with self._database.reading() as connection:
            return await select_keys(connection, api_key.c.expires.between(since, until))

    async def refresh(self) -> None:
        """Ask for the version, and forget what has changed. An outage is logged when it begins and when it ends."""
        asked_at = self._clock()
        try:
            await self._catch_up()
        except Exception as error:
            self._failed(error)
        else:
            self._answered = asked_at
            self._recovered()

    async def open(self) -> None:
        await self._database.__aenter__()
        try:
            await self._catch_up()
        except BaseException:
            await self._database.__aexit__(None, None, None)
            raise
        self._answered = self._clock()
        self._poller = asyncio.create_task(self._poll())

    async def close(self) -> None:
        await stopped(self._poller)
        await self._flights.close()
        await self._database.__aexit__(None, None, None)

    def __repr__(self) -> str:
        return f"SqlKeys({self._database!r})"

    async def _poll(self) -> None:
        while True:
            await self._sleep(POLL_SECONDS)
            await self.refresh()

    async def _catch_up(self) -> None:
        async with self._database.reading() as connection:
            version = await current_version(connection)
            if version == self._version:
                return
            changed = set() if self._version is None else await changed_since(connection, self._version)
        if self._version is not None and not 0 < version - self._version <= len(changed):
            # Another database in its place, such as a restored one; or more changes than keys that tell of one: a key
            # was changed twice, or it was deleted and nothing is left to tell which.
            self._cache.clear()
        self._forget(*changed)
        self._version = version

    def _forget(self, *key_ids: str) -> None:
        self._cache.forget(set(key_ids))
        self._flights.forget()

    async def _load(self, secret: str) -> Found | None:
        """Ask the database. Raises `SourceUnavailable`."""
        while True:
            generation, asked_at = self._cache.generation, self._clock()
            try:
                found = await self._database.find(self._digester.candidates(secret))
            except Exception as error:
                self._failed(error)
                raise SourceUnavailable("the database cannot be asked") from error
            if generation == self._cache.generation:  # else the answer may be older than the change
                self._cache.put(self._digester.digest(secret), found, asked_at)
                return found

    def _failed(self, error: Exception) -> None:
        self._retry_at = self._clock() + RETRY_SECONDS
        if not self._down:
            logger.error("known keys go on for %g s, others get 503: %s", self._stale_seconds, error)
        self._down = True

    def _recovered(self) -> None:
        self._retry_at = float("-inf")
        if self._down:
            logger.warning("the database of the keys answers again")
        self._down = False
