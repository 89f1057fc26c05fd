"""The engine: connects to SQLite or PostgreSQL, and begins SQLite's transactions."""

from functools import partial
from typing import Any, Final, Literal

from sqlalchemy import URL, AsyncAdaptedQueuePool, Connection, Engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

WRITES: Final = "crplugins_writes"
"""Execution option of connections that write."""

Synchronous = Literal["NORMAL", "FULL"]
"""What SQLite waits for at a commit: FULL survives a power cut, NORMAL only the death of the process."""


def make_engine(url: URL, timeout: float, *, synchronous: Synchronous = "FULL", pool_size: int = 4) -> AsyncEngine:
    """An engine. `timeout` in seconds is for a connection and for a statement. Reads files: call it in a thread.

    A pooled connection to a server is tested before use, so that a restart of the server causes no error. Errors do not
    show parameters.
    """
    postgres = url.get_backend_name() == "postgresql"
    arguments = {"timeout": timeout, "command_timeout": timeout} if postgres else {"timeout": timeout}
    engine = create_async_engine(
        url,
        connect_args=arguments,
        poolclass=AsyncAdaptedQueuePool,  # before 2.0.38 not the default of SQLite files
        pool_size=pool_size,
        pool_timeout=timeout,
        pool_pre_ping=postgres,
        hide_parameters=True,
    )
    if not postgres:
        set_up_sqlite(engine.sync_engine, synchronous)
    return engine


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
