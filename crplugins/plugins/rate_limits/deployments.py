"""DeploymentQuotas: how much a provider lets each deployment use, kept in the store of the limits."""

import logging
from collections import Counter
from functools import partial
from itertools import takewhile
from types import TracebackType
from typing import Final, NamedTuple, Self

import msgspec

from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, Slot
from crplugins.core.outcome import ErrorType
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Limits, MissingUsagePolicy
from crplugins.core.usage import TokenUsage
from crplugins.limits.adaptive import MOST, AdaptiveConcurrency
from crplugins.limits.applicant import Wait
from crplugins.limits.limit import Charge, Decision, Reservation
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
from crplugins.plugins.rate_limits.request import LimitedRequest, authenticate_again
from crplugins.plugins.rate_limits.responses import refusal_reason
from crplugins.plugins.rate_limits.rules import AppliedLimit, AppliedLimits, limits_of_deployment

logger = logging.getLogger("crplugins.limits")


_DEBT: Final = 1.0
"""A provider forgets sooner than we do what an answer took beyond its estimate. If it has not, it answers 429, and the
deployment cools down: it need not be passed over for an hour."""


class _Taken(NamedTuple):
    """What a request holds of one quota, until it is settled.

    Attributes:
        attempts: how many attempts the request had made before.
        sent_at: when it was sent on, by the exchange's clock.
        waited: the request has waited for it, and may take it once.
    """

    quota: "DeploymentQuota"
    reservation: Reservation
    attempts: int
    sent_at: float
    waited: bool


_CONGESTED: Final[frozenset[ErrorType]] = frozenset({"upstream_429", "upstream_timeout"})
"""Failures that say a deployment has more requests at once than it can take."""

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
        self.shadowed: Counter[ErrorType] = Counter()
        """How often a quota in shadow mode would have refused, by reason."""
        self.reservations: Final = Reservations.of(store)
        self.estimated_output: Final = estimated_output_tokens
        self._shadow: Final = shadow
        self._concurrency: Final[dict[tuple[str, int], AdaptiveConcurrency]] = {}
        self._missing_usage: Final[MissingUsagePolicy] = missing_usage

    def quota(self, account: str, limits: Limits, *, adaptive: bool = False) -> "DeploymentQuota":
        """The quota of the deployments with this `account`: they share what is used, in all processes of the store.

        Args:
            adaptive: how many requests run at once is found out by the answers, up to what `limits` say.
        """
        concurrency = None
        if adaptive:
            most = limits.max_parallel_requests or MOST
            concurrency = self._concurrency.setdefault((account, most), AdaptiveConcurrency(most))
        return DeploymentQuota(self, limits, account, shadow=self._shadow, concurrency=concurrency)

    def on_request(self, exchange: Exchange) -> None:
        """Does nothing: `on_finish` runs for plugins whose `on_request` has run."""

    def on_finish(self, exchange: Exchange) -> None:
        taken = _TAKEN.get(exchange)
        if taken is not None:
            taken.quota.settle(exchange, taken, usage_of_answer(exchange, self._missing_usage))

    def on_drain(self) -> None:
        self.reservations.queues.drain()

    def take_over(self, previous: Self) -> None:
        self.shadowed = previous.shadowed
        self._concurrency.update(previous._concurrency)

    async def __aenter__(self) -> Self:
        await self.reservations.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.reservations.__aexit__(kind, error, traceback)


