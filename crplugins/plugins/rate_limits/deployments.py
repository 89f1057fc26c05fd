"""DeploymentQuotas: how much a provider lets each deployment use, kept in the store of the limits."""

import logging
from collections import Counter
from functools import partial
from itertools import takewhile
from types import TracebackType
from typing import Final, NamedTuple, Self

from crplugins.core.exchange import Exchange, Slot
from crplugins.core.outcome import ErrorType
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Limits, MissingUsagePolicy
from crplugins.core.usage import TokenUsage
from crplugins.limits.limit import Reservation
from crplugins.limits.reservations import Reservations, reservation_suffix
from crplugins.limits.store import LimitStore
from crplugins.metering.estimate import (
    ESTIMATED_OUTPUT_TOKENS,
    NO_DEMAND,
    NOTHING_USED,
    demand_of,
    usage_of_answer,
)
from crplugins.metering.growth import when_it_grows
from crplugins.plugins.rate_limits.responses import refusal_reason
from crplugins.plugins.rate_limits.rules import AppliedLimits, limits_of_deployment

logger = logging.getLogger("crplugins.limits")


_DEBT: Final = 1.0
"""A provider forgets sooner than we do what an answer took beyond its estimate. If it has not, it answers 429, and the
deployment cools down: it need not be passed over for an hour."""


class _Taken(NamedTuple):
    """What a request holds of one quota, until it is settled.

    Attributes:
        attempts: how many attempts the request had made before.
    """

    quota: "DeploymentQuota"
    reservation: Reservation
    attempts: int


_TAKEN: Final[Slot[_Taken]] = Slot("deployment_quota.taken")


class DeploymentQuotas(Plugin):
    """Makes the quotas of deployments, which handlers take of, and settles what is taken when the request is over.

    Place it outside MissingUsage, as RateLimits.

    Args:
        store: where levels are kept; None for the memory of this process. May be shared with RateLimits.
        shadow: what any quota would refuse is only counted and logged.
        estimated_output_tokens, missing_usage: as in RateLimits.
    """

    reads_body: bool = True
    reads_usage: bool = True

    def __init__(
        self,
        *,
        store: LimitStore | Reservations | None = None,
        shadow: bool = False,
        estimated_output_tokens: int = ESTIMATED_OUTPUT_TOKENS,
        missing_usage: MissingUsagePolicy = "estimate",
    ) -> None:
        self.shadowed: Final[Counter[ErrorType]] = Counter()
        """How often a quota in shadow mode would have refused, by reason."""
        self.reservations: Final = Reservations.of(store)
        self.estimated_output: Final = estimated_output_tokens
        self._shadow: Final = shadow
        self._missing_usage: Final[MissingUsagePolicy] = missing_usage

    def quota(self, account: str, limits: Limits) -> "DeploymentQuota":
        """The quota of the deployments with this `account`: they share what is used, in all processes of the store."""
        return DeploymentQuota(self, limits_of_deployment(limits, account, shadow=self._shadow))

    def on_request(self, exchange: Exchange) -> None:
        """Does nothing: `on_finish` runs for plugins whose `on_request` has run."""

    def on_finish(self, exchange: Exchange) -> None:
        taken = _TAKEN.get(exchange)
        if taken is not None:
            taken.quota.settle(exchange, taken, usage_of_answer(exchange, self._missing_usage))

    async def __aenter__(self) -> Self:
        await self.reservations.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.reservations.__aexit__(kind, error, traceback)


class DeploymentQuota:
    """The `Quota` of one deployment. A request takes of one quota at a time."""

    def __init__(self, quotas: DeploymentQuotas, applied: AppliedLimits) -> None:
        self._quotas = quotas
        self._applied = applied
        self._suffix: Final = reservation_suffix()  # a request takes of several, one after the other

    async def take(self, exchange: Exchange) -> int | None:
        quotas, applied = self._quotas, self._applied
        if (taken := _TAKEN.get(exchange)) is not None:  # of a deployment whose stream broke
            taken.quota.settle(exchange, taken, NOTHING_USED)
        demand = demand_of(exchange, quotas.estimated_output) if applied.depend_on_size else NO_DEMAND
        reservation, decision = await quotas.reservations.reserve(exchange.id + self._suffix, applied.charges(demand))
        if decision.refused is None:
            _TAKEN.set(exchange, _Taken(self, reservation, len(exchange.attempts)))
            if exchange.stream and applied.depend_on_size:
                reserved = applied.reserved_output(reservation.charges, demand.prompt)
                when_it_grows(exchange, reserved, partial(self._reserve_more, reservation, demand.prompt))
            return None
        refusing = applied.all[decision.refused]
        if not refusing.shadow:  # either all limits of a deployment are shadows, or none
            return decision.wait
        quotas.shadowed[refusal_reason(refusing)] += 1
        logger.info(
            "request %s would not have been sent on: %s of %s", exchange.id, refusing.measure.name, refusing.limit.key
        )
        return None

    def _reserve_more(self, reservation: Reservation, prompt: int, output: int) -> None:
        more = self._applied.grown_costs(reservation.charges, prompt, output)
        self._quotas.reservations.adjust(reservation, more, debt=_DEBT)

    def failed(self, exchange: Exchange) -> None:
        taken = _TAKEN.get(exchange)
        if taken is not None:
            self.settle(exchange, taken, exchange.answer_usage or NOTHING_USED)

    def settle(self, exchange: Exchange, taken: _Taken, answer: TokenUsage) -> None:
        """A deployment may have been asked twice, or not at all. `answer` is what the last attempt has used."""
        del exchange.slots[_TAKEN]
        later = exchange.attempts[taken.attempts :]
        requests = sum(1 for _ in takewhile(lambda attempt: attempt.target is later[0].target, later))
        last = taken.attempts + requests
        used = answer if requests == len(later) else NOTHING_USED
        for spent in exchange.spent:
            if taken.attempts < spent.attempts <= last:
                used += spent.usage
        costs = self._applied.costs(requests, used.input_tokens + used.output_tokens, used.output_tokens)
        self._quotas.reservations.settle(taken.reservation, costs, debt=_DEBT)
