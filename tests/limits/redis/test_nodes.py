"""Servers of which another may be the one to ask: a cluster, and a master that Sentinels name. Real ones."""

import asyncio
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from crplugins.limits.opening import open_limit_store
from crplugins.limits.redis.store import RedisStore
from crplugins.limits.redis.url import read_redis_url
from crplugins.limits.store import StoreUnavailable
from tests.limits.conftest import DAY, lease, meter, request
from tests.ports import free_port
from tests.redis_setup import RedisServer

OURS, OTHER = range(8192), range(8192, 16384)
"""Slots: that of the hash tag `crp` is 4759."""


def make_servers(count, *options):
    servers = []
    for _ in range(count):
        server = RedisServer(*options)
        while server.port > 50_000:  # nodes of a cluster listen to one another 10,000 higher
            server.port = free_port()
        server.start()
        servers.append(server)
    return servers


def until(condition):
    """A server that changes its part closes the connections that it has."""
    end = time.monotonic() + 60
    while True:
        with suppress(ConnectionError):
            if condition():
                return
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


def insist(server, *words):
    """Until the server has heard enough of the others to do it."""

    def done():
        try:
            server.command(*words)
        except AssertionError:
            return False
        return True

    until(done)


@pytest.fixture
def cluster():
    """Two masters, the first with the slot of our keys, and a replica of the first."""
    servers = make_servers(3, "--cluster-enabled", "yes", "--cluster-require-full-coverage", "no")
    first, second, replica = servers
    first.command("CLUSTER", "ADDSLOTS", *OURS)
    second.command("CLUSTER", "ADDSLOTS", *OTHER)
    for other in (second, replica):
        first.command("CLUSTER", "MEET", "127.0.0.1", other.port)
    until(lambda: all(s.command("CLUSTER", "INFO").count(b"cluster_known_nodes:3") for s in servers))
    name = first.command("CLUSTER", "MYID").split(b"\r\n")[1].decode()
    insist(replica, "CLUSTER", "REPLICATE", name)
    until(lambda: b"cluster_state:ok" in second.command("CLUSTER", "INFO"))
    until(lambda: b"master_link_status:up" in replica.command("INFO", "replication"))
    yield servers
    for server in servers:
        server.close()


async def passed(store, count=6, limit=5):
    decisions = await asyncio.gather(*(store.reserve(request(meter(limit, period=DAY), lease())) for _ in range(count)))
    return [decision.refused for decision in decisions].count(None)


async def eventually_passed(store):
    """Once the store has found the new node: a call that fails makes it look."""
    for _ in range(200):
        try:
            return await passed(store, 1)
        except StoreUnavailable:
            await asyncio.sleep(0.05)
    raise AssertionError("the store does not find the node")


async def test_the_node_of_a_cluster_that_has_our_keys_is_found_from_any_other(cluster):
    for seed in cluster:
        cluster[0].command("FLUSHALL")
        async with RedisStore(f"redis+cluster://127.0.0.1:9,127.0.0.1:{seed.port}", seconds=2) as store:
            assert await passed(store) == 5
    assert b"evalsha" in cluster[0].command("INFO", "commandstats")
    assert b"evalsha" not in cluster[1].command("INFO", "commandstats")
    cluster[0].command("FLUSHALL")
    async with RedisStore(f"redis://127.0.0.1:{cluster[1].port}", seconds=2) as store:  # is told of the right one
        assert (await passed(store), await passed(store)) == (5, 0)


async def test_a_replica_that_takes_over_is_found_by_itself_though_no_seed_is_left(cluster):
    first, _, replica = cluster
    async with RedisStore(f"redis+cluster://127.0.0.1:{first.port}", seconds=2) as store:
        assert await passed(store, 3) == 3
        first.kill()
        insist(replica, "CLUSTER", "FAILOVER", "TAKEOVER")
        until(lambda: b"role:master" in replica.command("INFO", "replication"))
        assert await eventually_passed(store) == 1
        first.start()  # for the end of the fixture


async def test_a_user_who_may_use_our_keys_and_nothing_more_is_enough(cluster):
    rules = ["~crp:*", "+@read", "+@write", "+@scripting", "+time", "+cluster"]
    for server in cluster:
        server.command("ACL", "SETUSER", "limits", "on", ">hunter2", "-@all", *rules)
    url = f"redis+cluster://limits:hunter2@127.0.0.1:{cluster[1].port}"
    async with RedisStore(url, seconds=2) as store:
        assert await passed(store) == 5
        held = request(meter(5), lease())
        await store.settle(held, [1, 0])
        await store.renew([held], lease=1000)
        await store.levels([charge.limit for charge in held.charges])


class Sentinel(RedisServer):
    """Watches one master under the name `limits`, with a password of its own."""

    def __init__(self, master):
        super().__init__()
        self._master = master

    def start(self):
        file = Path(self._folder, "sentinel.conf")
        file.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self._folder}\nrequirepass watcher\n"
            f"sentinel monitor limits 127.0.0.1 {self._master} 1\nsentinel auth-pass limits hunter2\n"
            "sentinel down-after-milliseconds limits 500\nsentinel failover-timeout limits 2000\n"
        )
        self._process = subprocess.Popen([self._executable, file, "--sentinel"], stdout=subprocess.DEVNULL)
        self._wait_until_it_answers()

    def command(self, *words):
        return super().command(["AUTH", "watcher"], list(words))


