"""When a deployment cools down, and for how long."""

from typing import Any

import pytest

from crplugins.core.errors import GatewayError
from crplugins.handlers.routing.health import LONGEST_RETRY_AFTER, Health
from crplugins.handlers.routing.settings import COOLDOWN_SECONDS, RoutingSettings
from tests.handlers.routing.virtual import failed_with

BUSY = failed_with(503, "upstream_5xx")
SILENT = failed_with(504, "upstream_timeout")


def cooldown(health: Health, now: float) -> float:
    return max(health.cools_until - now, 0.0)


def failing(error: GatewayError, times: int = 1, **settings: Any) -> Health:
    health = Health(RoutingSettings(**settings))
    for _ in range(times):
        health.failed(error, 100.0, sent=100.0)
    return health


def test_one_failure_after_which_it_is_asked_again_is_none_and_two_are() -> None:
    assert cooldown(failing(BUSY), 100) == 0
    assert cooldown(failing(BUSY, 2), 100) == COOLDOWN_SECONDS


def test_silence_is_not_met_twice() -> None:
    assert cooldown(failing(SILENT), 100) == COOLDOWN_SECONDS


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "20"}, 20.0),
        ({"retry_after": "1.5"}, 1.5),
        ({"retry_after": "9999"}, LONGEST_RETRY_AFTER),
        ({"retry_after_ms": "300", "retry_after": "20"}, 0.3),
        ({"retry_after": "0"}, 0.0),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry_after": "Fri, 31 Dec 9999 23:59:59 GMT"}, LONGEST_RETRY_AFTER),
        ({"retry_after": "Wed, 99 Oct 2015 07:28:00 GMT"}, 0.0),
    ],
)
def test_it_rests_for_as_long_as_the_provider_asks_at_most_a_minute(headers: dict[str, str], seconds: float) -> None:
    assert cooldown(failing(failed_with(429, "upstream_429", **headers)), 100) == pytest.approx(seconds)


def test_what_is_asked_while_it_rests_does_not_lengthen_the_rest() -> None:
    health = failing(BUSY, 2)
    for now in (101.0, 102.0, 103.0):
        health.failed(BUSY, now, sent=now)
    assert cooldown(health, 100) == COOLDOWN_SECONDS


def test_an_outage_of_a_minute_has_rests_of_twenty_seconds() -> None:
    health = failing(BUSY, 2)
    assert health.asked(160.0)
    health.failed(BUSY, 160.0, sent=160.0, trial=True)
    assert cooldown(health, 160) == pytest.approx(20)


def test_failures_apart_are_not_in_a_row() -> None:
    health = failing(BUSY)
    health.failed(BUSY, 200.0, sent=200.0)
    assert cooldown(health, 200) == 0


@pytest.mark.parametrize(("allowed", "failures"), [(0, 1), (3, 4)])
def test_as_many_failures_as_are_allowed_are_none(allowed: int, failures: int) -> None:
    assert cooldown(failing(SILENT, failures - 1, allowed_fails=allowed), 100) == 0
    assert cooldown(failing(SILENT, failures, allowed_fails=allowed), 100) == COOLDOWN_SECONDS


def flapping(seconds: float, **settings: Any) -> tuple[Health, float]:
    """One whose answers and failures take turns, each so many seconds after the last; and when it began to cool down."""
    health, now = Health(RoutingSettings(**settings)), 100.0
    for turn in range(40):
        now += seconds
        if turn % 2:
            health.succeeded(now)
        else:
            health.failed(BUSY, now, sent=now)
        if health.cools_until:
            break
    return health, now


def test_failures_that_are_allowed_are_counted_by_the_minute_whatever_was_answered_between_them() -> None:
    health, now = flapping(1.0, allowed_fails=3)
    assert (now, cooldown(health, now)) == (107.0, COOLDOWN_SECONDS)
    assert not flapping(15.0, allowed_fails=3)[0].cools_until, "two of a minute"
    assert not flapping(1.0)[0].cools_until, "with nothing said, those in a row count"


def test_an_answer_to_what_was_sent_before_too_many_failed_does_not_end_the_cooldown() -> None:
    health = Health(RoutingSettings(allowed_fails=1))
    health.failed(BUSY, 101.0, sent=100.0)
    health.succeeded(102.0)
    health.failed(BUSY, 104.0, sent=101.0)
    health.succeeded(103.0)
    assert cooldown(health, 104) == COOLDOWN_SECONDS


def test_when_its_cooldown_is_over_the_failures_before_it_are_forgotten() -> None:
    health, now = flapping(1.0, allowed_fails=3)
    assert health.asked(now + 5)
    health.succeeded(now + 5)
    health.failed(BUSY, now + 6, sent=now + 6)
    assert not health.cools_until


@pytest.mark.parametrize("seconds", [0.0, 1.0, 50.0])
def test_the_first_rest_is_as_long_as_it_is_configured_and_none_is_none(seconds: float) -> None:
    assert cooldown(failing(SILENT, cooldown_seconds=seconds), 100) == seconds


def test_there_is_one_trial_and_its_success_ends_the_outage() -> None:
    health = failing(SILENT)
    assert not health.admits(103.0)
    assert health.admits(104.0)
    assert health.asked(104.0)
    assert not health.admits(104.1)
    assert not health.asked(104.1)
    health.succeeded(104.0)
    assert health.admits(104.2)
    assert health.failures == 0
