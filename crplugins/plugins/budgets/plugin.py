"""Budgets: how much money each key and team may spend per day, week or month, or in total.

`windows.py` makes of a budget the window of the current period; `seeding.py` compares windows with the ledger.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType, TracebackType
from typing import Final, NamedTuple, Self

from crplugins.core.bounded_map import BoundedMap
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
from crplugins.plugins.budgets.windows import BudgetState, BudgetWindow, BudgetWindows, budget_state, format_spending

__all__ = ["WARN_AT", "BudgetState", "Budgets", "Spent"]

WARN_AT: Final = 0.8

logger = logging.getLogger("crplugins.budgets")


class _Reserved(NamedTuple):
    """What a request has reserved. `price` is that of the estimate; None if it is unknown."""

    reservation: Reservation
    price: Price | None


class Budgets(Plugin):
    """Refuses a caller whose budget is spent with OpenAI's 429 `insufficient_quota`, which SDKs do not retry.

    A request reserves its estimated cost, and at its end the real cost of its usage record replaces the estimate, so
    that concurrent requests cannot spend the same money. While the price of a model is unknown, its requests cost
    nothing, and are still refused when nothing remains.

    Place it inside Auth and ModelAliases and outside MissingUsage.

    Args:
        per_key: the budget of each key without its own; None for no limit.
        per_team: budgets of the keys of a team together.
        prices: the price of a model by its served name, else by its requested name.
        spent: what a key or team has spent according to the ledger; None without a ledger: a restart then forgets it.
        warn_at: share of a budget at which a warning is logged, once per period.
        store: where use is kept; None for the memory of this process. May be shared with RateLimits.
        estimated_output_tokens, missing_usage: as in RateLimits.
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
        self._warned: Final[BoundedMap[str, bool]] = BoundedMap()
        self._reserved: Final[Slot[_Reserved]] = Slot("budgets.reserved")
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
        self._reserved.set(exchange, _Reserved(reservation, price))

    def on_finish(self, exchange: Exchange) -> None:
        reserved = self._reserved.get(exchange)
        if reserved is not None:
            cost = real_cost(exchange, reserved.price, self._missing_usage) if came_through(exchange) else 0
            self.reservations.settle(reserved.reservation, [cost] * len(reserved.reservation.charges))

    async def states_of(self, principal: Principal) -> list[BudgetState]:
        """The budgets of a key and of its team. Raises `StoreUnavailable`."""
        return await self._read(self._windows.of(principal, self.reservations.now()))

    async def states(self, principals: Iterable[Principal] = ()) -> list[BudgetState]:
        """The same for these keys and for all that have made a request recently. Raises `StoreUnavailable`."""
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
                logger.warning("%s", format_spending(window, level.used))

    async def _read(self, windows: Iterable[BudgetWindow]) -> list[BudgetState]:
        windows = list(windows)
        if self._seeding is not None:
            await self._seeding.compare(windows)
        levels = await self.reservations.levels([window.limit for window in windows])
        return [budget_state(window, level) for window, level in zip(windows, levels, strict=True)]


def estimated_cost(price: Price | None, demand: Demand, amount: int) -> int:
    """What to reserve of a budget of `amount`, in micro-USD; 0 if the price is unknown.

    A request whose cost exceeds the budget only by our estimate of its answer reserves the whole budget.
    """
    if price is None:
        return 0
    whole = price.micro_usd(TokenUsage(demand.prompt, demand.output))
    if demand.limited_by_client or whole <= amount:
        return whole
    return max(price.micro_usd(TokenUsage(demand.prompt)), amount)


def real_cost(exchange: Exchange, expected: Price | None, missing_usage: MissingUsagePolicy) -> int:
    """The cost in the usage record, in micro-USD; by the `expected` price if the handler gave none.

    Where no price is known, the provider's own bill is what a budget pays.
    """
    price = exchange.price or expected
    if price is None:
        return exchange.provider_cost_micro_usd or 0
    return exchange.cost_at(price, usage_of(exchange, missing_usage))


def quota_exceeded() -> GatewayError:
    """429 for a budget that is spent. Without retry-after: it may be weeks, and some clients would sleep that long."""
    return GatewayError(
        429,
        "You exceeded your current quota, please check your plan and billing details. For more information on this "
        "error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.",
        type="insufficient_quota",
        code="insufficient_quota",
        headers=[DO_NOT_RETRY],
        error_type="budget_exceeded",
    )
