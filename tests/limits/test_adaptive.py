"""AdaptiveConcurrency against deployments that are simulated: it finds what they take, and follows where that changes."""

import heapq
import random
from collections.abc import Callable

import pytest

from crplugins.limits.adaptive import AdaptiveConcurrency


class Deployment:
    """Answers in a second as many requests as it takes at once, and either refuses more or makes all wait longer."""

    def __init__(self, takes: int, *, refuses: bool, first_token: float = 0.2) -> None:
        self.takes, self.refuses, self.first_token = takes, refuses, first_token

    def first_token_with(self, running: int, jitter: float) -> float | None:
        """None for a 429."""
        if running <= self.takes:
            return self.first_token * jitter
        return None if self.refuses else self.first_token * jitter * (running / self.takes) ** 2


def limits_over(
    deployment: Deployment, seconds: float, *, change: Callable[[float], None] | None = None, most: int = 256
) -> list[tuple[float, int, int]]:
    """The limit and how many run, over the time of a demand without end. Answers take a second after their first token."""
    adaptive, dice, now = AdaptiveConcurrency(most), random.Random(7), 0.0
    events: list[tuple[float, int, str, float]] = []
    seen, number = [], 0
    while now < seconds:
        if change is not None:
            change(now)
        while adaptive.running < adaptive.limit:
            adaptive.running += 1
            number += 1
            token = deployment.first_token_with(adaptive.running, dice.uniform(0.7, 1.3))
            kind = "refused" if token is None else "token"
            heapq.heappush(events, (now + (token or 0.05), number, kind, now))
        now, number_, kind, sent = heapq.heappop(events)
        if kind == "token":
            adaptive.answered(sent, now, stream=True)
            heapq.heappush(events, (now + 1.0, number_, "end", sent))
        else:
            adaptive.running -= 1
            if kind == "refused":
                adaptive.refused(sent, now)
        seen.append((now, adaptive.limit, adaptive.running))
    return seen


def between(seen: list[tuple[float, int, int]], start: float, end: float) -> list[int]:
    return sorted(limit for now, limit, _ in seen if start <= now < end)


@pytest.mark.parametrize("refuses", [True, False], ids=["answers 429", "becomes slow"])
@pytest.mark.parametrize("takes", [2, 20, 100])
def test_it_finds_how_many_a_deployment_takes(takes: int, refuses: bool) -> None:
    seen = limits_over(Deployment(takes, refuses=refuses), 400)
    found = between(seen, 200, 400)
    middle = found[len(found) // 2]
    assert takes * 0.55 <= middle <= takes * 1.7 + 1, (found[0], middle, found[-1])


def test_it_follows_a_deployment_that_takes_less_and_then_more_again() -> None:
    deployment = Deployment(60, refuses=True)

    def change(now: float) -> None:
        deployment.takes = 10 if 150 <= now < 300 else 60

    seen = limits_over(deployment, 500, change=change)
    assert between(seen, 160, 300)[-1] <= 16
    assert between(seen, 440, 500)[0] >= 35


def test_a_model_that_has_become_slow_for_good_is_not_held_at_one_request() -> None:
    deployment = Deployment(40, refuses=False)

    def change(now: float) -> None:
        deployment.first_token = 0.2 if now < 100 else 0.8

    seen = limits_over(deployment, 2000, change=change)
    found = between(seen, 1600, 2000)
    assert found[len(found) // 2] >= 20


def test_it_stays_within_its_bounds() -> None:
    assert between(limits_over(Deployment(1000, refuses=True), 300, most=32), 250, 300)[-1] == 32
    assert between(limits_over(Deployment(0, refuses=True), 100), 50, 100)[0] == 1


def test_one_burst_of_429s_counts_once() -> None:
    adaptive = AdaptiveConcurrency(100)
    before = adaptive.limit
    for _ in range(50):
        adaptive.refused(1.0, 1.5)
    assert adaptive.limit == int(before * 0.7)
    adaptive.refused(1.6, 1.7)
    assert adaptive.limit < int(before * 0.7)


def test_a_limit_that_nobody_comes_near_to_is_not_raised() -> None:
    adaptive = AdaptiveConcurrency(100)
    before = adaptive.limit
    for number in range(1000):
        adaptive.running = 1
        adaptive.answered(number, number + 0.2, stream=True)
    assert adaptive.limit == before
