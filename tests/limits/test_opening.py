"""`open_limit_store`: from the configuration's words to a store."""

import builtins
import subprocess
import sys

import pytest

from crplugins.limits.limit import Charge, Limit, Reservation
from crplugins.limits.memory import MemoryStore
from crplugins.limits.opening import open_limit_store
from crplugins.limits.redis.store import RedisStore
from crplugins.limits.sqlite.store import SqliteStore


def test_memory():
    assert isinstance(open_limit_store("memory"), MemoryStore)


async def test_a_file_by_its_path_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = open_limit_store("sqlite:///limits.db")
    assert isinstance(store, SqliteStore)
    async with store:
        await store.reserve(Reservation("1", (Charge(Limit("lease", "l", 1), 1),)))
    assert (tmp_path / "limits.db").exists()


async def test_a_file_by_its_whole_path(tmp_path):
    async with open_limit_store(f"sqlite:///{tmp_path}/limits.db"):
        assert (tmp_path / "limits.db").exists()


@pytest.mark.parametrize("url", ["redis://host:6379/0", "rediss://u:p@host", "unix:///run/redis.sock"])
def test_redis(url):
    assert isinstance(open_limit_store(url), RedisStore)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "sqlite",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///a.db?mode=ro",
        "postgresql://u:secret@h",
        "Memory",
        "http://h",
        "redis:secret",
    ],
)
def test_what_is_no_store_is_told_what_is_one_and_nothing_of_itself(url):
    with pytest.raises(ValueError, match="a limit store is memory, sqlite:///limits.db, redis://") as caught:
        open_limit_store(url)
    assert "secret" not in str(caught.value)


def test_redis_that_is_not_installed_is_named(monkeypatch):
    real = builtins.__import__

    def without_redis(name, *args, **options):
        if name == "crplugins.limits.redis.store":
            raise ModuleNotFoundError("No module named 'redis'", name="redis.asyncio")
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without_redis)
    with pytest.raises(ImportError, match=r"pip install 'crplugins\[redis\]'"):
        open_limit_store("redis://host")


def test_a_store_loads_nothing_that_another_needs():
    code = "import sys, crplugins.limits.opening; print({'sqlite3', 'redis'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
