"""Active checks: who is asked for its models, when, and what the answers mean."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from crplugins.handlers.deployment import Deployment
from crplugins.handlers.http.interface import HttpError
from crplugins.handlers.routing.candidate import Candidate
from crplugins.handlers.routing.checks import FAILURES_IN_A_ROW, HealthChecks
from crplugins.handlers.routing.health import Health
from crplugins.handlers.routing.settings import COOLDOWN_SECONDS, RoutingSettings
from tests.handlers.routing.virtual import Scripted, VirtualTime, failed_with

REFUSED = HttpError("ConnectionRefusedError: no")


class Provider:
    """Answers the question for its models with a status, or raises."""

    def __init__(self, time: VirtualTime, place: str = "a") -> None:
        self.time, self.models_at = time, place
        self.answer: Callable[[float], int | Exception] = lambda _: 200
        self.seconds = 0.0
        self.asked: list[float] = []

    async def models_status(self, seconds: float) -> int:
        self.asked.append(self.time.now)
        if self.seconds:
            await self.time.sleep(self.seconds)
        answer = self.answer(self.asked[-1])
        if isinstance(answer, Exception):
            raise answer
        return answer


def candidate(time: VirtualTime, seconds: float = 10, **settings: float) -> Candidate:
    routing = RoutingSettings(check_seconds=seconds, **settings)  # type: ignore[arg-type]
    return Candidate(Deployment("m", "openai/m", routing=routing), Scripted(time))


async def checked(
    time: VirtualTime, watched: Sequence[tuple[Candidate, Provider]], seconds: float, dice: float = 0.5
) -> None:
    """Check them for so many seconds."""
    checks = HealthChecks(time, lambda: dice, time.sleep)
    checks.watch(watched)
    await time.run(time.sleep(seconds))
    await checks.close()


@pytest.mark.parametrize("answer", [REFUSED, TimeoutError(), 500, 502, 503, 529])
async def test_a_deployment_that_does_not_answer_several_times_in_a_row_cools_down(answer: int | Exception) -> None:
    time = VirtualTime()
    each, provider = candidate(time), Provider(time)
    provider.answer = lambda _: answer
    await checked(time, [(each, provider)], 10 * FAILURES_IN_A_ROW - 6)
    assert each.health.admits(time.now)
    await checked(time, [(each, provider)], 10 * FAILURES_IN_A_ROW - 4)
    assert not each.health.admits(time.now)


@pytest.mark.parametrize("answer", [200, 204, 301, 400, 401, 403, 404, 405, 429, 501])
async def test_any_other_answer_is_no_outage(answer: int) -> None:
    time = VirtualTime()
    each, provider = candidate(time), Provider(time)
    provider.answer = lambda _: answer
    await checked(time, [(each, provider)], 100)
    assert (each.health.cools_until, len(provider.asked)) == (0, 10)


async def test_failures_that_are_not_in_a_row_are_no_outage() -> None:
    time = VirtualTime()
    each, provider = candidate(time), Provider(time)
    provider.answer = lambda _: 404 if len(provider.asked) % FAILURES_IN_A_ROW == 0 else 503
    await checked(time, [(each, provider)], 200)
    assert each.health.cools_until == 0


async def test_one_answer_ends_it_and_the_next_request_is_the_trial() -> None:
    time = VirtualTime()
    each, provider = candidate(time), Provider(time)
    back = time.now + 200
    provider.answer = lambda now: REFUSED if now < back else 200
    await checked(time, [(each, provider)], 199)
    assert each.health.cools_until > time.now
    await checked(time, [(each, provider)], 10)
    assert each.health.admits(time.now)
    assert each.health.asked(time.now)
    assert not each.health.admits(time.now)  # for others, until the trial has ended
    each.health.succeeded(time.now)
    assert each.health.cools_until == 0


async def test_a_cooldown_that_requests_began_ends_too_but_not_one_that_the_provider_asked_for() -> None:
    time = VirtualTime()
    ill, limited = candidate(time), candidate(time)
    provider = Provider(time)
    for _ in range(2):
        ill.health.failed(failed_with(500, "upstream_5xx"), time.now, sent=time.now)
    limited.health.failed(failed_with(429, "upstream_429", retry_after="60"), time.now, sent=time.now)
    assert not ill.health.admits(time.now)
    began = time.now
    await checked(time, [(ill, provider), (limited, provider)], 1, dice=0)
    assert ill.health.admits(time.now)
    assert limited.health.cools_until == began + 60


async def test_requests_that_are_answered_outweigh_the_checks() -> None:
    time = VirtualTime()
    each, provider = candidate(time), Provider(time)
    provider.answer = lambda _: 503

    async def answered() -> None:
        for _ in range(20):
            await time.sleep(15)
            assert each.health.cools_until == 0
            each.health.succeeded(time.now)

    checks = HealthChecks(time, lambda: 0.5, time.sleep)
    checks.watch([(each, provider)])
    await time.run(answered())
    assert each.health.cools_until == 0
    await time.run(time.sleep(35))
    await checks.close()
    assert each.health.cools_until > 0


def test_cooldowns_grow_with_the_outage_and_nobody_is_ejected_twice_at_once() -> None:
    health = Health(RoutingSettings(cooldown_seconds=0))  # requests alone would let nobody cool down
    assert health.checks_failed(0, 2)
    assert health.cools_until == 2 + COOLDOWN_SECONDS
    assert not health.checks_failed(0, 3)
    assert health.checks_failed(0, 60)
    assert health.cools_until == 60 + 60 / 3
    assert health.asked(90)
    assert not health.checks_failed(0, 91)  # a request is its trial


async def test_deployments_at_one_place_are_checked_once_and_each_place_as_often_as_it_says() -> None:
    time = VirtualTime()
    places = [("a", 20), ("a", 10), ("b", 30), ("c", 0)]
    watched = [(candidate(time, seconds), Provider(time, place)) for place, seconds in places]
    watched[0][1].answer = lambda _: 503
    await checked(time, watched, 120, dice=0.5)
    assert [len(provider.asked) for _, provider in watched] == [11, 0, 4, 0]
    assert [each.health.cools_until > 0 for each, _ in watched] == [True, True, False, False]


async def test_checks_are_spread_and_a_slow_one_holds_up_nobody() -> None:
    time = VirtualTime()
    slow, quick = Provider(time, "a"), Provider(time, "b")
    slow.seconds = 35
    await checked(time, [(candidate(time), slow), (candidate(time), quick)], 100, dice=0)
    gaps = {round(after - before, 6) for before, after in zip(quick.asked, quick.asked[1:], strict=False)}
    assert (gaps, len(quick.asked)) == ({9.0}, 12)
    assert len(slow.asked) == 3


async def test_a_fault_in_one_check_ends_no_other() -> None:
    time = VirtualTime()
    broken, well = Provider(time, "a"), Provider(time, "b")
    broken.answer = lambda _: RuntimeError("a bug")
    await checked(time, [(candidate(time), broken), (candidate(time), well)], 50)
    assert len(broken.asked) == len(well.asked) == 5


async def test_without_anybody_to_check_there_is_no_task() -> None:
    time, before = VirtualTime(), asyncio.all_tasks()
    checks = HealthChecks(time, lambda: 0.5, time.sleep)
    checks.watch([(candidate(time, 0), Provider(time))])
    assert asyncio.all_tasks() == before
    await checks.close()
