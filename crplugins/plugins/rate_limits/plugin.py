"""RateLimits: how much each key, team, model, address, end user or session may use in a time, and how much at once.

`rules.py` says which limits apply to a request, `responses.py` what the client sees of them, `levels.py` reads them for
dashboards, `address.py` finds the address of the client.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Final, NamedTuple, Self

from crplugins.core.bounded_map import BoundedMap
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, Slot
from crplugins.core.identity import Identities
from crplugins.core.outcome import ErrorType
from crplugins.core.plugin import Plugin
from crplugins.core.principal import MissingUsagePolicy, Principal
from crplugins.limits.limit import Decision, Reservation
from crplugins.limits.reservations import Reservations, reservation_suffix
from crplugins.limits.store import DEBT, LimitStore
from crplugins.metering.estimate import ESTIMATED_OUTPUT_TOKENS, NO_DEMAND, came_through, demand_of, usage_of_answer
from crplugins.metering.growth import when_it_grows
from crplugins.plugins.rate_limits.address import ClientAddresses
from crplugins.plugins.rate_limits.levels import LimitLevel, read_levels
from crplugins.plugins.rate_limits.request import WAITS, LimitedRequest, authenticate_again, show_position
from crplugins.plugins.rate_limits.responses import (
    LimitStatus,
    limit_reached,
    rate_limit_headers,
    refusal_reason,
    without_rate_limit_headers,
)
from crplugins.plugins.rate_limits.rules import (
    NO_LIMITS,
    NO_SESSION_LIMITS,
    AppliedLimit,
    AppliedLimits,
    LimitedModels,
    LimitRules,
    Occasion,
    applied_limits,
)

logger = logging.getLogger("crplugins.limits")


class _Move(NamedTuple):
    """A request is served by another model.

    Attributes:
        applied: the limits that count it from then on.
        reserved: what those of them have reserved that had not before; None if there are none.
    """

    applied: AppliedLimits
    reserved: LimitStatus | None


class RateLimits(Plugin):
    """Refuses requests over a limit with OpenAI's 429, and shows every client how much remains.

        RateLimits(LimitRules(per_key=Limits(requests_per_minute=60, tokens_per_minute=100_000)))

    Before it runs, a request reserves what it may take, atomically: of all its limits, or of none. A stream that grows
    beyond that reserves more while it runs. When it ends, however it ended, the real cost replaces the estimate. A
    request that a later plugin refuses takes nothing; one that fails at the provider counts as a request and takes no
    tokens.

    A limit is a level that drains (a leaky bucket), so that a changed limit applies at once to what is already used. In
    any period at most its burst plus its amount is admitted: twice the amount in the first minute and never again,
    unless `burst` is less. What an answer took beyond its reservation is repaid from the following time, up to
    `max_debt` times the amount of the limit.

    Place it inside ModelAliases, which sets the served model, and outside MissingUsage. Alone, in front of any app, it
    reads usage from the app's answers.

    Args:
        rules: limits in addition to those that keys have themselves. May be replaced while requests run.
        store: where levels are kept; None for the memory of this process.
        trusted_proxies: networks whose `x-forwarded-for` or `forwarded` is trusted.
        identities: where requests name their end user and their session.
        estimated_output_tokens: the expected length of an answer if the client sets no maximum.
        max_debt: how many times its amount a limit may be overdrawn by answers that took more than was reserved.
        missing_usage: the policy of MissingUsage: whether an answer without usage is estimated or free.
    """

    reads_body: bool = True
    reads_usage: bool = True

    def __init__(
        self,
        rules: LimitRules = LimitRules(),  # noqa: B008  # frozen
        *,
        store: LimitStore | Reservations | None = None,
        trusted_proxies: Iterable[str] = (),
        identities: Identities | None = None,
        estimated_output_tokens: int = ESTIMATED_OUTPUT_TOKENS,
        max_debt: float = DEBT,
        missing_usage: MissingUsagePolicy = "estimate",
    ) -> None:
        self.shadowed: Counter[ErrorType] = Counter()
        """How often a limit in shadow mode would have refused, by reason."""
        self.needs_principal = rules.limits_callers
        self.reservations: Final = Reservations.of(store)
        self._addresses: Final = ClientAddresses(trusted_proxies)
        self._identities: Final = Identities() if identities is None else identities
        self._lookup = self._lookup_by(rules)
        self._estimated_output: Final = estimated_output_tokens
        self._max_debt: Final = max_debt
        self._missing_usage: Final[MissingUsagePolicy] = missing_usage
        self._status: Final[Slot[LimitStatus]] = Slot("rate_limits.status")
        self._moves: Final[Slot[list[_Move]]] = Slot("rate_limits.moves")
        self._suffix: Final = reservation_suffix()

    @property
    def rules(self) -> LimitRules:
        return self._lookup.rules

    @rules.setter
    def rules(self, rules: LimitRules) -> None:
        """Other limits, from the next request on. What is used stays used."""
        seen, self._lookup = self._lookup.seen, self._lookup_by(rules)
        self._lookup.seen.update(seen)

    async def on_request(self, exchange: Exchange) -> None:
        applied = self._lookup.of(exchange, exchange.served_model or exchange.requested_model)
        if not applied.all:
            return
        exchange.timings.asked = exchange.clock()
        if (status := await self._reserved(exchange, applied, self._suffix)) is not None:
            self._status.set(exchange, status)

    async def _reserved(self, exchange: Exchange, applied: AppliedLimits, suffix: str) -> LimitStatus | None:
        """What is reserved of these limits; None if all of them refuse, as shadows. Raises for one that refuses."""
        demand = demand_of(exchange, self._estimated_output) if applied.depend_on_size else NO_DEMAND
        reservation_id, charges = exchange.id + suffix, applied.charges(demand)
        if self.reservations.queues.waiting:
            reservation, decision = Reservation(reservation_id, charges), None
        else:
            reservation, decision = await self.reservations.reserve(reservation_id, charges)
        if decision is None or decision.refused is not None:
            applied, reservation, decision = await self._admit(exchange, applied, reservation, decision)
            if not applied.all:
                return None
        status = LimitStatus(applied, reservation, decision.levels)
        if exchange.stream and applied.depend_on_size:
            reserved = applied.reserved_output(reservation.charges, demand.prompt)
            when_it_grows(exchange, reserved, partial(self._reserve_more, status, demand.prompt))
        return status

    async def moves_to(self, exchange: Exchange, model: str) -> bool:
        """Whether the limits of another model let the request through, which then counts for them.

        Those of the model before keep the request, which has failed there, and get its tokens back.
        """
        status, moves = self._status.get(exchange), self._moves.get(exchange) or []
        held = {each for reserved in self._all_reserved(exchange) for each in reserved.applied.all}
        applied, reserved = self._lookup.of(exchange, model), None
        more = AppliedLimits([each for each in applied.all if each not in held])
        if more.all:
            try:
                reserved = await self._reserved(exchange, more, f"{self._suffix}-{len(moves) + 1}")
            except GatewayError:
                exchange.slots.pop(self._status, None)
                if status is not None:  # the client is told of the limits that let it through
                    self._status.set(exchange, status)
                return False
        self._moves.set(exchange, [*moves, _Move(applied, reserved)])
        return True

    def _all_reserved(self, exchange: Exchange) -> list[LimitStatus]:
        found = [self._status.get(exchange), *(move.reserved for move in self._moves.get(exchange) or ())]
        return [status for status in found if status is not None and status.refused is None]

    async def _admit(
        self, exchange: Exchange, applied: AppliedLimits, reservation: Reservation, decision: Decision | None
    ) -> tuple[AppliedLimits, Reservation, Decision]:
        """What has become of a request that is not admitted at once. Raises `GatewayError` if it is refused."""
        shadowed = partial(self._note_shadow, exchange)
        request = LimitedRequest(exchange, self.reservations, reservation, applied, shadowed, self._estimated_output)
        if decision is not None and request.left_out(decision):
            decision = None
        decision = await self.reservations.queues.admit(request, decision, exchange.disconnected)
        if decision.refused is not None:
            status = LimitStatus(request.applied, request.reservation, decision.levels, decision.refused)
            self._status.set(exchange, status)
            raise limit_reached(status, decision.wait, exchange.requested_model)
        if WAITS in exchange.slots:
            await authenticate_again(exchange, request)
        return request.applied, request.reservation, decision

    def on_response(self, exchange: Exchange) -> None:
        headers = without_rate_limit_headers(exchange.response_headers)
        status = self._status.get(exchange)
        if status is not None:
            headers += rate_limit_headers(status, took=status.refused is None and came_through(exchange))
        exchange.response_headers = headers
        if WAITS in exchange.slots:
            show_position(exchange)

    def on_finish(self, exchange: Exchange) -> None:
        status, moves = self._status.get(exchange), self._moves.get(exchange)
        if moves is not None:
            for each in self._all_reserved(exchange):
                self._settle(exchange, each, moves[-1].applied)
        elif status is not None and status.refused is None:
            self._settle(exchange, status, status.applied)

    def _settle(self, exchange: Exchange, status: LimitStatus, serving: AppliedLimits) -> None:
        """`serving` are the limits that count what was used; those of a model that failed keep the request alone."""
        applied = status.applied
        if came_through(exchange):
            used = usage_of_answer(exchange, self._missing_usage)
            used = exchange.with_spent(used) if exchange.spent else used
            costs = applied.costs(1, used.input_tokens + used.output_tokens, used.output_tokens)
            if applied is not serving:
                only = applied.costs(1, 0, 0)
                costs = [costs[i] if each in serving.all else only[i] for i, each in enumerate(applied.all)]
        else:
            costs = applied.costs(0, 0, 0)
        self.reservations.settle(status.reservation, costs, debt=self._max_debt)

    def on_drain(self) -> None:
        self.reservations.queues.drain()

    def seen(self) -> list[Principal]:
        """The keys that have made a request recently."""
        return list(self._lookup.seen.values())

    async def levels_of(self, *principals: Principal) -> list[LimitLevel]:
        """The levels of the limits of keys and of their teams, each once. Raises `StoreUnavailable`."""
        return await read_levels(self.reservations, self.rules, principals)

    async def levels(self, principals: Iterable[Principal] = ()) -> list[LimitLevel]:
        """The same for these keys and for all that have made a request recently. Raises `StoreUnavailable`."""
        known = {**{principal.key_id: principal for principal in principals}, **self._lookup.seen}
        return await self.levels_of(*known.values())

    def take_over(self, previous: Self) -> None:
        self.shadowed = previous.shadowed
        self._lookup.seen.update(previous._lookup.seen)

    async def __aenter__(self) -> Self:
        await self.reservations.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.reservations.__aexit__(kind, error, traceback)

    def _reserve_more(self, status: LimitStatus, prompt: int, output: int) -> None:
        more = status.applied.grown_costs(status.reservation.charges, prompt, output)
        self.reservations.adjust(status.reservation, more, debt=self._max_debt)

    def _lookup_by(self, rules: LimitRules) -> "AppliedLimitsCache":
        return AppliedLimitsCache(rules, self._addresses, self._identities, self.reservations.now)

    def _note_shadow(self, exchange: Exchange, refusing: AppliedLimit) -> None:
        """In shadow mode a refusal is only logged and counted."""
        self.shadowed[refusal_reason(refusing)] += 1
        logger.info(
            "request %s would have been refused: %s of %s", exchange.id, refusing.measure.name, refusing.limit.key
        )


_NOTHING_DEPENDS: Final = Occasion()


class AppliedLimitsCache:
    """The limits of each caller on each occasion, made once: a principal is never changed, only replaced.

    Args:
        now: milliseconds since 1970.
    """

    def __init__(
        self, rules: LimitRules, addresses: ClientAddresses, identities: Identities, now: Callable[[], int]
    ) -> None:
        self.rules: Final = rules
        self.seen: Final[BoundedMap[str, Principal]] = BoundedMap()
        """Keys that have made a request, the most recent last."""
        self._models: Final = LimitedModels(rules)
        self._addresses: Final = addresses if rules.per_client_address != NO_LIMITS else None
        self._identities: Final = identities
        self._limits_users: Final = rules.per_user != NO_LIMITS
        self._limits_sessions: Final = rules.per_session != NO_SESSION_LIMITS
        self._now: Final = now
        self._cached: Final[BoundedMap[tuple[int, Occasion], tuple[Principal | None, AppliedLimits]]] = BoundedMap()
        self._told_of_nobody = not rules.limits_callers

    def of(self, exchange: Exchange, model: str | None) -> AppliedLimits:
        """Those of a request that `model` serves.

        Raises `GatewayError` 400 for a request that must name its end user or session and does not.
        """
        principal = exchange.principal
        occasion = self._occasion_of(exchange, model)
        key = (id(principal), occasion)
        cached = self._cached.get(key)
        if cached is not None and cached[0] is principal:
            return cached[1]
        applied = applied_limits(self.rules, principal, occasion)
        self._cached[key] = principal, applied
        if principal is None:
            self._tell_of_nobody(exchange)
        else:
            self.seen[principal.key_id] = principal
        return applied

    def _occasion_of(self, exchange: Exchange, model: str | None) -> Occasion:
        models = () if model is None else self._models.fitting(model)
        address = None if self._addresses is None else self._addresses.of(exchange.client, exchange.headers)
        user = self._identities.user_of(exchange) if self._limits_users else None
        session = self._identities.session_of(exchange) if self._limits_sessions else None
        if not models and address is None and user is None and session is None:
            return _NOTHING_DEPENDS
        session_end = 0 if session is None else self._identities.session_end(self._now())
        return Occasion(models, address, user, session, session_end)

    def _tell_of_nobody(self, exchange: Exchange) -> None:
        """Once: limits of keys and teams do nothing where no plugin outside says who calls."""
        if not self._told_of_nobody:
            self._told_of_nobody = True
            logger.warning(
                "request %s has no caller, so no limit of keys and teams applies to it: Auth or HostPrincipal must "
                "stand outside RateLimits",
                exchange.id,
            )
