"""Attempts: the deployments that one request asks, one after the other."""

import logging
from collections.abc import Sequence
from typing import Final

from crplugins.core.body import Body
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, Reply
from crplugins.core.principal import MissingUsagePolicy
from crplugins.handlers.quota import QuotaUsedUp, soonest
from crplugins.handlers.routing.candidate import Candidate
from crplugins.handlers.routing.choice import Choice
from crplugins.handlers.routing.failures import fails_over
from crplugins.handlers.routing.whole_usage import with_whole_usage
from crplugins.metering.attempts import give_up

logger = logging.getLogger("crplugins.upstream")


class Attempts:
    """Asks each deployment of a model name at most once for a request: those that cool down after all others.

    One whose quota is used up is passed over: it has not failed, and does not cool down.

    Args:
        missing_usage: whether what a failed attempt has used and its provider has not counted is estimated or free,
            for keys without their own policy.

    Attributes:
        current: the one whose reply was returned last.
    """

    __slots__ = ("_choice", "_exchange", "_failure", "_left", "_missing_usage", "_used_up", "current")

    def __init__(
        self,
        candidates: Sequence[Candidate],
        choice: Choice,
        exchange: Exchange,
        missing_usage: MissingUsagePolicy = "estimate",
    ) -> None:
        self.current: Candidate | None = None
        self._left: Final = [*candidates]
        self._choice = choice
        self._exchange = exchange
        self._missing_usage: Final = missing_usage
        self._failure: GatewayError | None = None
        self._used_up: list[QuotaUsedUp] = []

    @property
    def left(self) -> Sequence[Candidate]:
        """Those that have not been asked."""
        return self._left

    async def next(self, body: Body) -> Reply:
        """The reply of the next deployment that does not fail.

        Raises `GatewayError` if none is left: the failure of the last one, or when the first may be asked again if the
        quotas of all are used up. A failure that every deployment would share ends the attempts at once.
        """
        exchange = self._exchange
        while self._left:
            candidate = self._pick(body)
            if self._failure is not None:
                name = candidate.deployment.name
                logger.warning("request %s fails over to the next deployment of %s", exchange.id, name)
            exchange.can_fail_over = bool(self._left)
            try:
                reply = await self._ask(candidate, body)
            except QuotaUsedUp as error:
                self._used_up.append(error)
            except GatewayError as error:
                if not fails_over(error):
                    raise
                candidate.health.failed(error, exchange.clock())
                self._failure = error
            else:
                candidate.health.succeeded()
                self.current = candidate
                return reply
        raise self._failure or soonest(self._used_up)

    async def _ask(self, candidate: Candidate, body: Body) -> Reply:
        """What earlier attempts have used stays on the books, and the client is told the sum."""
        exchange = self._exchange
        if exchange.attempts:
            give_up(exchange, self._missing_usage)
        reply = await candidate.handler.answer(exchange, body)
        return with_whole_usage(reply, exchange) if exchange.spent else reply

    def broken(self, error: GatewayError) -> None:
        """The stream of `current` has broken after its first token."""
        if self.current is not None:
            self.current.health.failed(error, self._exchange.clock())
        self._failure = error

    def _pick(self, body: Body) -> Candidate:
        left = self._left
        if len(left) == 1:
            return left.pop()
        now = self._exchange.clock()
        well = [each for each in left if not each.health.cools_down(now)]
        if not well:
            picked = min(left, key=lambda each: each.health.cools_until)
        else:
            picked = well[0] if len(well) == 1 else self._choice.pick(well, self._exchange, body)
        left.remove(picked)
        return picked
