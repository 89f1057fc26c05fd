"""Retries: whether and when the same deployment is asked again, and the budget of all requests for it."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from crplugins.core.errors import GatewayError
from crplugins.handlers.routing.failures import forbids_retries, is_over, kind_of, retry_after
from crplugins.handlers.routing.settings import RetryPolicy

SHARE: Final = 0.05
"""How many of a hundred requests may be asked again: an outage is multiplied by no more than 1.05 and the floor."""

PER_SECOND: Final = 1.0
"""The floor: retries in a second that are allowed besides, for a gateway with few requests."""

AT_ONCE: Final = 10.0
"""The most that a budget keeps for later."""

SHORTEST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 5.0
"""How long a request waits for a deployment that names the time. For a longer one the client is told, who may wait."""

_LONGEST_BACKOFF: Final = 5.0
_JITTER: Final = 0.1


class RetryBudget:
    """How much may be asked more than was requested: a share of the requests, and a small floor.

    https://sre.google/sre-book/handling-overload/ and Finagle's retry budgets. Times are seconds of one clock.
    """

    __slots__ = ("_at", "_balance")

    def __init__(self) -> None:
        self._balance = AT_ONCE
        self._at: float | None = None

    def request(self) -> None:
        """A request has come, for which nothing has been asked yet."""
        if self._balance < AT_ONCE:
            self._balance += SHARE

    def take(self, now: float) -> bool:
        """Whether one more may be asked; it then is."""
        if self._at is not None:
            self._balance = min(self._balance + (now - self._at) * PER_SECOND, AT_ONCE)
        self._at = now
        if self._balance < 1:
            return False
        self._balance -= 1
        return True


def retries_after(error: GatewayError, policy: RetryPolicy) -> int:
    """How often in all the deployment may be asked again, if all its failures are like this one."""
    told = policy.by_kind.get(kind_of(error))
    if told is None and is_over(error):
        return 0 if forbids_retries(error) else policy.retries
    return policy.by_kind.get("Default", 0) if told is None else told


def pause_before(retry: int, error: GatewayError, dice: Callable[[], float]) -> float | None:
    """Seconds to wait before the retry of this number, from 0; None if that is too long.

    The time that the provider names, else an exponential backoff; in both cases spread, so that those who failed
    together do not come back together.

    Args:
        dice: a random number from 0 to 1.
    """
    asked_for = retry_after(error)
    if asked_for is None:
        return float(min(SHORTEST_PAUSE * 2**retry, _LONGEST_BACKOFF) * (1 + dice()) / 2)
    if asked_for > LONGEST_PAUSE:
        return None
    return asked_for + dice() * max(asked_for * _JITTER, _JITTER)


class Retries:
    """What the requests for one model name have in common.

    Args:
        dice: a random number from 0 to 1.
        sleep: waits so many seconds.
    """

    __slots__ = ("budget", "dice", "sleep")

    def __init__(
        self,
        dice: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.budget: Final = RetryBudget()
        self.dice: Final = dice
        self.sleep: Final = sleep
