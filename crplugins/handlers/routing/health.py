"""Health: how a deployment fares: what it is answering, and whether it cools down, as its last answers say.

Passive ejection: nobody asks it for its health alone. It cools down after failures in a row, or after more of them in a
minute than are allowed, longer the longer its outage lasts, and when a cooldown is over one request is the trial, while
the others go elsewhere. What a request says counts by when it was sent: an old stream that goes on says nothing about
the requests that are refused meanwhile.
"""

from collections import deque
from typing import TYPE_CHECKING, Final

from crplugins.core.errors import GatewayError
from crplugins.core.outcome import HealthState
from crplugins.handlers.routing.failures import is_over, retry_after
from crplugins.handlers.routing.settings import COOLDOWN_SECONDS, RoutingSettings

if TYPE_CHECKING:
    from crplugins.handlers.routing.latency import Speed

LONGEST_COOLDOWN: Final = 30.0
"""However long an outage has lasted, unless the configuration says more."""

LONGEST_RETRY_AFTER: Final = 60.0
"""A provider that asks for a longer cooldown is asked again sooner."""

_SHARE_OF_OUTAGE: Final = 1 / 3
"""How long a cooldown is, as a share of the outage so far: one that was out for a minute is back in 20 s."""

_MINUTE: Final = 60.0
"""Failures further apart are neither in a row nor counted together."""

_NEVER: Final = float("-inf")


class Health:
    """Of one deployment in this process. Times are seconds of the exchange's clock.

    Attributes:
        cools_until: when it may be asked again; 0 while it is well.
        on_trial: a request has been sent to it since its cooldown was over.
        failures: how often it has failed in a row.
        running: how many requests it is answering now, streams among them until they end.
        speed: how fast it answers; None while nobody wants to know.
        cooldowns: how often it has begun to cool down.
    """

    __slots__ = (
        "_asked_for", "_began", "_failed", "_of_a_minute", "_settings", "_succeeded", "cooldowns", "cools_until",
        "failures", "on_trial", "running", "speed",
    )  # fmt: skip

    def __init__(self, settings: RoutingSettings) -> None:
        self._settings = settings
        self.cools_until = 0.0
        self.on_trial = False
        self.failures = self.cooldowns = self.running = 0
        self.speed: Speed | None = None
        self._began = 0.0  # of the outage: when its first failure came
        self._asked_for = 0.0  # until when its provider has asked to be left alone
        self._failed = self._succeeded = _NEVER  # when the last request was sent that failed, or succeeded
        allowed = settings.allowed_fails
        self._of_a_minute: deque[float] | None = None if allowed is None else deque(maxlen=allowed + 1)

    @property
    def state(self) -> HealthState:
        return "healthy" if not self.cools_until else "trial" if self.on_trial else "cooling"

    def admits(self, now: float) -> bool:
        """Whether it is well, or its cooldown is over and the next request would be the trial."""
        return not self.cools_until or (now >= self.cools_until and not self.on_trial)

    def asked(self, now: float) -> bool:
        """A request is sent to it now. Whether that is the trial, which has to be told to `succeeded`, `failed` or
        `undecided`."""
        if not self.cools_until or now < self.cools_until or self.on_trial:
            return False
        self.on_trial = True
        return True

    def succeeded(self, sent: float) -> None:
        """The request sent at `sent` was answered: the whole answer came, or the first token of a stream."""
        if sent > self._succeeded:
            self._succeeded = sent
        if sent >= self._failed:
            self.failures = 0
            self.cools_until = 0.0
            self.on_trial = False

    def failed(self, error: GatewayError, now: float, *, sent: float, trial: bool = False) -> None:
        """The request sent at `sent` failed in a way that is the deployment's own."""
        self.on_trial &= not trial
        if now < self.cools_until and not trial:
            return  # it was asked because no other could be
        too_many = self._are_too_many(now)
        if sent < self._succeeded and not too_many:
            return  # a later request was answered
        if now - self._failed > _MINUTE and not self.cools_until:
            self.failures = 0
        self._failed = now if too_many else max(sent, self._failed)
        self.failures += 1
        if self.failures == 1:
            self._began = now
        asked_for = retry_after(error)
        if asked_for:
            self._cool_down(now, min(asked_for, LONGEST_RETRY_AFTER))
            self._asked_for = self.cools_until
        elif trial or too_many or (not self.cools_until and self._are_in_a_row(error)):
            self._cool_down(now, self._cooldown_seconds(now))

    def undecided(self) -> None:
        """The trial has ended without saying anything, such as when its client left."""
        self.on_trial = False

    def checks_failed(self, since: float, now: float) -> bool:
        """Its active checks have failed since this moment. It cools down, unless it does already, is on trial, or has
        answered a request that was sent since. Whether it now does."""
        if self._succeeded >= since or now < self.cools_until or self.on_trial:
            return False
        if not self.failures:
            self._began = since
        self.failures += 1
        self.cooldowns += 1
        self.cools_until = now + max(self._cooldown_seconds(now), COOLDOWN_SECONDS)
        return True

    def check_succeeded(self, now: float) -> None:
        """It need not cool down any longer, unless its provider has asked for it; the next request is its trial."""
        self.cools_until = min(self.cools_until, max(now, self._asked_for))

    def _cool_down(self, now: float, seconds: float) -> None:
        if self._settings.cooldown_seconds:
            self.cooldowns += 1
            self.cools_until = max(now + seconds, self.cools_until)

    def _are_too_many(self, now: float) -> bool:
        """Count a failure. Whether `allowed_fails` is given, and there were more of them in the last minute, whatever
        was answered in between, as LiteLLM counts them."""
        failures = self._of_a_minute
        if failures is None:
            return False
        failures.append(now)
        if len(failures) < (failures.maxlen or 0) or now - failures[0] > _MINUTE:
            return False
        failures.clear()
        return True

    def _are_in_a_row(self, error: GatewayError) -> bool:
        """Whether, with nothing said, there were as many failures as end in a cooldown: two, or one after which it is
        not asked again."""
        return self._of_a_minute is None and self.failures > int(is_over(error))

    def _cooldown_seconds(self, now: float) -> float:
        shortest = self._settings.cooldown_seconds
        return max(shortest, min((now - self._began) * _SHARE_OF_OUTAGE, LONGEST_COOLDOWN))
