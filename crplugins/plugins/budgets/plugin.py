"""Budgets: how much money each key and team may spend in a day, week, month or in all."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType, TracebackType
from typing import Final, NamedTuple, Self

from crplugins.core.bounded_map import Latest
from crplugins.core.errors import DO_NOT_RETRY, GatewayError
from crplugins.core.exchange import Exchange, Slot
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Budget, MissingUsagePolicy, Principal
from crplugins.core.usage import Price, TokenUsage
from crplugins.limits.limit import Charge, Decision, Reservation
from crplugins.limits.reservations import Reservations, reservation_suffix
from crplugins.limits.store import LimitStore
from crplugins.metering.estimate import ESTIMATED_OUTPUT_TOKENS, Demand, came_through, demand_of, usage_of
from crplugins.plugins.budgets.seeding import RECONCILE_SECONDS, Seeding, Spent
from crplugins.plugins.budgets.windows import BudgetState, BudgetWindow, BudgetWindows, budget_state, describe


def estimated_cost(price: Price | None, demand: Demand, amount: int) -> int:
    """What to reserve of a budget of `amount`; 0 where nobody knows the price.

    A request that only our own guess of its answer makes dearer than the budget takes all of it.
    """
    if price is None:
        return 0
    whole = price.micro_usd(TokenUsage(demand.prompt, demand.output))
    if demand.told or whole <= amount:
        return whole
    return max(price.micro_usd(TokenUsage(demand.prompt)), amount)


def real_cost(exchange: Exchange, expected: Price | None, missing_usage: MissingUsagePolicy) -> int:
    """As the usage record has it; by the `expected` price where the handler told none."""
    price = exchange.price or expected
    return 0 if price is None else price.micro_usd(usage_of(exchange, missing_usage))


__all__ = ["WARN_AT", "BudgetState", "Budgets", "Spent"]

WARN_AT: Final = 0.8

logger = logging.getLogger("crplugins.budgets")


class _Held(NamedTuple):
    """`price` is what the estimate was made with; None where nobody knows it."""

    reservation: Reservation
    price: Price | None


class Budgets(Plugin):
    """Refuses who has spent it all with OpenAI's 429 `insufficient_quota`, which SDKs do not try again.

    A request reserves what it may cost, and in the end stands with what it did cost, as its usage record has it. So
    requests at the same time cannot spend the same money. Where a model's price is unknown the request costs nothing
    until somebody knows, and is still refused when nothing is left.

    Stands inside Auth and ModelAliases and outside MissingUsage.

    Args:
        per_key: of each key without a budget of its own; None for no such limit.
        per_team: of the keys of a team together.
        prices: the price of a model by the name it is served under, else asked for by.
        spent: what the ledger has of a key or team; None where there is no ledger, and a restart forgets.
        warn_at: share of a budget from which on each one is logged, once in its period.
        store: where use is kept: in this process, unless a store says otherwise. May be shared with RateLimits.
        estimated_output_tokens, missing_usage: as RateLimits has them.
        reconcile_seconds: how often a budget in use is compared with the ledger.
        clock: monotonic seconds.
    """

    reads_body: bool = True
    reads_usage: bool = True

    def __init__(
        self,
        per_key: Budget | None = None,
        per_team: Mapping[str, Budget] = MappingProxyType({}),
        *,
        prices: Callable[[str], Price | None] | None = None,
        spent: Spent | None = None,
        warn_at: float = WARN_AT,
        store: LimitStore | Reservations | None = None,
        estimated_output_tokens: int = ESTIMATED_OUTPUT_TOKENS,
        missing_usage: MissingUsagePolicy = "estimate",
        reconcile_seconds: float = RECONCILE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.reservations: Final = Reservations.of(store)
        self._windows: Final = BudgetWindows(per_key, per_team, warn_at)
        self._seeding: Final = (
            None if spent is None else Seeding(self.reservations.store, spent, reconcile_seconds, clock)
        )
        self._prices: Final = prices
        self._estimated_output: Final = estimated_output_tokens
        self._missing_usage: Final[MissingUsagePolicy] = missing_usage
        self._warned: Final[Latest[str, bool]] = Latest()
        self._held: Final[Slot[_Held]] = Slot("budgets.held")
        self._suffix: Final = reservation_suffix()

    async def on_request(self, exchange: Exchange) -> None:
        principal = exchange.principal
        windows = () if principal is None else self._windows.of(principal, self.reservations.now())
        if not windows:
            return
        if self._seeding is not None:
            await self._seeding.compare(windows)
        demand = demand_of(exchange, self._estimated_output)
        price = self._price(exchange)
        charges = [Charge(w.limit, estimated_cost(price, demand, w.limit.amount)) for w in windows]
        reservation, decision = await self.reservations.reserve(exchange.id + self._suffix, tuple(charges))
        self._warn(windows, decision)
        if decision.refused is not None:
            raise quota_exceeded()
        self._held.set(exchange, _Held(reservation, price))

    def on_finish(self, exchange: Exchange) -> None:
        held = self._held.get(exchange)
        if held is not None:
            cost = real_cost(exchange, held.price, self._missing_usage) if came_through(exchange) else 0
            self.reservations.settle(held.reservation, [cost] * len(held.reservation.charges))

    async def states_of(self, principal: Principal) -> list[BudgetState]:
        """The budgets of a key and of its team. Raises `StoreUnavailable`."""
        return await self._read(self._windows.of(principal, self.reservations.now()))

    async def states(self, principals: Iterable[Principal] = ()) -> list[BudgetState]:
        """The same for these keys and for all that have made a request lately. Raises `StoreUnavailable`."""
        now = self.reservations.now()
        known = {**{principal.key_id: principal for principal in principals}, **self._windows.seen}
        windows = [window for principal in known.values() for window in self._windows.of(principal, now)]
        return await self._read({window.limit.key: window for window in windows}.values())

    async def __aenter__(self) -> Self:
        await self.reservations.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._seeding is not None:
            await self._seeding.close()
        await self.reservations.__aexit__(kind, error, traceback)

    def _price(self, exchange: Exchange) -> Price | None:
        model = exchange.served_model or exchange.requested_model
        return None if self._prices is None or model is None else self._prices(model)

    def _warn(self, windows: Iterable[BudgetWindow], decision: Decision) -> None:
        for window, level in zip(windows, decision.levels, strict=True):
            if level.used >= window.warn_at and window.limit.key not in self._warned:
                self._warned[window.limit.key] = True
                logger.warning("%s", describe(window, level.used))

    async def _read(self, windows: Iterable[BudgetWindow]) -> list[BudgetState]:
        windows = list(windows)
        if self._seeding is not None:
            await self._seeding.compare(windows)
        levels = await self.reservations.levels([window.limit for window in windows])
        return [budget_state(window, level) for window, level in zip(windows, levels, strict=True)]


def quota_exceeded() -> GatewayError:
    """429 for a budget that is spent. No time to retry at: it may be weeks, which some clients would sleep through."""
    return GatewayError(
        429,
        "You exceeded your current quota, please check your plan and billing details. For more information on this "
        "error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.",
        type="insufficient_quota",
        code="insufficient_quota",
        headers=[DO_NOT_RETRY],
        error_type="budget_exceeded",
    )
