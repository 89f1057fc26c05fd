"""Which of several healthy deployments a strategy picks: the least busy, the cheapest."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core.body import Body
from crplugins.core.exchange import Exchange, Reply
from crplugins.core.usage import Price, TokenUsage
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.routing.balancing import Balancer
from crplugins.handlers.routing.candidate import Candidate
from crplugins.handlers.routing.group import Group
from crplugins.handlers.routing.settings import GroupSettings, RoutingSettings
from crplugins.handlers.routing.strategy import balancer_of
from crplugins.metering.estimate import demand_of
from tests.handlers.routing.virtual import Scripted, VirtualTime, exchange_at, failed_with

BUSY = GroupSettings("least-busy", affinity_seconds=0)
CHEAP = GroupSettings("cost-based-routing", affinity_seconds=0)

SHORT = b'{"model":"m","messages":[{"role":"user","content":"hello"}],"max_tokens":10}'
LONG = json.dumps({"model": "m", "messages": [{"role": "user", "content": "word " * 2000}], "max_tokens": 1}).encode()

weights = st.floats(0.1, 10)


def candidate(weight: float = 1.0, price: Price | None = None, running: int = 0) -> Candidate:
    routing = RoutingSettings(weight=weight)
    made = Candidate(Deployment("m", "openai/m", prices=lambda _: price, routing=routing), Scripted(VirtualTime()))
    made.health.running = running
    return made


def pick(balancer: Balancer, among: Sequence[Candidate], body: bytes = SHORT) -> int:
    return among.index(balancer.pick(among, exchange_with(body), Body(body)))


def exchange_with(body: bytes) -> Exchange:
    exchange = exchange_at(VirtualTime())
    exchange.body = Body(body)
    return exchange


@given(loads=st.lists(st.tuples(weights, st.integers(0, 50)), min_size=2, max_size=6))
def test_the_least_busy_has_the_fewest_requests_for_its_weight(loads: list[tuple[float, int]]) -> None:
    among = [candidate(weight, running=running) for weight, running in loads]
    picked = among[pick(balancer_of(BUSY), among)]
    assert picked.health.running / picked.settings.weight == min(running / weight for weight, running in loads)


@given(
    shares=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    ends=st.lists(st.integers(0, 3), max_size=30),
)
def test_requests_that_all_run_at_once_are_spread_by_weight(shares: list[int], ends: list[int]) -> None:
    among, balancer = [candidate(share) for share in shares], balancer_of(BUSY)
    for number in ends:  # whatever has come and gone before
        among[pick(balancer, among)].health.running += 1
        among[number % len(among)].health.running = 0
    for each in among:
        each.health.running = 0
    for _ in range(4 * sum(shares)):
        among[pick(balancer, among)].health.running += 1
    for share, each in zip(shares, among, strict=True):
        assert abs(each.health.running - 4 * share) <= 1


def test_those_equally_busy_take_turns_by_weight() -> None:
    among, balancer = [candidate(2), candidate(1)], balancer_of(BUSY)
    assert [pick(balancer, among) for _ in range(6)] == [0, 1, 0, 0, 1, 0]


class Held:
    """A handler whose streams go on until they are closed."""

    async def answer(self, exchange: Exchange, body: Body) -> Reply:
        attempt = exchange.begin_attempt("openai", self)

        async def frames():
            try:
                yield b""
                yield b"data: 1\n\n"
            except GeneratorExit:
                attempt.end(exchange.clock())
                raise

        stream = frames()
        await anext(stream)
        return Reply(200, [], stream)


async def test_a_stream_runs_until_its_end_and_a_failure_and_a_whole_answer_run_no_more() -> None:
    time = VirtualTime()
    ill = Scripted(time)
    ill.failure = lambda _: failed_with(
        500,
        "upstream_5xx",
    )
    held, failing = (Candidate(Deployment("m", "openai/m"), handler) for handler in (Held(), ill))
    group = Group([held], balancer_of(BUSY))
    replies = [await group.answer(exchange_at(time), Body(SHORT)) for _ in range(3)]
    assert held.health.running == 3
    await replies[0].body.aclose()
    await replies[0].body.aclose()
    assert held.health.running == 2
    await time.run(Group([failing], balancer_of(BUSY)).answer(exchange_at(time), Body(SHORT)))
    assert (failing.health.running, len(ill.asked) >= 1) == (0, True)
    ill.failure = lambda _: None
    await time.run(Group([failing], balancer_of(BUSY)).answer(exchange_at(time), Body(SHORT)))
    assert failing.health.running == 0


def dollars(input_price: float, output_price: float) -> Price:
    """Prices of a million tokens."""
    return Price(round(input_price * 1_000_000), round(output_price * 1_000_000))


@given(prices=st.lists(st.tuples(st.integers(0, 10**8), st.integers(0, 10**8)), min_size=2, max_size=5))
def test_the_cheapest_costs_no_more_than_any_other(prices: list[tuple[int, int]]) -> None:
    among = [candidate(price=Price(*each)) for each in prices]
    demand = demand_of(exchange_with(LONG), 1024)
    costs = [Price(*each).micro_usd(TokenUsage(demand.prompt, demand.output)) for each in prices]
    assert costs[pick(balancer_of(CHEAP), among, LONG)] == min(costs)


@pytest.mark.parametrize(("body", "expected"), [(SHORT, 0), (LONG, 1)])
def test_the_length_of_prompt_and_answer_decides_who_is_the_cheapest(body: bytes, expected: int) -> None:
    among = [candidate(price=dollars(10, 1)), candidate(price=dollars(1, 30))]
    assert pick(balancer_of(CHEAP), among, body) == expected


@pytest.mark.parametrize(
    ("prices", "expected"),
    [
        ((None, dollars(1, 1), None), [1, 1, 1]),
        ((None, None, None), [0, 1, 2]),
        ((dollars(1, 1), dollars(1, 1), dollars(2, 2)), [0, 1, 0]),
        ((dollars(0.02, 0.02), dollars(0.01, 0.01), dollars(0.03, 0.03)), [1, 1, 1]),
        ((dollars(0, 0), dollars(0.01, 0.01), None), [0, 0, 0]),
    ],
)
def test_an_unknown_price_is_the_dearest_and_equals_take_turns(
    prices: Sequence[Price | None], expected: list[int]
) -> None:
    among, balancer = [candidate(price=price) for price in prices], balancer_of(CHEAP)
    assert [pick(balancer, among) for _ in range(3)] == expected


def test_the_cheapest_of_weight_0_is_not_asked_while_another_can_be() -> None:
    among = [candidate(0, dollars(1, 1)), candidate(1, dollars(5, 5))]
    assert pick(balancer_of(CHEAP), among) == 1
