"""A real PgBouncer before the real PostgreSQL of the tests, in transaction mode. Fixtures to be imported."""

import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import asyncpg
import pytest

from tests.ports import free_port

numbers = itertools.count()

_SETTINGS = """\
[databases]
* = host={sockets} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
logfile = {folder}/log
pidfile = {folder}/pid
"""


@pytest.fixture(scope="session")
def pooler(postgres):
    """The port of a pooler that has two sessions of the server for each database, however many clients come."""
    executable = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    if executable is None:
        pytest.skip("PgBouncer is not installed")
    port, folder = free_port(), tempfile.mkdtemp(prefix="crplugins-pooler-")
    sockets = postgres.get_uri().partition("host=")[2]
    settings = Path(folder, "settings.ini")
    settings.write_text(_SETTINGS.format(sockets=sockets, port=port, folder=folder))
    owner = (
        Path(sockets).stat().st_uid
    )  # PgBouncer does not run as root, and only the owner reaches the server's socket
    shutil.chown(folder, owner)
    user = ["-u", pwd.getpwuid(owner).pw_name] if os.getuid() == 0 else []
    process = subprocess.Popen([executable, "-q", *user, settings], stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield port
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(port):
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError("PgBouncer does not start")


@pytest.fixture
async def pooled_url(postgres, pooler):
    """A database of the test's own, behind the pooler."""
    name = f"pooled_{next(numbers)}"
    connection = await asyncpg.connect(postgres.get_uri())
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    return f"postgresql://postgres@127.0.0.1:{pooler}/{name}"