class DeploymentQuota:
    """The `Quota` of one deployment. A request takes of one quota at a time.

    Args:
        concurrency: how many requests at once the deployment takes, if that is found out by its answers.
    """

    def __init__(
        self,
        quotas: DeploymentQuotas,
        limits: Limits,
        account: str,
        *,
        shadow: bool,
        concurrency: AdaptiveConcurrency | None = None,
    ) -> None:
        self._quotas = quotas
        self._limits, self._account, self._shadow = limits, account, shadow
        self._concurrency: Final = concurrency
        self._applied = limits_of_deployment(limits, account, shadow=shadow)
        self._suffix: Final = reservation_suffix()  # a request takes of several, one after the other

    async def take(self, exchange: Exchange) -> int | None:
        if (taken := _TAKEN.get(exchange)) is not None:
            if taken.waited and taken.quota is self:
                _TAKEN.set(exchange, taken._replace(waited=False, sent_at=exchange.clock()))
                return None
            taken.quota.settle(exchange, taken, NOTHING_USED)  # of a deployment whose stream broke
        quotas, applied = self._quotas, self.applied()
        asked, prompt = self._asked(exchange, applied)
        if quotas.reservations.queues.waiting:
            wait = quotas.reservations.queues.wait_behind(self._request(exchange, asked))
            if wait is not None:
                return wait
        reservation, decision = await quotas.reservations.reserve(asked.id, asked.charges)
        if decision.refused is None:
            self.hold(exchange, reservation, prompt)
            return None
        refusing = applied.all[decision.refused]
        if not refusing.shadow:  # either all limits of a deployment are shadows, or none
            return decision.wait
        quotas.shadowed[refusal_reason(refusing)] += 1
        logger.info(
            "request %s would not have been sent on: %s of %s", exchange.id, refusing.measure.name, refusing.limit.key
        )
        return None

    async def wait(self, exchange: Exchange) -> "WaitedFor | None":
        quotas, applied = self._quotas, self.applied()
        if all(each.queue is None for each in applied.all):
            return None
        asked, prompt = self._asked(exchange, applied)
        request = self._request(exchange, asked)
        decision = await quotas.reservations.queues.admit(request)
        return WaitedFor(self, exchange, request, prompt) if decision.refused is None else None

    def hold(self, exchange: Exchange, reservation: Reservation, prompt: int, *, waited: bool = False) -> None:
        """The request is sent on, with what is reserved for it."""
        applied = self._applied
        if self._concurrency is not None:
            self._concurrency.running += 1
        _TAKEN.set(exchange, _Taken(self, reservation, len(exchange.attempts), exchange.clock(), waited))
        if exchange.stream and applied.depend_on_size:
            reserved = applied.reserved_output(reservation.charges, prompt)
            when_it_grows(exchange, reserved, partial(self._reserve_more, reservation, prompt))

    def applied(self) -> AppliedLimits:
        """As they are now."""
        if self._concurrency is not None and self._limits.max_parallel_requests != self._concurrency.limit:
            self._limits = msgspec.structs.replace(self._limits, max_parallel_requests=self._concurrency.limit)
            self._applied = limits_of_deployment(self._limits, self._account, shadow=self._shadow)
        return self._applied

    def _asked(self, exchange: Exchange, applied: AppliedLimits) -> tuple[Reservation, int]:
        """What is to be reserved for a request, and the tokens of its prompt."""
        demand = demand_of(exchange, self._quotas.estimated_output) if applied.depend_on_size else NO_DEMAND
        return Reservation(exchange.id + self._suffix, applied.charges(demand)), demand.prompt

    def _request(self, exchange: Exchange, reservation: Reservation) -> "DeploymentRequest":
        return DeploymentRequest(self, exchange, self._quotas, reservation)

    def _reserve_more(self, reservation: Reservation, prompt: int, output: int) -> None:
        more = self._applied.grown_costs(reservation.charges, prompt, output)
        self._quotas.reservations.adjust(reservation, more, debt=_DEBT)

    def answered(self, exchange: Exchange) -> None:
        if self._concurrency is not None and (taken := _TAKEN.get(exchange)) is not None:
            self._concurrency.answered(taken.sent_at, exchange.clock(), stream=exchange.stream)

    def failed(self, exchange: Exchange, error: GatewayError) -> None:
        taken = _TAKEN.get(exchange)
        if taken is not None:
            if self._concurrency is not None and error.error_type in _CONGESTED:
                self._concurrency.refused(taken.sent_at, exchange.clock())
            self.settle(exchange, taken, exchange.answer_usage or NOTHING_USED)

    def settle(self, exchange: Exchange, taken: _Taken, answer: TokenUsage) -> None:
        """A deployment may have been asked twice, or not at all. `answer` is what the last attempt has used."""
        del exchange.slots[_TAKEN]
        if self._concurrency is not None:
            self._concurrency.running -= 1
        later = exchange.attempts[taken.attempts :]
        requests = sum(1 for _ in takewhile(lambda attempt: attempt.target is later[0].target, later))
        last = taken.attempts + requests
        used = answer if requests == len(later) else NOTHING_USED
        for spent in exchange.spent:
            if taken.attempts < spent.attempts <= last:
                used += spent.usage
        costs = self._applied.costs(requests, used.input_tokens + used.output_tokens, used.output_tokens)
        self._quotas.reservations.settle(taken.reservation, costs, debt=_DEBT)


class DeploymentRequest(LimitedRequest):
    """A request that waits for the quota of a deployment, perhaps for those of others at the same time."""

    def __init__(
        self, quota: DeploymentQuota, exchange: Exchange, quotas: DeploymentQuotas, reservation: Reservation
    ) -> None:
        applied = quota.applied()
        super().__init__(exchange, quotas.reservations, reservation, applied, _no_shadow, quotas.estimated_output)
        self._quota: Final = quota

    async def attempt(self) -> Decision:
        self.applied = self._quota.applied()
        charges = zip(self.applied.all, self.reservation.charges, strict=True)
        current = tuple([Charge(each.limit, charge.cost) for each, charge in charges])
        self.reservation = Reservation(self.reservation.id, current)
        return await super().attempt()

    def has_waited(self, wait: Wait) -> None:
        """Not of one that waits no longer because another deployment is free."""
        if wait.end != "left":
            super().has_waited(wait)


class WaitedFor:
    """A `Turn` of one deployment."""

    def __init__(self, quota: DeploymentQuota, exchange: Exchange, request: DeploymentRequest, prompt: int) -> None:
        self._quota, self._exchange, self._request, self._prompt = quota, exchange, request, prompt

    async def accept(self) -> None:
        await authenticate_again(self._exchange, self._request)
        self._quota.hold(self._exchange, self._request.reservation, self._prompt, waited=True)

    def give_back(self) -> None:
        self._request.withdraw()


def _no_shadow(_refusing: AppliedLimit) -> None:
    """Nobody waits for a quota in shadow mode."""
