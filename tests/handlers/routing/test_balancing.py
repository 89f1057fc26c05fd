"""Whose turn it is: orders and weights."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core.body import Body
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.routing.balancing import Turns
from crplugins.handlers.routing.candidate import Candidate
from crplugins.handlers.routing.settings import RoutingSettings
from tests.handlers.routing.virtual import Scripted, VirtualTime, ask, exchange_at, failed_with, group_of


def candidates(*weights: float) -> list[Candidate]:
    time = VirtualTime()
    return [Candidate(Deployment("m", "openai/m", routing=RoutingSettings(weight=w)), Scripted(time)) for w in weights]


def picks(turns: Turns, among: list[Candidate], times: int) -> list[int]:
    exchange = exchange_at(VirtualTime())
    return [among.index(turns.pick(among, exchange, Body(b"{}"))) for _ in range(times)]


@given(weights=st.lists(st.integers(0, 20), min_size=2, max_size=6), rounds=st.integers(1, 4))
def test_each_has_its_share_of_the_turns_exactly(weights: list[int], rounds: int) -> None:
    counted = Counter(picks(Turns(), candidates(*weights), rounds * (sum(weights) or len(weights))))
    shares = weights if any(weights) else [1] * len(weights)
    assert [counted[number] for number in range(len(weights))] == [rounds * share for share in shares]


@given(
    weights=st.lists(st.integers(1, 9), min_size=3, max_size=5),
    away=st.lists(st.sets(st.integers(0, 4), max_size=2), max_size=60),
)
def test_whoever_is_away_for_a_while_neither_loses_the_others_turns_nor_makes_up_for_its_own(
    weights: list[int], away: list[set[int]]
) -> None:
    turns, every = Turns(), candidates(*weights)
    for gone in away:
        present = [each for number, each in enumerate(every) if number not in gone]
        if len(present) > 1:
            assert turns.pick(present, exchange_at(VirtualTime()), Body(b"{}")) in present
    total = sum(weights)
    counted = Counter(picks(turns, every, 10 * total))
    for number, weight in enumerate(weights):
        assert abs(counted[number] - 10 * weight) <= total + len(weights)


def test_turns_of_a_weight_are_spread() -> None:
    assert picks(Turns(), candidates(2, 1), 6) == [0, 1, 0, 0, 1, 0]


def test_without_weights_they_take_turns() -> None:
    assert picks(Turns(), candidates(1, 1, 1), 6) == [0, 1, 2, 0, 1, 2]


async def served(*orders: int | None, ill: int = 0) -> list[int]:
    """How often each is asked in eight requests, of which the first `ill` deployments fail."""
    time = VirtualTime()
    handlers = [Scripted(time) for _ in orders]
    for handler in handlers[:ill]:
        handler.down(0, 1e9, failed_with(504, "upstream_timeout"))
    group = group_of(time, handlers, [RoutingSettings(order=order) for order in orders])
    await time.run(*(ask(time, group, number / 10) for number in range(8)))
    return [len(handler.asked) for handler in handlers]


@pytest.mark.parametrize(
    ("orders", "ill", "expected"),
    [
        ((1, 2, 2), 0, [8, 0, 0]),
        ((1, 2, 2), 1, [1, 4, 4]),
        ((2, 1, 1), 0, [0, 4, 4]),
        ((None, 5), 0, [0, 8]),
        ((0, 1), 0, [8, 0]),
        ((1, 1, None), 2, [1, 1, 8]),
    ],
)
async def test_the_lowest_order_that_is_well_is_asked(
    orders: tuple[int | None, ...], ill: int, expected: list[int]
) -> None:
    assert await served(*orders, ill=ill) == expected


async def test_one_without_weight_is_asked_when_no_other_can_be() -> None:
    time = VirtualTime()
    handlers = [Scripted(time), Scripted(time)]
    group = group_of(time, handlers, [RoutingSettings(weight=0), RoutingSettings()])
    await time.run(*(ask(time, group, number / 10) for number in range(4)))
    assert [len(handler.asked) for handler in handlers] == [0, 4]
    handlers[1].down(0, 1e9)
    await time.run(*(ask(time, group, number / 10) for number in range(4)))
    assert len(handlers[0].asked) == 4