@pytest.fixture
def watched():
    """A master, its replica and a Sentinel, each with a password."""
    master, replica = make_servers(2, "--requirepass", "hunter2", "--masterauth", "hunter2")
    replica.command(["AUTH", "hunter2"], ["REPLICAOF", "127.0.0.1", master.port])
    until(lambda: b"slave0:" in master.command(["AUTH", "hunter2"], ["INFO", "replication"]))
    sentinel = Sentinel(master.port)
    sentinel.start()
    until(lambda: b"slaves=1" in sentinel.command("INFO", "sentinel"))
    yield master, replica, sentinel
    for server in (sentinel, master, replica):
        server.close()


def sentinels(port, master="limits"):
    return f"redis+sentinel://:hunter2@127.0.0.1:9,127.0.0.1:{port}/{master}/3?sentinel_password=watcher"


async def test_the_master_that_a_sentinel_names_is_used_and_followed(watched):
    master, replica, sentinel = watched
    async with RedisStore(sentinels(sentinel.port), seconds=2) as store:
        assert await passed(store) == 5
        assert b"db3:" in master.command(["AUTH", "hunter2"], ["INFO", "keyspace"])
        insist(sentinel, "SENTINEL", "FAILOVER", "limits")
        until(lambda: b"role:master" in replica.command(["AUTH", "hunter2"], ["INFO", "replication"]))
        assert await eventually_passed(store) in (0, 1)  # what the replica had heard of by then


async def test_a_master_that_dies_is_replaced_by_the_one_that_the_sentinels_choose(watched):
    master, _, sentinel = watched
    async with RedisStore(sentinels(sentinel.port), seconds=2) as store:
        assert await passed(store, 2) == 2
        master.kill()
        assert await eventually_passed(store) in (0, 1)
        master.start()


async def test_why_no_master_is_found_is_said_without_the_url(watched):
    url = sentinels(watched[2].port)
    for wrong, reason in (
        (url.replace("/limits/", "/another/"), "has no master that a Sentinel knows by this name"),
        (url.replace("sentinel_password=watcher", ""), "requires a password"),
        (url.replace("=watcher", "=wrong"), "refuses the user name or password"),
        (url.replace(":hunter2@", ":wrong@"), "refuses the user name or password"),
    ):
        async with RedisStore(wrong, seconds=2) as store:
            with pytest.raises(StoreUnavailable) as caught:
                await store.reserve(request(meter()))
        assert str(caught.value) == f"Redis {reason}"


@pytest.mark.parametrize(
    ("url", "kind", "seeds", "server"),
    [
        ("redis://h:1/2", "server", [], "redis://h:1/2"),
        ("valkey://u:p@h", "server", [], "redis://u:p@h"),
        ("valkeys://h\n", "server", [], "rediss://h"),
        ("redis://:p@ss/w@h:1/2", "server", [], "redis://:p@ss/w@h:1/2"),
        ("unix:///run/redis.sock?db=1", "server", [], "unix:///run/redis.sock?db=1"),
        ("redis+cluster://a,b:7", "cluster", [("a", 6379), ("b", 7)], "redis://a:6379/0"),
        ("rediss+cluster://u:p%40@a:1/?ssl_ca_certs=x", "cluster", [("a", 1)], "rediss://u:p%40@a:1/0?ssl_ca_certs=x"),
        ("valkey+cluster://[::1]:1,[::2]", "cluster", [("::1", 1), ("::2", 6379)], "redis://[::1]:1/0"),
        ("redis+sentinel://a,b:7/m", "sentinel", [("a", 26379), ("b", 7)], "redis://a:26379/0"),
        ("rediss+sentinel://u:p@a/my%2Fm/3", "sentinel", [("a", 26379)], "rediss://u:p@a:26379/3"),
    ],
)
def test_urls_of_every_kind_are_read(url, kind, seeds, server):
    read = read_redis_url(url)
    assert (read.kind, list(read.seeds), read.server) == (kind, seeds, server)
    assert "hunter2" not in repr(read)


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://u:hunter2@h",
        "redis+sentinel://u:hunter2@h/",
        "redis+sentinel://u:hunter2@h/m/x",
        "redis+sentinel://u:hunter2@h:0/m",
        "redis+sentinel://u:hunter2@/m",
        "redis+cluster://u:hunter2@h/1",
        "redis+cluster://u:hunter2@h:99999",
        "redis+cluster://u:hunter2@h,,h",
        "redis+cluster://u:hunter2@h?hunter2=1",
        "redis+other://u:hunter2@h",
    ],
)
def test_urls_that_lead_nowhere_are_refused_without_repeating_them(url):
    with pytest.raises(ValueError) as caught:
        open_limit_store(url)
    assert "hunter2" not in str(caught.value)
