"""`open_limit_store`: the limit store that the configuration's `limits: {store: ...}` names."""

import re
from typing import Final

from crplugins.core.final_newline import without_final_newline
from crplugins.limits.memory import MemoryStore
from crplugins.limits.store import LimitStore

_FORMS: Final = (
    "memory, sqlite:///limits.db, redis://host:6379/0, rediss://host:6379/0, unix:///run/redis.sock, "
    "redis+sentinel://host:26379/mymaster/0 or redis+cluster://host:6379"
)
_REDIS: Final = re.compile(r"(?:(?:redis|valkey)s?(?:\+sentinel|\+cluster)?|unix)://")
_SQLITE: Final = "sqlite:///"


def open_limit_store(url: str) -> LimitStore:
    """A store, not yet entered. A relative SQLite path is relative to the current folder.

    Raises ValueError for any other form, without repeating it: there may be a password in it. Raises ImportError that
    names the extra to install.
    """
    url = without_final_newline(url)
    if url == "memory":
        return MemoryStore()
    if url.startswith(_SQLITE) and len(url) > len(_SQLITE) and "?" not in url and not url.endswith(":memory:"):
        from crplugins.limits.sqlite.store import SqliteStore

        return SqliteStore(url.removeprefix(_SQLITE))
    if _REDIS.match(url):
        return _redis(url)
    raise ValueError(f"a limit store is {_FORMS}")


def _redis(url: str) -> LimitStore:
    try:
        from crplugins.limits.redis.store import RedisStore
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "redis":
            raise
        raise ImportError("this limit store needs: pip install 'crplugins[redis]'", name="redis") from error
    return RedisStore(url)
