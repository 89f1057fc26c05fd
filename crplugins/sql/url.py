"""Database URLs: which driver they need, and what is handed to it."""

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import parse_qsl, unquote, urlencode

import msgspec

from crplugins.core.final_newline import without_final_newline
from crplugins.sql.postgresql_words import Words, read_words

if TYPE_CHECKING:
    from sqlalchemy import URL

Backend = Literal["sqlite", "postgresql"]

_SQLITE: Final = frozenset({"sqlite", "sqlite+aiosqlite"})
_POSTGRESQL: Final = frozenset(
    {"postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg", "postgresql+psycopg2"}
)
_PACKAGES: Final[Mapping[Backend, tuple[str, ...]]] = {
    "sqlite": ("sqlalchemy", "alembic", "aiosqlite"),
    "postgresql": ("sqlalchemy", "alembic", "asyncpg"),
}

# As SQLAlchemy reads URLs, which takes passwords with a slash or a question mark in them; but with several hosts.
_PARTS: Final = re.compile(
    r"(?P<scheme>[\w+]+)://"
    r"(?:(?P<user>[^:/?#]*)(?::(?P<password>[^@]*))?@)?"
    r"(?P<hosts>[^/?@]*)"
    r"(?:/(?P<database>[^?]*))?"
    r"(?:\?(?P<query>.*))?"
)
_HOST: Final = re.compile(r"(?:\[[^\[\]]+\]|[^\[\]:,]*)(?::(?P<port>\d{1,5}))?")


class DatabaseUrl(msgspec.Struct, frozen=True):
    """A database, and how to connect to it.

    Attributes:
        database: SQLite's file, or the name of the database in PostgreSQL.
        uri: of SQLite with `uri=true`: the query parameters, which are SQLite's own; else None.
        hosts: of PostgreSQL, as in the URL: one, or several with commas between.
        words: the query parameters of a URL of PostgreSQL.
    """

    backend: Backend
    database: str | None
    uri: Mapping[str, str] | None = None
    user: str | None = None
    password: str | None = None
    hosts: str = ""
    words: Words = msgspec.field(default_factory=Words)

    def __repr__(self) -> str:
        """Without its password."""
        return f"DatabaseUrl({self.backend!r}, {self.database!r}, user={self.user!r}, hosts={self.hosts!r})"

    @property
    def file(self) -> Path | None:
        """SQLite's file; None for PostgreSQL."""
        return Path(self.database or "") if self.backend == "sqlite" else None

    @property
    def engine(self) -> "URL":
        """What SQLAlchemy is given: the driver, and the user, password and name of the database."""
        from sqlalchemy import URL  # 25 MB, which not every process needs

        if self.backend == "sqlite":
            query = {} if self.uri is None else {**self.uri, "uri": "true"}
            return URL.create("sqlite+aiosqlite", database=self.database, query=query)
        return URL.create("postgresql+asyncpg", username=self.user, password=self.password, database=self.database)

    def sqlite_arguments(self) -> dict[str, Any]:
        """The name of the file for `sqlite3.connect`, and whether it is a URI."""
        if self.uri is None:
            return {"database": self.database, "uri": False}
        words = urlencode(sorted(self.uri.items()))
        return {"database": f"{self.database}?{words}" if words else self.database, "uri": True}

    def import_driver(self) -> None:
        """Raises ImportError if a package is missing that this database needs, and says what brings it. Loads none."""
        extra = "postgres" if self.backend == "postgresql" else "sql"
        for name in _PACKAGES[self.backend]:
            if find_spec(name) is None:
                text = f"needs {name}, which is not installed: pip install 'crplugins[{extra}]'"
                raise ModuleNotFoundError(text, name=name)

    def __str__(self) -> str:
        """Without the password, and without the query."""
        if self.backend == "sqlite":
            return f"sqlite:///{self.database}"
        user = f"{self.user}{':***' if self.password else ''}@" if self.user else ""
        return f"postgresql://{user}{self.hosts}/{self.database or ''}"


def read_database_url(text: str) -> DatabaseUrl:
    """The database of `sqlite:///gw.db` (three slashes: relative) or `postgresql://user:password@host/db?sslmode=require`.

    The query parameters that may stand in it: `crplugins/sql/postgresql_words.py`.

    Raises `ValueError`, whose text names a query parameter and has no other part of the URL: it may
    contain a password.
    """
    text = without_final_newline(text)
    parts = _PARTS.fullmatch(text)
    if parts is None:
        raise ValueError("must be the URL of a database, such as sqlite:///gw.db")
    if parts["scheme"] in _SQLITE:
        return _sqlite(parts.groupdict())
    if parts["scheme"] in _POSTGRESQL:
        return _postgresql(parts.groupdict())
    raise ValueError("must be a sqlite:// or postgresql:// URL")


def asyncpg_arguments(url: DatabaseUrl, timeout: float) -> dict[str, Any]:
    """The arguments of asyncpg's own `connect`: those of `driver_arguments` without SQLAlchemy's."""
    given = driver_arguments(url, timeout)
    of_sqlalchemy = ("prepared_statement_cache_size", "prepared_statement_name_func")
    own = {name: value for name, value in given.items() if name not in of_sqlalchemy}
    return {"user": url.user, "password": url.password, "database": url.database, **own}


def _sqlite(parts: Mapping[str, str | None]) -> DatabaseUrl:
    database = parts["database"] or ":memory:"
    if parts["hosts"] or parts["user"]:
        raise ValueError("must be the URL of a database, such as sqlite:///gw.db")
    if database == ":memory:":
        raise ValueError("must name a file: every connection would have a memory database of its own")
    query = dict(parse_qsl(parts["query"] or ""))
    if query and "uri" not in query:  # with uri=true they are SQLite's own
        raise ValueError("must end with the name of the file: SQLite takes no query parameters")
    uri = query.pop("uri", None)
    return DatabaseUrl("sqlite", database, None if uri is None else MappingProxyType(query))


def _postgresql(parts: Mapping[str, str | None]) -> DatabaseUrl:
    hosts = parts["hosts"] or ""
    for host in hosts.split(","):
        match = _HOST.fullmatch(host)
        if match is None or not 0 < int(match["port"] or 5432) < 65536:
            raise ValueError("must be the URL of a database, such as postgresql://user:password@host:5432/db")
    return DatabaseUrl(
        "postgresql",
        _decoded(parts["database"]),
        user=_decoded(parts["user"]),
        password=_decoded(parts["password"]),
        hosts=hosts,
        words=read_words(_pairs(parts["query"] or "")),
    )


def _pairs(query: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name, value in parse_qsl(query):  # a word without a value is one that is not given, as in libpq
        if name in found and name != "host":
            raise ValueError(f"has '{name}' twice in its query")
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
