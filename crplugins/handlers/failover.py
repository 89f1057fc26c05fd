"""Failover: several deployments of one model name take turns; a request that one fails goes to the next."""

import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from crplugins.core.body import Body
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, Reply
from crplugins.core.outcome import ErrorType
from crplugins.handlers.handler import Handler
from crplugins.handlers.quota import QuotaUsedUp, soonest

logger = logging.getLogger("crplugins.upstream")

COOLDOWN_SECONDS: Final = 5.0
"""How long a deployment that failed cools down, unless its `retry-after` names the time."""

MAX_COOLDOWN_SECONDS: Final = 60.0
_FAILS_OVER: Final[frozenset[ErrorType]] = frozenset(
    {
        "upstream_429", "upstream_5xx", "upstream_timeout", "upstream_connect", "upstream_stream_broken",
        "upstream_auth", "upstream_quota",
    }
)  # fmt: skip
"""Failures of one deployment, after which another may succeed. A request that one provider finds invalid is not among
them: the next provider would refuse it too."""

_STATUSES_THAT_FAIL_OVER: Final = frozenset({404, 408})
"""4xx that are not the request's fault: this deployment lacks the model, or was too slow."""


class Failover:
    """Answers with the deployment whose turn it is; if that fails before the first byte, the next deployment is tried.

    Each deployment is tried at most once for a request. One that failed cools down: for the time of its `retry-after`,
    at most `MAX_COOLDOWN_SECONDS`, else for `COOLDOWN_SECONDS`. While it cools down it is tried after all others, so
    that not every request waits for it first. The client sees the failure of the deployment tried last.

    One whose quota is used up is passed over: it has not failed, and does not cool down. If that is so of all of them,
    the client is told when the first may be asked again.
    """

    def __init__(self, name: str, handlers: Sequence[Handler]) -> None:
        self._name = name
        self._handlers = handlers
        self._cooldown_until = [0.0] * len(handlers)
        self._turn = 0

    async def __aenter__(self) -> Self:
        """Enters nothing: the deployments are opened and closed by the code that made them."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    async def answer(self, exchange: Exchange, body: Body) -> Reply:
        failure: GatewayError | None = None
        used_up: list[QuotaUsedUp] = []
        for number in self._in_turn(exchange.clock()):
            if failure is not None:
                logger.warning("request %s fails over to the next deployment of %s", exchange.id, self._name)
            try:
                return await self._try(number, exchange, body)
            except QuotaUsedUp as error:
                used_up.append(error)
            except GatewayError as error:
                if not fails_over(error):
                    raise
                failure = error
        raise failure or soonest(used_up)

    def _in_turn(self, now: float) -> list[int]:
        """All deployments in turn; those that cool down come last, the one that is ready soonest first."""
        count = len(self._handlers)
        order = [(self._turn + step) % count for step in range(count)]
        self._turn = (self._turn + 1) % count
        return sorted(order, key=lambda number: max(self._cooldown_until[number] - now, 0.0))

    async def _try(self, number: int, exchange: Exchange, body: Body) -> Reply:
        try:
            reply = await self._handlers[number].answer(exchange, body)
        except QuotaUsedUp:
            raise
        except GatewayError as error:
            if fails_over(error):
                self._cooldown_until[number] = exchange.clock() + _cooldown_seconds(error)
            raise
        self._cooldown_until[number] = 0.0
        return reply


def fails_over(error: GatewayError) -> bool:
    """Whether another deployment may answer the request that this one failed."""
    if error.error_type == "upstream_4xx":
        return error.status in _STATUSES_THAT_FAIL_OVER
    return error.error_type in _FAILS_OVER


def _cooldown_seconds(error: GatewayError) -> float:
    for name, value in error.headers:
        if name == b"retry-after" and value.isdigit():
            return min(float(value), MAX_COOLDOWN_SECONDS)
    return COOLDOWN_SECONDS
