"""The deployment that answers soonest: what is measured, how long it counts, and that not all go to one at once."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core.body import Body
from crplugins.core.exchange import Exchange, Reply
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.routing.candidate import Candidate
from crplugins.handlers.routing.group import Group
from crplugins.handlers.routing.latency import EQUAL
from crplugins.handlers.routing.settings import GroupSettings, RoutingSettings
from crplugins.handlers.routing.strategy import balancer_of
from tests.handlers.routing.virtual import VirtualTime, exchange_at, failed_with

ASKED = {
    stream: Body(json.dumps({"model": "m", "messages": [], "stream": stream}).encode()) for stream in (True, False)
}


class Timed:
    """The handler of a deployment that takes so long to the first token, and for each of a plain answer's tokens."""

    def __init__(self, time: VirtualTime, first_token: float, token: float = 0.01, tokens: int = 10) -> None:
        self.time, self.first_token, self.token, self.tokens = time, first_token, token, tokens
        self.asked = self.most = 0
        self.is_down = False

    async def answer(self, exchange: Exchange, body: Body) -> Reply:
        self.asked += 1
        if self.is_down:
            raise failed_with(504, "upstream_timeout")
        await self.time.sleep(self.first_token if exchange.stream else self.tokens * self.token)
        usage = {"prompt_tokens": 1, "completion_tokens": self.tokens, "total_tokens": self.tokens + 1}
        choice = {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}
        return Reply(
            200, [], _frames() if exchange.stream else json.dumps({"choices": [choice], "usage": usage}).encode()
        )


async def _frames() -> Any:
    yield b"data: [DONE]\n\n"


class Race:
    """A model name with these deployments, under `latency-based-routing`."""

    def __init__(self, time: VirtualTime, handlers: Sequence[Timed], weights: Sequence[float] = ()) -> None:
        self.time, self.handlers = time, handlers
        weights = [*weights, *([1.0] * (len(handlers) - len(weights)))]
        deployments = [
            Deployment("m", f"openai/{weight}", routing=RoutingSettings(weight=weight)) for weight in weights
        ]
        self.candidates = [Candidate(*pair) for pair in zip(deployments, handlers, strict=True)]
        settings = GroupSettings("latency-based-routing", affinity_seconds=0)
        self.group = Group(self.candidates, balancer_of(settings))

    async def ask(self, *, stream: bool = True, after: float = 0.0) -> None:
        await self.time.sleep(after)
        exchange = exchange_at(self.time)
        exchange.stream = stream
        await self.group.answer(exchange, ASKED[stream])

    async def asked(self, times: int, every: float = 1.0, *, stream: bool = True) -> list[int]:
        """How often each was asked in so many requests, one after the other."""
        before = [each.asked for each in self.handlers]
        for _ in range(times):
            await self.time.run(self.ask(stream=stream, after=every))
        return [each.asked - old for each, old in zip(self.handlers, before, strict=True)]


def race(*first_tokens: float, weights: Sequence[float] = ()) -> Race:
    time = VirtualTime()
    return Race(time, [Timed(time, seconds) for seconds in first_tokens], weights)


async def test_each_is_tried_once_and_then_the_fastest_is_asked() -> None:
    assert await race(2.0, 0.5, 1.0).asked(20) == [1, 18, 1]


async def test_those_that_are_as_fast_to_a_tenth_take_turns_by_weight() -> None:
    assert await race(0.5, 0.5 * EQUAL - 0.01, 2.0).asked(21) == [10, 10, 1]
    assert await race(0.5, 0.5, weights=(3, 1)).asked(40) == [30, 10]


async def test_one_that_was_slow_is_asked_again_within_minutes_and_has_its_requests_back_when_it_is_fast() -> None:
    field = race(0.5, 5.0)
    await field.asked(10)
    assert await field.asked(90) == [90, 0]
    assert 1 <= (await field.asked(200))[1] <= 3
    field.handlers[1].first_token = 0.1
    await field.asked(300)
    assert await field.asked(50) == [0, 50]


async def test_one_long_wait_is_no_slow_deployment() -> None:
    field = race(0.5, 0.5)
    await field.asked(20)
    field.handlers[0].first_token = 20.0
    await field.asked(2)
    field.handlers[0].first_token = 0.5
    assert (await field.asked(180))[0] > 30


async def test_what_a_deployment_says_at_length_does_not_make_it_slow() -> None:
    time = VirtualTime()
    field = Race(time, [Timed(time, 1.0, token=0.01, tokens=200), Timed(time, 1.0, token=0.1, tokens=5)])
    assert await field.asked(20, stream=False) == [19, 1]


async def test_streams_and_plain_answers_are_measured_apart() -> None:
    time = VirtualTime()
    field = Race(time, [Timed(time, 0.1, token=0.5), Timed(time, 1.0, token=0.05)])
    await field.asked(4)
    await field.asked(4, stream=False)
    assert (await field.asked(10), await field.asked(10, stream=False)) == ([10, 0], [0, 10])


async def test_a_plain_answer_is_decoded_once_for_all_readers() -> None:
    time = VirtualTime()
    field, exchange = Race(time, [Timed(time, 1.0), Timed(time, 1.0)]), exchange_at(time)
    [reply] = await time.run(field.group.answer(exchange, ASKED[False]))
    assert exchange.split is not None
    assert exchange.split[0] is reply.body


@given(speeds=st.lists(st.floats(0.1, 10), min_size=2, max_size=5), running=st.integers(10, 200))
def test_many_at_once_are_spread_so_that_none_waits_much_longer_than_the_others(
    speeds: list[float], running: int
) -> None:
    field, exchange = race(*speeds), exchange_at(VirtualTime())
    exchange.stream = True
    for each, seconds in zip(field.candidates, speeds, strict=True):
        field.group.balancer.pick(field.candidates, exchange, ASKED[True])
        assert each.health.speed is not None
        each.health.speed.first_token.add(seconds, exchange.clock(), exchange.clock())
    for _ in range(running):
        field.group.balancer.pick(field.candidates, exchange, ASKED[True]).health.running += 1
    waits = [each.health.running * seconds for each, seconds in zip(field.candidates, speeds, strict=True)]
    nexts = [(each.health.running + 1) * seconds for each, seconds in zip(field.candidates, speeds, strict=True)]
    assert max(waits) <= EQUAL * min(nexts) + 1e-9


async def test_those_of_which_nothing_is_known_share_what_comes_at_once() -> None:
    field = race(0.5, 1.0, 2.0)
    await field.time.run(*(field.ask() for _ in range(30)))
    asked = [each.asked for each in field.handlers]
    assert max(asked) - min(asked) <= 2


@pytest.mark.parametrize("away", [1.0, 30.0])
async def test_health_comes_first(away: float) -> None:
    field = race(0.1, 2.0)
    await field.asked(10)
    field.handlers[0].is_down = True
    assert await field.asked(2, every=0.1) == [1, 2]
    field.handlers[0].is_down = False
    assert (await field.asked(10, every=away))[0] >= 5
