"""Overload is no outage: a store that is only slow decides, and one that is gone is stood in for by shares.

A machine that is busy with other processes is in `tests/limits/redis/test_busy_machine.py`.
"""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from crplugins import Gateway
from crplugins.limits import outage
from tests.attacks.house import METRICS_TOKEN, Answer, RawProvider, http, send, send_at_once
from tests.homes.matrix.stage import Stage
from tests.redis_setup import RedisServer, fragile_redis, redis_process  # noqa: F401  # fixtures

LIMIT, AT_ONCE = 20, 48
PROCESSES = 2
KEYS = [f"sk-overload-{number:03}-0123456789" for number in range(40)]


class Overloaded:
    """Gateways over one store, each with an event loop of its own, as processes have."""

    def __init__(self, stack: ExitStack, store: str, policy: str = "local") -> None:
        self.stages = [stack.enter_context(Stage()) for _ in range(PROCESSES)]
        self._keys = iter(KEYS)
        provider = self.stages[0].enter(RawProvider())
        upstream = {"model": "openai/served", "api_base": provider.base_url, "api_key": "sk-upstream-0123456789"}
        self._apps = [
            Gateway(
                model_list=[{"model_name": "m", "litellm_params": upstream, "handler": "direct"}],
                keys=[{"id": key[3:], "secret": key, "limits": {"requests_per_day": LIMIT}} for key in KEYS],
                limits={"store": store, "on_store_error": policy},  # type: ignore[typeddict-item]
                metrics={"token": METRICS_TOKEN},
            )
            for _ in self.stages
        ]
        served = [stage.serve(app) for stage, app in zip(self.stages, self._apps, strict=True)]
        self.ports = [int(url.rpartition(":")[2]) for url in served]

    def new_key(self) -> str:
        return next(self._keys)

    def ask(self, key: str, count: int = AT_ONCE) -> list[Answer]:
        """The answers of all gateways in turn to requests at once."""
        return send_at_once(self.ports, [http(key=key)] * count)

    def outages(self) -> list[str]:
        """What each gateway's metrics say of the store."""
        found = []
        for port in self.ports:
            page = send(port, http(b"/metrics", b"", key=METRICS_TOKEN, method=b"GET")).body.decode()
            found += [line[-3:] for line in page.splitlines() if line.startswith("crplugins_limit_store_outage")]
        return found


def passed(answers: list[Answer]) -> int:
    return [answer.status for answer in answers].count(200)


async def stall() -> None:
    """The event loop is held up, again and again, for longer than a store may be silent."""
    for _ in range(3):
        time.sleep(0.3)  # noqa: ASYNC251  # that is the attack
        await asyncio.sleep(0.01)


def stalls(overloaded: Overloaded, count: int) -> None:
    for stage in overloaded.stages[:count]:
        stage.begin(stall())


# What slows the answers of a Redis that lives.
Slow = Callable[[Overloaded, RedisServer], object]
SLOW: dict[str, Slow] = {
    "one event loop is held up": lambda overloaded, _: stalls(overloaded, 1),
    "all event loops are held up": lambda overloaded, _: stalls(overloaded, PROCESSES),
    "Redis is late": lambda _, redis: redis.command("CLIENT", "PAUSE", "150", "ALL"),
    "Redis is late with what writes": lambda _, redis: redis.command("CLIENT", "PAUSE", "150", "WRITE"),
    "Redis is late, and so are we": lambda overloaded, redis: (redis.command("CLIENT", "PAUSE", "200", "ALL"), stalls(overloaded, PROCESSES)),
    "the scripts are forgotten": lambda _, redis: redis.command("SCRIPT", "FLUSH"),
    "all connections are closed": lambda _, redis: redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"),
    "Redis stands still for a moment": lambda _, redis: stand_still(redis, 0.1),
}  # fmt: skip


def stand_still(redis: RedisServer, seconds: float) -> None:
    redis.stop()
    threading.Timer(seconds, redis.cont).start()


@pytest.fixture(scope="module")
def overloaded(redis_process: RedisServer) -> Iterator[Overloaded]:  # noqa: F811
    redis_process.command("FLUSHALL")
    with ExitStack() as stack:
        yield Overloaded(stack, redis_process.url)


@pytest.mark.parametrize("name", SLOW)
def test_a_store_that_is_only_slow_decides(overloaded: Overloaded, redis_process: RedisServer, name: str) -> None:  # noqa: F811
    SLOW[name](overloaded, redis_process)
    assert passed(overloaded.ask(overloaded.new_key())) == LIMIT
    assert overloaded.outages() == ["0.0"] * PROCESSES


def test_a_file_that_is_locked_for_a_moment_decides(tmp_path: Path) -> None:
    with ExitStack() as stack:
        overloaded = Overloaded(stack, f"sqlite:///{tmp_path}/limits.db")
        key = overloaded.new_key()
        with locked(tmp_path / "limits.db", 0.15):
            assert passed(overloaded.ask(key)) == LIMIT
        assert overloaded.outages() == ["0.0"] * PROCESSES


@contextmanager
def locked(file: Path, seconds: float) -> Iterator[None]:
    """Another program writes to a file for a while."""
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN EXCLUSIVE")
    timer = threading.Timer(seconds, connection.rollback)
    timer.start()
    yield
    timer.join()
    connection.close()


# How a store is gone.
GONE: dict[str, Callable[[RedisServer], object]] = {
    "it is killed": lambda redis: redis.kill(),
    "it keeps its connections and says nothing": lambda redis: redis.stop(),
    "it accepts no writes": lambda redis: redis.command(["CONFIG", "SET", "min-replicas-to-write", "3"]),
    "it wants a password": lambda redis: redis.command(
        ["CONFIG", "SET", "requirepass", "secret"], ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]
    ),
}


@pytest.mark.parametrize("name", GONE)
def test_without_a_store_all_processes_together_allow_a_limit_once_more(
    fragile_redis: RedisServer,  # noqa: F811
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outage, "ANNOUNCE_SECONDS", 0.01)
    with ExitStack() as stack:
        overloaded = Overloaded(stack, fragile_redis.url)
        key = overloaded.new_key()
        assert passed(overloaded.ask(key)) == LIMIT
        GONE[name](fragile_redis)
        answers = overloaded.ask(overloaded.new_key())
        assert {answer.status for answer in answers} == {200, 429}
        assert PROCESSES <= passed(answers) <= LIMIT
        assert passed(overloaded.ask(key)) <= LIMIT
        assert "1.0" in overloaded.outages()
        revive(fragile_redis, name)


def revive(redis: RedisServer, name: str) -> None:
    """So that the gateways end without waiting for it."""
    redis.cont()
    if name == "it is killed":
        redis.start()


@pytest.mark.parametrize(("policy", "status"), [("open", 200), ("closed", 503)])
def test_without_a_store_the_configuration_decides(
    fragile_redis: RedisServer,  # noqa: F811
    policy: str,
    status: int,
) -> None:
    with ExitStack() as stack:
        overloaded = Overloaded(stack, fragile_redis.url, policy)
        fragile_redis.kill()
        answers = overloaded.ask(overloaded.new_key(), LIMIT + 5)
        assert {answer.status for answer in answers} == {status}
        assert all((b"\nretry-after:" in answer.head.lower()) == (status == 503) for answer in answers)
        fragile_redis.start()
