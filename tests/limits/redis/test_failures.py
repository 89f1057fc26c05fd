"""What RedisStore says when it cannot decide: soon, clearly, and without an address or a password."""

import asyncio
import socket
import threading
import time
import traceback

import pytest

from crplugins.limits.redis.client import SECONDS
from crplugins.limits.redis.store import RedisStore
from crplugins.limits.store import StoreUnavailable
from tests.limits.conftest import DAY, lease, meter, request
from tests.ports import free_port
from tests.redis_setup import RedisServer
from tests.tls_setup import self_signed, tls_before

SECRETS = ("127.0.0.1", "nowhere.invalid", "hunter2", "alice", "/tmp", "localhost")


async def failure_of(url, seconds=2):
    """What the log would say; its stack trace tells no more."""
    async with RedisStore(url, seconds=seconds) as store:
        with pytest.raises(StoreUnavailable) as caught:
            await store.reserve(request(meter(), lease()))
    printed = "".join(traceback.format_exception(caught.value))
    assert not [secret for secret in SECRETS if secret in printed.rpartition("StoreUnavailable")[2]]
    assert "During handling" not in printed
    return str(caught.value)


@pytest.fixture
def guarded():
    """A server with a password, and with a user who may not use our keys."""
    server = RedisServer("--requirepass", "hunter2")
    server.start()
    server.command(["AUTH", "hunter2"], ["ACL", "SETUSER", "alice", "on", ">hunter2", "~other:*", "+@all"])
    yield server
    server.close()


async def test_wrong_and_missing_passwords(guarded):
    at = f"127.0.0.1:{guarded.port}"
    wrong = "Redis refuses the user name or password"
    assert await failure_of(f"redis://:hunter3@{at}") == wrong
    assert await failure_of(f"redis://alice:hunter3@{at}") == wrong
    assert await failure_of(f"redis://{at}") == "Redis requires a password"
    assert "does not permit" in await failure_of(f"redis://alice:hunter2@{at}")


async def test_user_and_password_of_the_url(guarded):
    guarded.command(["AUTH", "hunter2"], ["ACL", "SETUSER", "bob", "on", ">p@ss/w:rd", "~crp:*", "+@all"])
    for credentials in (":hunter2", "bob:p%40ss%2Fw%3Ard"):
        async with RedisStore(f"redis://{credentials}@127.0.0.1:{guarded.port}/3", seconds=2) as store:
            assert (await store.reserve(request(meter()))).refused is None


async def test_a_server_that_is_not_running_is_named():
    assert await failure_of(f"redis://127.0.0.1:{free_port()}", seconds=30) == "Redis refuses the connection"
    assert await failure_of("unix:///tmp/nowhere.sock", seconds=30) == "Redis has no socket at this path"


async def test_a_socket_of_the_file_system(redis):
    async with RedisStore(f"unix://{redis.socket}?db=2", seconds=2) as store:
        assert (await store.reserve(request(meter()))).refused is None


async def test_a_name_that_is_looked_up_for_long_does_not_block_the_event_loop(monkeypatch):
    known = threading.Event()

    def slowly(*arguments, **options):
        known.wait(60)  # on the event loop, nobody would ever set it in time
        raise socket.gaierror(socket.EAI_NONAME, "nowhere.invalid is unknown")

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    assert await failure_of("redis://nowhere.invalid:6379", seconds=0.1) == "Redis timed out"
    assert not known.is_set()
    known.set()
    unresolved = "Redis has a host name that cannot be resolved"
    assert await failure_of("redis://nowhere.invalid:6379", seconds=30) == unresolved


async def test_a_server_that_hangs_holds_a_call_no_longer_than_it_may_take(fragile_redis):
    async with RedisStore(fragile_redis.url) as store:
        await store.reserve(request(meter()))
        fragile_redis.stop()
        for _ in range(2):  # a connection that is there, and one that must be made
            before = time.monotonic()
            async with asyncio.timeout(60):
                with pytest.raises(StoreUnavailable, match="Redis timed out"):
                    await store.reserve(request(meter()))
            assert time.monotonic() - before >= SECONDS


async def test_a_restart_of_the_server_fails_no_call(fragile_redis):
    async with RedisStore(fragile_redis.url, seconds=2) as store:
        await asyncio.gather(*[store.reserve(request(meter())) for _ in range(10)])
        fragile_redis.restart()
        await asyncio.sleep(0)
        decisions = await asyncio.gather(*[store.reserve(request(meter())) for _ in range(10)])
        assert [decision.refused for decision in decisions] == [None] * 10


async def test_a_replica_and_a_full_server(fragile_redis):
    async with RedisStore(fragile_redis.url, seconds=2) as store:
        await store.reserve(request(meter()))
        fragile_redis.command("REPLICAOF", "127.0.0.1", free_port())
        with pytest.raises(StoreUnavailable, match="Redis is a replica, which cannot be written to"):
            await store.reserve(request(meter()))
        fragile_redis.command("REPLICAOF", "NO", "ONE")
        await store.reserve(request(meter()))
        fragile_redis.command("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(StoreUnavailable, match="Redis is out of memory"):
            await store.reserve(request(meter()))


@pytest.mark.parametrize(
    "url",
    [
        "redis://alice:hunter2@127.0.0.1:port/0",
        "http://alice:hunter2@127.0.0.1",
        "redis://127.0.0.1/0?hunter2=1",
        "rediss://127.0.0.1?ssl_cert_reqs=hunter2",
    ],
)
async def test_an_url_that_cannot_be_read_is_not_repeated(url):
    with pytest.raises(ValueError) as caught:
        RedisStore(url)
    printed = "".join(traceback.format_exception(caught.value)).rpartition("ValueError")[2]
    assert not [secret for secret in SECRETS if secret in printed]


async def test_tls(redis, tmp_path):
    certificate = self_signed(tmp_path)
    async with tls_before(redis.port, certificate) as port:
        async with RedisStore(f"rediss://localhost:{port}/0?ssl_ca_certs={certificate}", seconds=2) as store:
            decisions = await asyncio.gather(*[store.reserve(request(meter(5, period=DAY))) for _ in range(10)])
            assert [decision.refused for decision in decisions].count(None) == 5
        assert await failure_of(f"rediss://localhost:{port}/0") == "Redis has a certificate that cannot be verified"
