"""Database URLs: which driver they need, and what is handed to it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, unquote

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from crplugins.core.final_newline import without_final_newline
from crplugins.sql.postgresql_words import Words, read_words

Backend = Literal["sqlite", "postgresql"]

_SQLITE: Final = frozenset({"sqlite", "sqlite+aiosqlite"})
_POSTGRESQL: Final = frozenset(
    {"postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg", "postgresql+psycopg2"}
)

# As SQLAlchemy reads URLs, which takes passwords with a slash or a question mark in them; but with several hosts.
_PARTS: Final = re.compile(
    r"(?P<scheme>[\w+]+)://"
    r"(?:(?P<user>[^:/?#]*)(?::(?P<password>[^@]*))?@)?"
    r"(?P<hosts>[^/?@]*)"
    r"(?:/(?P<database>[^?]*))?"
    r"(?:\?(?P<query>.*))?"
)
_HOST: Final = re.compile(r"(?:\[[^\[\]]+\]|[^\[\]:,]*)(?::(?P<port>\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A database, and how to connect to it.

    Attributes:
        engine: what SQLAlchemy is given: the driver, and the user, password and name of the database.
        hosts: of PostgreSQL, as in the URL: one, or several with commas between.
        words: what stood behind the question mark of a URL of PostgreSQL.
    """

    engine: URL = field(repr=False)
    hosts: str = ""
    words: Words = field(default_factory=Words)

    @property
    def backend(self) -> Backend:
        return "sqlite" if self.engine.drivername.startswith("sqlite") else "postgresql"

    @property
    def file(self) -> Path | None:
        """SQLite's file; None for PostgreSQL."""
        return Path(self.engine.database or "") if self.backend == "sqlite" else None

    def import_driver(self) -> None:
        """Raises ImportError without the driver."""
        self.engine.get_dialect().import_dbapi()

    def __str__(self) -> str:
        """Without the password, and without what stood behind the question mark."""
        if self.backend == "sqlite":
            return self.engine.set(query={}).render_as_string()
        user = f"{self.engine.username}{':***' if self.engine.password else ''}@" if self.engine.username else ""
        return f"postgresql://{user}{self.hosts}/{self.engine.database or ''}"


def read_database_url(text: str) -> DatabaseUrl:
    """The database of `sqlite:///gw.db` (three slashes: relative) or `postgresql://user:password@host/db?sslmode=require`.

    What may stand behind the question mark: `crplugins/sql/postgresql_words.py`.

    Raises `ValueError`, whose text names a word behind the question mark and has no other part of the URL: it may
    contain a password.
    """
    text = without_final_newline(text)
    parts = _PARTS.fullmatch(text)
    if parts is None:
        raise ValueError("must be the URL of a database, such as sqlite:///gw.db")
    if parts["scheme"] in _SQLITE:
        return DatabaseUrl(_sqlite(text))
    if parts["scheme"] in _POSTGRESQL:
        return _postgresql(parts.groupdict())
    raise ValueError("must be a sqlite:// or postgresql:// URL")


def _sqlite(text: str) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError("must be the URL of a database, such as sqlite:///gw.db") from None
    if (url.database or ":memory:") == ":memory:":
        raise ValueError("must name a file: every connection would have a memory database of its own")
    if url.query and "uri" not in url.query:  # with uri=true they are SQLite's own
        raise ValueError("must end with the name of the file: SQLite takes no words behind a question mark")
    return url.set(drivername="sqlite+aiosqlite")


def _postgresql(parts: Mapping[str, str | None]) -> DatabaseUrl:
    hosts = parts["hosts"] or ""
    for host in hosts.split(","):
        match = _HOST.fullmatch(host)
        if match is None or not 0 < int(match["port"] or 5432) < 65536:
            raise ValueError("must be the URL of a database, such as postgresql://user:password@host:5432/db")
    words = read_words(_pairs(parts["query"] or ""))
    engine = URL.create(
        "postgresql+asyncpg",
        username=_decoded(parts["user"]),
        password=_decoded(parts["password"]),
        database=_decoded(parts["database"]),
    )
    return DatabaseUrl(engine, hosts, words)


def _pairs(query: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name, value in parse_qsl(query):  # a word without a value is one that is not given, as in libpq
        if name in found and name != "host":
            raise ValueError(f"has '{name}' twice behind the question mark")
        found[name] = f"{found[name]},{value}" if name in found else value
    return MappingProxyType(found)


def _decoded(part: str | None) -> str | None:
    return unquote(part) if part else None


def driver_arguments(url: DatabaseUrl, timeout: float) -> dict[str, Any]:
    """The arguments of the driver's `connect`. `timeout` in seconds is for a connection and for a statement.

    Reads the certificates of the system where the URL says so: call it in a thread.
    """
    if url.backend == "sqlite":
        return {"timeout": timeout}
    return url.words.arguments(url.hosts, timeout)
