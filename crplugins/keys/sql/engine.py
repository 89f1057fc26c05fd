"""The engine: how connections are made and transactions begin."""

from typing import Any, Final

from sqlalchemy import URL, AsyncAdaptedQueuePool, Connection, Engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

WRITES: Final = "crplugins_writes"
"""Execution option of connections that change something."""

_PRAGMAS: Final = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")  # a revocation outlives a power cut


def make_engine(url: URL, timeout: float) -> AsyncEngine:
    """`timeout` in seconds is for a connection and for a statement.

    A pooled connection is tried before use, so that a restarted server is noticed there. Errors hide parameters.
    """
    postgres = url.get_backend_name() == "postgresql"
    arguments = {"timeout": timeout, "command_timeout": timeout} if postgres else {"timeout": timeout}
    engine = create_async_engine(
        url,
        connect_args=arguments,
        poolclass=AsyncAdaptedQueuePool,  # before 2.0.38 not the default of SQLite files
        pool_size=4,
        pool_timeout=timeout,
        pool_pre_ping=True,
        hide_parameters=True,
    )
    if not postgres:
        set_up_sqlite(engine.sync_engine)
    return engine


def set_up_sqlite(engine: Engine) -> None:
    """Several processes share the file: a write-ahead log, waiting for locks, and transactions that are ones."""
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)


def _set_up(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver would begin transactions late, and none before DDL
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    """A writer takes the lock first: one that reads and then writes would fail if another wrote in between."""
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
