"""The engine: connects to SQLite or PostgreSQL, and begins SQLite's transactions."""

from functools import partial
from typing import Any, Final, Literal

from sqlalchemy import AsyncAdaptedQueuePool, Connection, Engine, ExceptionContext, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from crplugins.sql.url import DatabaseUrl, driver_arguments

WRITES: Final = "crplugins_writes"
"""Execution option of connections that write."""

_READ_ONLY: Final = "25006"
"""The SQLSTATE of a write that the server, or its role, takes from nobody on this connection."""

Synchronous = Literal["NORMAL", "FULL"]
"""What SQLite waits for at a commit: FULL survives a power cut, NORMAL only the death of the process."""


def make_engine(
    url: DatabaseUrl, timeout: float, *, synchronous: Synchronous = "FULL", pool_size: int = 4
) -> AsyncEngine:
    """An engine; the only place that makes one for a server. `timeout` in seconds is for a connection, a statement and
    the wait for a connection. Reads files: call it in a thread.

    A pooled connection to a server is tested before use, so that a restart of the server causes no error; and where a
    server takes no writes, those there are are closed. Errors do not show parameters.
    """
    postgres, words = url.backend == "postgresql", url.words
    engine = create_async_engine(
        url.engine,
        connect_args=driver_arguments(url, timeout),
        poolclass=AsyncAdaptedQueuePool,  # before 2.0.38 not the default of SQLite files
        pool_size=words.connections or pool_size,
        max_overflow=10 if words.connections is None else 0,
        pool_timeout=timeout if words.pool_seconds is None else min(timeout, words.pool_seconds),
        pool_pre_ping=postgres,
        hide_parameters=True,
    )
    if not postgres:
        set_up_sqlite(engine.sync_engine, synchronous)
        return engine
    event.listen(engine.sync_engine, "handle_error", _leave_read_only)
    if words.schema is not None:
        event.listen(engine.sync_engine, "begin", partial(_use_schema, words.schema))
    return engine


def _leave_read_only(context: ExceptionContext) -> None:
    """After a failover a name or a pooler leads to another server, while connections to the one that is a replica now
    live on and pass every test but a write."""
    if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
        context.is_disconnect = True


def _use_schema(schema: str, connection: Connection) -> None:
    """For this transaction alone: a pooler gives the next one another session, and takes no `search_path` at first."""
    quoted = connection.dialect.identifier_preparer.quote_identifier(schema)
    connection.exec_driver_sql(f"SET LOCAL search_path TO {quoted}")


def set_up_sqlite(engine: Engine, synchronous: Synchronous = "FULL") -> None:
    """Prepares SQLite for several processes: a write-ahead log, and transactions that begin where the code says."""
    event.listen(engine, "connect", partial(_set_up, synchronous))
    event.listen(engine, "begin", _begin)


def _set_up(synchronous: Synchronous, connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver would begin a transaction late, and none before DDL
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", f"synchronous={synchronous}", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    """A writer takes the lock at once: one that reads first would fail if another process wrote in between."""
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
