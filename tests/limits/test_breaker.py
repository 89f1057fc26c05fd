"""CircuitBreaker: open after three failures in a row, for 1, 2, 4, 5, 5 ... seconds."""

import pytest

from crplugins.limits.availability import CircuitBreaker
from crplugins.testing import FrozenClock


@pytest.fixture
def clock():
    return FrozenClock()


def opened(clock):
    breaker = CircuitBreaker(clock=clock)
    for _ in range(3):
        assert breaker.allows()
        breaker.failed()
    assert breaker.open
    return breaker


def test_failures_with_a_success_between_them_do_not_open_it(clock):
    breaker = CircuitBreaker(clock=clock)
    for _ in range(10):
        breaker.failed()
        breaker.failed()
        breaker.succeeded()
    assert breaker.allows()
    assert not breaker.open
    assert breaker.wait == 0


def test_an_open_one_lets_nothing_through_for_a_second_and_then_one_attempt(clock):
    breaker = opened(clock)
    assert breaker.wait == pytest.approx(1)
    clock.advance(0.9)
    assert not breaker.allows()
    clock.advance(0.2)
    assert breaker.open
    assert [breaker.allows() for _ in range(5)] == [True, False, False, False, False]


def test_an_attempt_that_succeeds_closes_it(clock):
    breaker = opened(clock)
    clock.advance(1)
    assert breaker.allows()
    breaker.succeeded()
    assert not breaker.open
    assert [breaker.allows() for _ in range(3)] == [True] * 3
    breaker.failed()
    breaker.failed()
    assert not breaker.open


def test_with_each_attempt_that_fails_it_waits_twice_as_long_up_to_five_seconds(clock):
    breaker = opened(clock)
    waits = []
    for _ in range(5):
        waits.append(breaker.wait)
        clock.advance(breaker.wait)
        assert breaker.allows()
        breaker.failed()
    assert waits == pytest.approx([1, 2, 4, 5, 5])


def test_after_an_outage_the_next_one_begins_with_one_second_again(clock):
    breaker = opened(clock)
    for _ in range(3):
        clock.advance(breaker.wait)
        breaker.allows()
        breaker.failed()
    breaker.succeeded()
    for _ in range(3):
        breaker.failed()
    assert breaker.wait == pytest.approx(1)


def test_calls_that_fail_after_it_has_opened_change_nothing(clock):
    breaker = opened(clock)
    clock.advance(0.5)
    for _ in range(100):
        breaker.failed()
    assert breaker.wait == pytest.approx(0.5)


def test_an_attempt_of_which_nobody_tells_is_followed_by_another(clock):
    breaker = opened(clock)
    clock.advance(1)
    assert breaker.allows()
    clock.advance(0.5)
    assert not breaker.allows()
    clock.advance(0.5)
    assert breaker.allows()
