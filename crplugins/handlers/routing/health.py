"""Health: whether a deployment cools down, as its last answers say."""

from typing import Final

from crplugins.core.errors import GatewayError

COOLDOWN_SECONDS: Final = 5.0
"""How long a deployment that failed cools down, unless its `retry-after` names the time."""

MAX_COOLDOWN_SECONDS: Final = 60.0


class Health:
    """Of one deployment in this process. Times are seconds of the exchange's clock.

    Attributes:
        cools_until: when it may be asked again; 0 while it answers.
    """

    __slots__ = ("cools_until",)

    def __init__(self) -> None:
        self.cools_until = 0.0

    def cools_down(self, now: float) -> bool:
        return now < self.cools_until

    def succeeded(self) -> None:
        """It answered: the whole answer came, or the first token of a stream."""
        self.cools_until = 0.0

    def failed(self, error: GatewayError, now: float) -> None:
        """It failed in a way that is its own and not the request's."""
        self.cools_until = now + _cooldown_seconds(error)


def _cooldown_seconds(error: GatewayError) -> float:
    for name, value in error.headers:
        if name == b"retry-after" and value.isdigit():
            return min(float(value), MAX_COOLDOWN_SECONDS)
    return COOLDOWN_SECONDS
