"""Failover: several deployments of one model name take turns, and stand in for one another."""

import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from crplugins.core.body import Body
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, Reply
from crplugins.core.outcome import ErrorType
from crplugins.handlers.handler import Handler

REST_SECONDS: Final = 5.0
"""How long a deployment that failed is asked last, unless it says itself how long to wait."""

LONGEST_REST_SECONDS: Final = 60.0

_ELSEWHERE: Final[frozenset[ErrorType]] = frozenset(
    {
        "upstream_429", "upstream_5xx", "upstream_timeout", "upstream_connect", "upstream_stream_broken",
        "upstream_auth",
    }
)  # fmt: skip
"""Failures of one deployment that say nothing about another. What the provider finds wrong with a request, another
would too."""

_NOT_HERE: Final = frozenset({404, 408})
"""4xx that are not the request's fault: this deployment lacks the model, or was too slow."""

logger = logging.getLogger("crplugins.upstream")


class Failover:
    """Answers with the next deployment in turn; when it fails before the first byte, with the one after it.

    Each is asked once for a request. One that failed is asked last for a while, so that not every request waits for
    it first: as long as its `retry-after` says, at most `LONGEST_REST_SECONDS`, else `REST_SECONDS`. The client sees
    the failure of the last one asked.
    """

    def __init__(self, name: str, handlers: Sequence[Handler]) -> None:
        self._name = name
        self._handlers = handlers
        self._rests_until = [0.0] * len(handlers)
        self._turn = 0

    async def __aenter__(self) -> Self:
        """The deployments are opened and closed by whoever made them."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    async def answer(self, exchange: Exchange, body: Body) -> Reply:
        *others, last = self._in_turn(exchange.clock())
        for number in others:
            try:
                return await self._ask(number, exchange, body)
            except GatewayError as error:
                if not may_succeed_elsewhere(error):
                    raise
                logger.warning("request %s goes on to the next deployment of %s", exchange.id, self._name)
        return await self._ask(last, exchange, body)

    def _in_turn(self, now: float) -> list[int]:
        """All of them, from the next one on; those that rest behind the others, the soonest first."""
        count = len(self._handlers)
        order = [(self._turn + step) % count for step in range(count)]
        self._turn = (self._turn + 1) % count
        return sorted(order, key=lambda number: max(self._rests_until[number] - now, 0.0))

    async def _ask(self, number: int, exchange: Exchange, body: Body) -> Reply:
        try:
            reply = await self._handlers[number].answer(exchange, body)
        except GatewayError as error:
            if may_succeed_elsewhere(error):
                self._rests_until[number] = exchange.clock() + _rest(error)
            raise
        self._rests_until[number] = 0.0
        return reply


def may_succeed_elsewhere(error: GatewayError) -> bool:
    """Whether another deployment may answer what this one failed to."""
    return error.error_type in _ELSEWHERE or (error.error_type == "upstream_4xx" and error.status in _NOT_HERE)


def _rest(error: GatewayError) -> float:
    for name, value in error.headers:
        if name == b"retry-after" and value.isdigit():
            return min(float(value), LONGEST_REST_SECONDS)
    return REST_SECONDS
