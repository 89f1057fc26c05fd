"""What an outage costs, and how soon it is over: in virtual time, at any rate of requests."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Reply
from crplugins.handlers.routing.settings import RoutingSettings
from tests.handlers.routing.virtual import Scripted, VirtualTime, ask, failed_with, group_of
from tests.long import times

OUTAGE = 12.0
FAILURES = {
    "503": failed_with(503, "upstream_5xx"),
    "429": failed_with(429, "upstream_429"),
    "silence": failed_with(504, "upstream_timeout"),
    "reset": failed_with(502, "upstream_connect"),
    "another key": failed_with(502, "upstream_auth"),
}


async def flapping(rate: float, phase: float, orders: list[RoutingSettings], error: GatewayError) -> Any:
    """Two deployments at `rate` requests a second, of which the first is away for 12 of 40 seconds."""
    time = VirtualTime()
    primary, other = Scripted(time), Scripted(time)
    start = time.now + 5 + phase
    primary.down(start, start + OUTAGE, error)
    group = group_of(time, [primary, other], orders)
    replies = await time.run(*(ask(time, group, number / rate) for number in range(int(40 * rate))))
    return start, primary, other, replies


@settings(max_examples=times(8, 300), deadline=None)
@given(
    rate=st.floats(1.5, 20),
    phase=st.floats(0, 1),
    orders=st.sampled_from([[], [RoutingSettings(order=1), RoutingSettings(order=2)]]),
    error=st.sampled_from(list(FAILURES.values())),
)
def test_a_dead_deployment_is_hardly_asked_and_back_at_once_and_no_client_notices(
    rate: float, phase: float, orders: list[RoutingSettings], error: GatewayError
) -> None:
    start, primary, _, replies = asyncio.run(flapping(rate, phase, orders, error))
    assert all(isinstance(reply, Reply) for reply in replies)
    in_vain = [at for at in primary.asked if start <= at < start + OUTAGE]
    assert len(in_vain) <= 0.4 * rate * OUTAGE
    assert min(at for at in primary.asked if at >= start + OUTAGE) <= start + OUTAGE + 5


@pytest.mark.parametrize("deployments", [1, 2, 3])
@pytest.mark.parametrize("error", ["503", "silence"])
async def test_an_outage_of_all_is_not_multiplied(deployments: int, error: str) -> None:
    time = VirtualTime()
    handlers = [Scripted(time, latency=0.05) for _ in range(deployments)]
    for handler in handlers:
        handler.down(0, 1e9, FAILURES[error])
    group = group_of(time, handlers)
    requests = 200 * 3
    await time.run(*(ask(time, group, number / 200) for number in range(requests)))
    assert sum(len(handler.asked) for handler in handlers) <= 1.1 * requests


async def test_a_long_outage_costs_less_and_less_and_ends_within_a_third_of_its_length() -> None:
    time = VirtualTime()
    primary, other = Scripted(time), Scripted(time)
    start = time.now
    primary.down(start, start + 300)
    group = group_of(time, [primary, other])
    await time.run(*(ask(time, group, number / 5) for number in range(5 * 340)))
    in_vain = [at - start for at in primary.asked if at < start + 300]
    gaps = [later - earlier for earlier, later in pairwise(in_vain[1:])]
    assert gaps == sorted(gaps, key=round)
    assert len(in_vain) < 25
    assert min(at for at in primary.asked if at >= start + 300) <= start + 300 + 31


async def test_when_a_rest_is_over_one_request_is_the_trial_and_the_others_go_elsewhere() -> None:
    time = VirtualTime()
    primary, other = Scripted(time, latency=2.0), Scripted(time)
    start = time.now
    primary.down(start, start + 10)
    group = group_of(time, [primary, other], [RoutingSettings(order=1), RoutingSettings(order=2)])
    await time.run(ask(time, group))
    tried = len(primary.asked)
    await time.run(*(ask(time, group, 5 + number / 10) for number in range(15)))
    assert len(primary.asked) == tried + 1


async def test_a_client_that_leaves_during_the_trial_leaves_the_trial_to_the_next() -> None:
    time = VirtualTime()
    primary, other = Scripted(time), Scripted(time)
    primary.down(time.now, time.now + 3)
    group = group_of(time, [primary, other], [RoutingSettings(order=1), RoutingSettings(order=2)])
    await time.run(ask(time, group))
    time.now += 10
    trial = asyncio.ensure_future(ask(time, group))
    await asyncio.sleep(0)
    asked = len(primary.asked)
    await time.run(asyncio.sleep(0))
    trial.cancel()
    await time.run(ask(time, group))
    assert len(primary.asked) > asked


async def test_an_answer_that_was_begun_before_the_outage_does_not_end_it() -> None:
    time = VirtualTime()
    primary, other = Scripted(time), Scripted(time)
    group = group_of(time, [primary, other], [RoutingSettings(order=1), RoutingSettings(order=2)])
    primary.latency = 3.0
    slow = [ask(time, group, number / 10) for number in range(5)]  # answered in the middle of it
    primary.failure = lambda now: None if now < 1001 else failed_with(503, "upstream_5xx")

    async def fast() -> None:
        await time.sleep(1)
        primary.latency = 0.01

    await time.run(*slow, fast(), *(ask(time, group, 1 + number / 10) for number in range(30)))
    assert len([at for at in primary.asked if at >= 1001]) <= 3


async def test_a_failure_among_answers_is_none_of_health() -> None:
    time = VirtualTime()
    primary, other = Scripted(time), Scripted(time)
    error = failed_with(500, "upstream_5xx")
    primary.failure = lambda _: error if len(primary.asked) % 20 == 1 else None
    group = group_of(time, [primary, other], [RoutingSettings(order=1), RoutingSettings(order=2)])
    await time.run(*(ask(time, group, number / 20) for number in range(200)))
    assert other.asked == []
