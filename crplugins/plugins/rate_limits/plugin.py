"""RateLimits: how much each key, team, model or address may use in a time, and how much at once."""

import logging
from collections import Counter
from collections.abc import Iterable
from types import TracebackType
from typing import Final, Self

from crplugins.core.bounded_map import Latest
from crplugins.core.exchange import Exchange, Slot
from crplugins.core.outcome import ErrorType
from crplugins.core.plugin import Plugin
from crplugins.core.principal import MissingUsagePolicy, Principal
from crplugins.limits.limit import Decision
from crplugins.limits.reservations import Reservations, reservation_suffix
from crplugins.limits.store import LimitStore
from crplugins.metering.estimate import ESTIMATED_OUTPUT_TOKENS, NO_DEMAND, came_through, demand_of, usage_of
from crplugins.plugins.rate_limits.address import ClientAddresses
from crplugins.plugins.rate_limits.answers import (
    Standing,
    limit_reached,
    rate_limit_headers,
    refusal_reason,
    without_foreign,
)
from crplugins.plugins.rate_limits.levels import LimitLevel, read_levels
from crplugins.plugins.rate_limits.rules import NO_LIMITS, Bounds, LimitRules, bounds_for


class BoundsLookup:
    """Remembers what it has found: a principal is never changed, only replaced."""

    def __init__(self, rules: LimitRules, addresses: ClientAddresses) -> None:
        self.rules: Final = rules
        self.seen: Final[Latest[str, Principal]] = Latest()
        """Keys that have made a request, the latest last."""
        self._addresses: Final = addresses if rules.per_client_address != NO_LIMITS else None
        self._kept: Final[Latest[tuple[int, str | None, str | None], tuple[Principal | None, Bounds]]] = Latest()

    def of(self, exchange: Exchange) -> Bounds:
        principal = exchange.principal
        model = exchange.served_model or exchange.requested_model
        if model is not None and not self.rules.distinguishes(model):
            model = None
        address = None if self._addresses is None else self._addresses.of(exchange.client, exchange.headers)
        whose = (id(principal), model, address)
        kept = self._kept.get(whose)
        if kept is not None and kept[0] is principal:
            return kept[1]
        bounds = bounds_for(self.rules, principal, model, address)
        self._kept[whose] = principal, bounds
        if principal is not None:
            self.seen[principal.key_id] = principal
        return bounds


logger = logging.getLogger("crplugins.limits")


