"""What Auth costs, and that the cost tells nothing about the keys."""

import random
import statistics
import time
from collections.abc import Callable

import pytest

from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, Timings
from crplugins.keys.secrets import Digester, mint_secret
from crplugins.keys.sql.source import SqlKeys
from crplugins.plugins.auth import Auth
from tests.keys.conftest import make_key
from tests.steps import lines_of

RIGHT = mint_secret()


def exchange_with(secret: str) -> Exchange:
    headers = [
        (b"host", b"gateway"),
        (b"user-agent", b"OpenAI/Python 2.9.0"),
        (b"accept", b"application/json"),
        (b"content-type", b"application/json"),
        (b"authorization", f"Bearer {secret}".encode()),
    ]
    return Exchange("r", "POST", "/v1/chat/completions", headers, None, time.monotonic, Timings(0.0))


def run(coroutine) -> None:
    """Drive a coroutine that never suspends; None is done already."""
    if coroutine is None:
        return
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("it suspended")


def best_microseconds(call: Callable[[], None], times: int = 5_000, rounds: int = 9) -> float:
    def once() -> float:
        start = time.perf_counter()
        for _ in range(times):
            call()
        return (time.perf_counter() - start) / times * 1e6

    return min(once() for _ in range(rounds))


@pytest.mark.bench
@pytest.mark.parametrize("pepper", [None, "pepper"])
def test_the_cost_of_a_hit(pepper, tmp_path):
    digester = Digester(pepper)
    exchange = exchange_with(RIGHT)
    inline = Auth([{"id": "a", "secret": RIGHT, "expires": "2100-01-01"}])
    keys = SqlKeys(f"sqlite:///{tmp_path}/gw.db", digester=digester)
    key = make_key("a", RIGHT, digester=digester)
    keys._cache.put(digester.digest(RIGHT), (found := inline.source.key_table.find(RIGHT)), keys._clock())
    keys._answered = keys._clock()
    assert found.key.id == key.id
    database = Auth(keys)
    for name, auth in (("inline", inline), ("sql, cached", database)):
        print(f"Auth, {name}, pepper {pepper}: {best_microseconds(lambda: run(auth.on_request(exchange))):.2f} us")  # noqa: B023
        assert exchange.principal.key_id == "a"


@pytest.mark.parametrize("shared", [0, 7, 20, 49, 55])
def test_a_wrong_key_costs_the_same_whatever_it_shares_with_a_right_one(shared):
    """Compared with a wrong key that shares nothing, in turns and in the same process, by medians of many rounds.

    Once is enough: a cost that differs does so each time.
    """
    auth = Auth([{"id": "a", "secret": RIGHT}])
    other = "".join(chr((ord(c) - 48 + 1) % 10 + 48) if c.isdigit() else "0" for c in RIGHT)
    near, far = exchange_with(RIGHT[:shared] + other[shared:]), exchange_with(other)

    def refuse(exchange: Exchange) -> None:
        with pytest.raises(GatewayError):
            run(auth.on_request(exchange))

    def lasted(exchange: Exchange) -> int:
        start = time.perf_counter_ns()
        refuse(exchange)
        return time.perf_counter_ns() - start

    def compared() -> float:
        costs: dict[str, list[int]] = {"near": [], "far": []}
        order = random.Random(1)
        for _ in range(2_000):
            for name in order.sample(["near", "far"], 2):
                costs[name].append(lasted(near if name == "near" else far))
        return statistics.median(costs["near"]) / statistics.median(costs["far"])

    assert any(0.9 < compared() < 1.1 for _ in range(5))


def test_only_digests_are_compared():
    """What the timing test can only suggest: the secret goes into a hash, and nothing else looks at it."""
    auth = Auth([{"id": "a", "secret": RIGHT}])
    source = auth.source
    run(auth.on_request(exchange_with(RIGHT)))
    assert [len(digest) for digest in source.key_table.shown] == [32]
    assert all(len(digest) == 32 for digest in source.key_table._by_digest)


def test_a_header_that_was_shown_before_is_looked_up_and_not_read():
    auth, exchange = Auth([{"id": "a", "secret": RIGHT}]), exchange_with(RIGHT)
    first, second = (lines_of(lambda: run(auth.on_request(exchange))) for _ in range(2))
    assert second < 0.75 * first
    assert auth.on_request(exchange) is None, "nothing to wait for"
