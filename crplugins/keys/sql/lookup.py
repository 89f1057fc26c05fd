"""Looks up the key of a secret: what a request waits for, and what is asked for each key in use every minute anew.

The question goes to the driver itself: on its way through SQLAlchemy it takes several times as long of the event loop,
2 ms. The statement is SQLAlchemy's all the same, made once for a database, and the types of its columns read values.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from typing import Any, Final, Protocol

import msgspec
from sqlalchemy import JSON, Dialect
from sqlalchemy.types import TypeEngine

from crplugins.keys.sql.rows import KEYS_OF_SECRETS
from crplugins.sql.url import DatabaseUrl, asyncpg_arguments

CONNECTIONS: Final = 4
"""To a server, at most."""

Rows = list[Mapping[str, Any]]


class Lookup(Protocol):
    """Methods raise the errors of the driver."""

    async def rows(self, digests: Sequence[bytes]) -> Rows:
        """Those of the keys that have one of these secrets: one or two digests, with and without a pepper."""
        ...

    async def close(self) -> None: ...


def open_lookup(url: DatabaseUrl, dialect: Dialect, timeout: float) -> Lookup:
    """Connects at the first question. `timeout` in seconds is for a connection and a statement. Reads files."""
    statement = _Statement(dialect)
    if url.backend == "sqlite":
        return SqliteLookup(url, statement, timeout)
    return PostgresqlLookup(url, statement, dialect, timeout)


class _Statement:
    """The text as the driver has it, and what the types of its columns make of the driver's values."""

    def __init__(self, dialect: Dialect) -> None:
        self.text: Final = str(KEYS_OF_SECRETS.compile(dialect=dialect))
        self._columns = [(column.name, _reader(column.type, dialect)) for column in KEYS_OF_SECRETS.selected_columns]

    def rows(self, fetched: Sequence[Sequence[Any]]) -> Rows:
        return [
            {
                name: value if read is None else read(value)
                for (name, read), value in zip(self._columns, values, strict=True)
            }
            for values in fetched
        ]


def _reader(kind: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    """What the type makes of a value of the driver's. Only SQLAlchemy's own connections decode JSON in asyncpg."""
    if isinstance(kind, JSON) and dialect.name == "postgresql":
        return _decoded
    return kind.dialect_impl(dialect).result_processor(dialect, None)


def _decoded(value: str | None) -> Any:
    return None if value is None else msgspec.json.decode(value)


class SqliteLookup:
    """One connection in a thread of its own: one way there and back."""

    def __init__(self, url: DatabaseUrl, statement: _Statement, timeout: float) -> None:
        self._url, self._statement, self._timeout = url, statement, timeout
        self._cursor: sqlite3.Cursor | None = None  # one for all: a connection remembers up to 200 that are gone
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="crplugins-keys")

    async def rows(self, digests: Sequence[bytes]) -> Rows:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._rows, digests)

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown(wait=False)

    def _rows(self, digests: Sequence[bytes]) -> Rows:
        try:
            if self._cursor is None:
                arguments = self._url.sqlite_arguments()
                self._cursor = sqlite3.connect(**arguments, timeout=self._timeout, isolation_level=None).cursor()
            fetched = self._cursor.execute(self._statement.text, (digests[0], digests[-1])).fetchall()
        except sqlite3.Error:
            self._disconnect()  # the next question finds the file as it is then
            raise
        return self._statement.rows(fetched)

    def _disconnect(self) -> None:
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            connection = cursor.connection
            cursor.close()
            connection.close()


class _Connection(Protocol):
    """asyncpg's."""

    async def execute(self, query: str) -> str: ...

    async def fetch(self, query: str, *values: bytes) -> Sequence[Sequence[Any]]: ...

    async def close(self) -> None: ...

    def terminate(self) -> None: ...


class PostgresqlLookup:
    """A few connections, which come back after a restart of the server.

    A question is a transaction: a pooler such as PgBouncer may give each half of it to another session without one.
    """

    def __init__(self, url: DatabaseUrl, statement: _Statement, dialect: Dialect, timeout: float) -> None:
        self._statement, self._arguments = statement, asyncpg_arguments(url, timeout)
        self._places = asyncio.Semaphore(min(CONNECTIONS, url.words.connections or CONNECTIONS))
        self._idle: list[_Connection] = []
        self._begin = "BEGIN READ ONLY"
        if url.words.schema is not None:
            schema = dialect.identifier_preparer.quote_identifier(url.words.schema)
            self._begin += f"; SET LOCAL search_path TO {schema}"

    async def rows(self, digests: Sequence[bytes]) -> Rows:
        async with self._places:
            while self._idle:
                with suppress(Exception):  # it may have been lost while nobody used it
                    return await self._ask(self._idle.pop(), digests)
            return await self._ask(await self._connect(), digests)

    async def close(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.close()

    async def _connect(self) -> _Connection:
        driver = import_module("asyncpg")  # which has no types, and is loaded for a server alone
        connection: _Connection = await driver.connect(**self._arguments)
        return connection

    async def _ask(self, connection: _Connection, digests: Sequence[bytes]) -> Rows:
        try:
            await connection.execute(self._begin)
            fetched = await connection.fetch(self._statement.text, digests[0], digests[-1])
            await connection.execute("COMMIT")
        except BaseException:
            connection.terminate()
            raise
        self._idle.append(connection)
        return self._statement.rows([tuple(record) for record in fetched])