class RateLimits(Plugin):
    """Refuses what is too much with OpenAI's 429, and tells every client how much is left.

        RateLimits(LimitRules(per_key=Limits(requests_per_minute=60, tokens_per_minute=100_000)))

    A request reserves what it may take before the work begins, in one step: of all its limits, or of none. When it is
    over, however it ended, what it really took stands in place of the estimate. A request refused further in takes
    nothing; one that the provider fails takes itself, and no tokens.

    A limit is kept as a level that drains, so that a changed one holds at once for what is already used. In any period
    at most its burst and its amount are let through, so twice the amount in the first minute and never again, unless
    `burst` is less.

    Stands inside ModelAliases, which tells the serving model, and outside MissingUsage. Alone, in front of any app, it
    reads usage from the app's answers.

    Args:
        rules: limits besides those that keys bring with them. May be replaced while requests run.
        store: where levels are kept: in this process, unless a store says otherwise.
        trusted_proxies: networks whose `x-forwarded-for` is believed.
        estimated_output_tokens: how long an answer is taken to be where the client sets no bound.
        missing_usage: as MissingUsage has it: whether an answer without usage is estimated here or free.
    """

    reads_body: bool = True
    reads_usage: bool = True

    def __init__(
        self,
        rules: LimitRules = LimitRules(),  # noqa: B008  # frozen
        *,
        store: LimitStore | Reservations | None = None,
        trusted_proxies: Iterable[str] = (),
        estimated_output_tokens: int = ESTIMATED_OUTPUT_TOKENS,
        missing_usage: MissingUsagePolicy = "estimate",
    ) -> None:
        self.shadowed: Final[Counter[ErrorType]] = Counter()
        """How often a shadow would have refused, by reason."""
        self.reservations: Final = Reservations.of(store)
        self._addresses: Final = ClientAddresses(trusted_proxies)
        self._lookup = BoundsLookup(rules, self._addresses)
        self._estimated_output: Final = estimated_output_tokens
        self._missing_usage: Final[MissingUsagePolicy] = missing_usage
        self._standing: Final[Slot[Standing]] = Slot("rate_limits.standing")
        self._suffix: Final = reservation_suffix()

    @property
    def rules(self) -> LimitRules:
        return self._lookup.rules

    @rules.setter
    def rules(self, rules: LimitRules) -> None:
        """Other limits from the next request on. What is used stays used."""
        seen, self._lookup = self._lookup.seen, BoundsLookup(rules, self._addresses)
        self._lookup.seen.update(seen)

    async def on_request(self, exchange: Exchange) -> None:
        bounds = self._lookup.of(exchange)
        if not bounds.all:
            return
        demand = demand_of(exchange, self._estimated_output) if bounds.weighs else NO_DEMAND
        reservation, decision = await self.reservations.reserve(exchange.id + self._suffix, bounds.charges(demand))
        while (index := decision.refused) is not None:
            refused = Standing(bounds, reservation, decision.levels, index)
            self._refuse(exchange, refused, decision)
            bounds, charges = bounds.without(index), reservation.charges
            if not bounds.all:
                return
            others = (*charges[:index], *charges[index + 1 :])
            reservation, decision = await self.reservations.reserve(reservation.id, others)
        self._standing.set(exchange, Standing(bounds, reservation, decision.levels))

    def on_response(self, exchange: Exchange) -> None:
        headers = without_foreign(exchange.response_headers)
        standing = self._standing.get(exchange)
        if standing is not None:
            headers += rate_limit_headers(standing, took=standing.refused is None and came_through(exchange))
        exchange.response_headers = headers

    def on_finish(self, exchange: Exchange) -> None:
        standing = self._standing.get(exchange)
        if standing is None or standing.refused is not None:
            return
        if came_through(exchange):
            used = usage_of(exchange, self._missing_usage)
            costs = standing.bounds.costs(1, used.input_tokens + used.output_tokens, used.output_tokens)
        else:
            costs = standing.bounds.costs(0, 0, 0)
        self.reservations.settle(standing.reservation, costs)

    def seen(self) -> list[Principal]:
        """The keys that have made a request lately."""
        return list(self._lookup.seen.values())

    async def levels_of(self, principal: Principal) -> list[LimitLevel]:
        """How the limits of a key and of its team stand. Raises `StoreUnavailable`."""
        return await read_levels(self.reservations, self.rules, [principal])

    async def levels(self, principals: Iterable[Principal] = ()) -> list[LimitLevel]:
        """The same for these keys and for all that have made a request lately. Raises `StoreUnavailable`."""
        known = {**{principal.key_id: principal for principal in principals}, **self._lookup.seen}
        return await read_levels(self.reservations, self.rules, known.values())

    async def __aenter__(self) -> Self:
        await self.reservations.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.reservations.__aexit__(kind, error, traceback)

    def _refuse(self, exchange: Exchange, standing: Standing, decision: Decision) -> None:
        """Raise for the limit that refused; only note it if it is a shadow, and the rest is to be asked again."""
        assert standing.refused is not None
        bound = standing.bounds.all[standing.refused]
        if not bound.shadow:
            self._standing.set(exchange, standing)
            raise limit_reached(standing, decision.wait, exchange.requested_model)
        self.shadowed[refusal_reason(bound)] += 1
        logger.info("request %s would have been refused: %s of %s", exchange.id, bound.measure.name, bound.limit.key)
