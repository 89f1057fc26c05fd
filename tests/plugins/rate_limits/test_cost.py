"""What RateLimits and Budgets cost, in microseconds: `pytest -m bench -n 0 -s tests/plugins/rate_limits/test_cost.py`."""

import timeit
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from crplugins.core.body import Body
from crplugins.core.exchange import Exchange, Timings
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Budget, Limits, Principal
from crplugins.core.usage import Price, TokenUsage
from crplugins.limits.limit import Charge, Limit, Reservation
from crplugins.limits.memory import MemoryStore
from crplugins.plugins.budgets.plugin import Budgets
from crplugins.plugins.rate_limits.plugin import RateLimits
from crplugins.plugins.rate_limits.rules import LimitRules

REQUEST = msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": "x" * 2000}], "max_tokens": 500})
SIX = Limits(
    requests_per_minute=10**9, requests_per_day=10**9, tokens_per_minute=10**12, tokens_per_day=10**12,
    max_parallel_requests=10**6,
)  # fmt: skip
PRINCIPAL = Principal("a", team="t", limits=SIX, budget=Budget(10**15, "month"))
HEADERS = [(b"content-type", b"text/event-stream"), (b"x-request-id", b"1"), (b"date", b"x"), (b"server", b"x")]


def microseconds(call: Callable[[], object], count: int = 1000) -> float:
    return min(timeit.repeat(call, number=count, repeat=15)) / count * 1e6


def ended(coroutine: Any) -> None:
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("nothing is waited for")


class Life:
    """A request's life in one plugin."""

    def __init__(self, plugin: Plugin) -> None:
        self.plugin, self.number = plugin, 0
        self.body = Body(REQUEST)
        self.body.get("model")

    def begin(self) -> Exchange:
        self.number += 1
        exchange = Exchange(str(self.number), "POST", "/", [], None, lambda: 0.0, Timings(0.0, app=0.0))
        exchange.body, exchange.principal, exchange.requested_model = self.body, PRINCIPAL, "m"
        exchange.usage, exchange.response_headers = TokenUsage(500, 100), list(HEADERS)
        return exchange

    def until_settled(self) -> None:
        exchange = self.begin()
        ended(self.plugin.on_request(exchange))
        self.plugin.on_finish(exchange)

    def whole(self) -> None:
        exchange = self.begin()
        ended(self.plugin.on_request(exchange))
        self.plugin.on_response(exchange)
        self.plugin.on_finish(exchange)


def store_alone() -> Callable[[], None]:
    store, number = MemoryStore(), iter(range(10**9))
    names = [
        ("requests", 60_000),
        ("requests", 86_400_000),
        ("tokens", 60_000),
        ("tokens", 86_400_000),
        ("all", 60_000),
    ]
    limits = [Limit("meter", f"key/a/{name}/{period}", 10**12, period, 10**12) for name, period in names]
    charges = (*(Charge(limit, 500) for limit in limits), Charge(Limit("lease", "key/a/parallel", 10**6), 1))

    def pair() -> None:
        reservation = Reservation(str(next(number)), charges)
        ended(store.reserve(reservation))
        store.settle_now(reservation, [400] * 5 + [1])

    return pair


@pytest.mark.bench
def test_the_cost_of_six_limits_and_of_a_budget(capsys: pytest.CaptureFixture[str]) -> None:
    limits = Life(RateLimits(LimitRules(overall=Limits(tokens_per_minute=10**12))))
    budget = Life(Budgets(prices=lambda _: Price(1, 2)))
    nothing = microseconds(limits.begin)
    settled, whole = microseconds(limits.until_settled) - nothing, microseconds(limits.whole) - nothing
    store, spent = microseconds(store_alone()), microseconds(budget.until_settled) - nothing
    with capsys.disabled():
        print(
            f"\nRateLimits, six limits in memory: {settled:.1f} us, of which the store {store:.1f}; with headers "
            f"{whole:.1f}. Budgets, one budget: {spent:.1f} us"
        )
