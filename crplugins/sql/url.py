"""Database URLs, with the async driver that they need."""

from typing import Final

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

_DRIVERS: Final = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
    "postgresql+psycopg": "postgresql+asyncpg",
    "postgresql+psycopg2": "postgresql+asyncpg",
}


def async_url(text: str) -> URL:
    """The URL for `sqlite:///gw.db` (three slashes: relative) or `postgresql://user:password@host/db?sslmode=require`.

    Raises `ValueError`, whose text has no part of the URL: it may contain a password.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError("must be the URL of a database, such as sqlite:///gw.db") from None
    if url.drivername not in _DRIVERS:
        raise ValueError("must be a sqlite:// or postgresql:// URL")
    if url.drivername.startswith("sqlite") and (url.database or ":memory:") == ":memory:":
        raise ValueError("must name a file: every connection would have a memory database of its own")
    return _with_asyncpg_ssl(url.set(drivername=_DRIVERS[url.drivername]))


def _with_asyncpg_ssl(url: URL) -> URL:
    """Renames libpq's `sslmode` to asyncpg's `ssl`."""
    if url.get_backend_name() != "postgresql" or "sslmode" not in url.query:
        return url
    return url.difference_update_query(["sslmode"]).update_query_dict({"ssl": url.query["sslmode"]})
