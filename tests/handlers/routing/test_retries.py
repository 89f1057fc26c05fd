"""How often the same deployment is asked again, after which pause, and within which budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core.errors import GatewayError
from crplugins.handlers.deadlines import Deadlines
from crplugins.handlers.routing.retries import (
    AT_ONCE,
    LONGEST_PAUSE,
    PER_SECOND,
    SHARE,
    RetryBudget,
    pause_before,
    retries_after,
)
from crplugins.handlers.routing.settings import RetryPolicy
from crplugins.handlers.upstream_errors import NotSent
from tests.handlers.routing.virtual import Scripted, VirtualTime, ask, failed_with, group_of

FAILURES = {
    "429": failed_with(429, "upstream_429"),
    "500": failed_with(500, "upstream_5xx"),
    "503": failed_with(503, "upstream_5xx"),
    "529": failed_with(529, "upstream_5xx"),
    "not sent": failed_with(502, "upstream_connect", kind=NotSent),
    "504": failed_with(504, "upstream_5xx"),
    "524": failed_with(524, "upstream_5xx"),
    "silence": failed_with(504, "upstream_timeout"),
    "408": failed_with(408, "upstream_4xx"),
    "reset": failed_with(502, "upstream_connect"),
    "malformed": failed_with(502, "upstream_stream_broken"),
    "401": failed_with(502, "upstream_auth"),
    "out of credit": failed_with(502, "upstream_quota"),
    "400": failed_with(400, "upstream_4xx"),
    "404": failed_with(404, "upstream_4xx"),
}
IS_OVER = {"429", "500", "503", "529", "not sent"}


@pytest.mark.parametrize("failure", FAILURES)
def test_only_a_deployment_that_is_not_at_work_any_more_is_asked_again(failure: str) -> None:
    assert retries_after(FAILURES[failure], RetryPolicy()) == (failure in IS_OVER)
    assert retries_after(FAILURES[failure], RetryPolicy(retries=3)) == 3 * (failure in IS_OVER)


def test_a_deployment_that_says_that_it_would_only_fail_again_is_not_asked_again() -> None:
    failure = failed_with(429, "upstream_429", x_should_retry="false")
    assert retries_after(failure, RetryPolicy(retries=3)) == 0
    assert retries_after(failed_with(429, "upstream_429", x_should_retry="true"), RetryPolicy(retries=3)) == 3
    assert retries_after(failure, RetryPolicy(retries=3, by_kind={"RateLimitError": 2})) == 2  # which somebody wants


@pytest.mark.parametrize(
    ("kind", "failures"),
    [
        ("RateLimitError", {"429"}),
        ("InternalServerError", {"500", "not sent"}),
        ("ServiceUnavailableError", {"503", "529"}),
        ("TimeoutError", {"504", "524", "silence", "408"}),
        ("AuthenticationError", {"401", "out of credit"}),
        ("BadRequestError", {"400"}),
        ("NotFoundError", {"404"}),
        ("Default", {"reset", "malformed"}),
    ],
)
def test_a_policy_says_so_for_one_kind_of_failure_and_also_of_one_that_may_cost_twice(kind, failures) -> None:
    policy = RetryPolicy(retries=0, by_kind={kind: 2})
    asked_again = {name for name, error in FAILURES.items() if retries_after(error, policy) == 2}
    assert asked_again >= failures
    assert asked_again - failures <= (set(FAILURES) - IS_OVER if kind == "Default" else set())


@given(retry=st.integers(0, 30), dice=st.floats(0, 1))
def test_pauses_grow_and_are_never_the_same_for_all(retry: int, dice: float) -> None:
    pause = pause_before(retry, FAILURES["503"], lambda: dice)
    assert pause is not None
    longest = min(0.25 * 2**retry, 5.0)
    assert longest / 2 <= pause <= longest


@given(seconds=st.floats(0, 60), dice=st.floats(0, 1))
def test_the_time_that_a_provider_names_is_kept_or_not_waited_for(seconds: float, dice: float) -> None:
    pause = pause_before(0, failed_with(429, "upstream_429", retry_after=str(seconds)), lambda: dice)
    if seconds > LONGEST_PAUSE:
        assert pause is None
    else:
        assert pause is not None
        assert seconds <= pause <= seconds * 1.1 + 0.1


@given(steps=st.lists(st.tuples(st.sampled_from(["request", "take"]), st.floats(0, 5)), max_size=300))
def test_a_budget_gives_a_share_of_the_requests_and_a_floor_and_no_more(steps: list[tuple[str, float]]) -> None:
    budget, now, requests, taken = RetryBudget(), 0.0, 0, 0
    for step, seconds in steps:
        now += seconds
        if step == "request":
            budget.request()
            requests += 1
        else:
            taken += budget.take(now)
        assert taken <= AT_ONCE + SHARE * requests + PER_SECOND * now + 1e-6


def test_a_gateway_with_few_requests_has_a_retry_for_each() -> None:
    budget = RetryBudget()
    assert all(budget.take(float(second)) for second in range(100))


async def test_a_retry_waits_for_the_time_that_the_provider_names() -> None:
    time = VirtualTime()
    primary, other = Scripted(time), Scripted(time)
    error = failed_with(429, "upstream_429", retry_after="2")
    primary.failure = lambda _: error if len(primary.asked) == 1 else None
    await time.run(ask(time, group_of(time, [primary, other])))
    first, second = primary.asked
    assert 2 <= second - first < 2.3
    assert other.asked == []


async def test_a_pause_beyond_the_deadline_is_none() -> None:
    time = VirtualTime()
    alone = Scripted(time)
    alone.down(0, 1e9, failed_with(429, "upstream_429", retry_after="4"))
    group = group_of(time, [alone])
    object.__setattr__(group.candidates[0].deployment, "deadlines", Deadlines(3.0))
    (failure,) = await time.run(ask(time, group))
    assert isinstance(failure, GatewayError)
    assert len(alone.asked) == 1


async def test_of_many_that_wait_for_one_deployment_one_is_its_trial() -> None:
    time = VirtualTime()
    primary, other = Scripted(time, latency=0.5), Scripted(time)
    primary.down(0, time.now + 20, failed_with(429, "upstream_429", retry_after="3"))
    group = group_of(time, [primary, other])
    await time.run(*(ask(time, group, number / 100) for number in range(8)))
    at_first = [at for at in primary.asked if at < 1001]
    assert len(at_first) >= 2
    assert len(primary.asked) == len(at_first) + 1


async def test_a_deployment_that_has_come_to_rest_meanwhile_is_not_asked_again() -> None:
    time = VirtualTime()
    primary, other = Scripted(time), Scripted(time)
    primary.down(0, 1e9)
    group = group_of(time, [primary, other])
    replies = await time.run(*(ask(time, group, number / 1000) for number in range(10)))
    assert [reply.status for reply in replies] == [200] * 10
    assert len(primary.asked) == 5, "half of the turns, and no retry"
