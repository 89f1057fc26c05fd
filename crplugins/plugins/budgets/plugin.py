"""Budgets: how much money each key, team and end user may spend per day, week or month, and each session in all.

`windows.py` makes of a budget the window of the current period; `costs.py` says what a request takes of it;
`seeding.py` compares windows with the ledger.
"""

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Final, Literal, NamedTuple, Self

from crplugins.core.bounded_map import BoundedMap
from crplugins.core.errors import DO_NOT_RETRY, SESSION_LIMIT, GatewayError
from crplugins.core.exchange import Exchange, Slot
from crplugins.core.identity import Identities
from crplugins.core.outcome import ErrorType
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Budget, MissingUsagePolicy, Principal
from crplugins.core.redaction import one_line
from crplugins.core.usage import Price, usd
from crplugins.limits.arithmetic import check_window
from crplugins.limits.limit import Charge, Decision, Reservation
from crplugins.limits.reservations import Reservations, reservation_suffix
from crplugins.limits.store import LimitStore
from crplugins.metering.estimate import ESTIMATED_OUTPUT_TOKENS, came_through, demand_of
from crplugins.metering.growth import when_it_grows
from crplugins.plugins.budgets.costs import ExpectedCost, is_free, real_cost
from crplugins.plugins.budgets.seeding import RECONCILE_SECONDS, Seeding, Spent
from crplugins.plugins.budgets.watch import BudgetWatch
from crplugins.plugins.budgets.windows import (
    BudgetState,
    BudgetWindow,
    BudgetWindows,
    IdentityBudgets,
    budget_state,
    format_spending,
)

__all__ = ["WARN_AT", "BudgetState", "Budgets", "Spent"]

WARN_AT: Final = 0.8

logger = logging.getLogger("crplugins.budgets")


class _Reserved(NamedTuple):
    """What a request has reserved.

    Attributes:
        price: that of the estimate; None if it is unknown.
        enforced: whether any of the budgets is no shadow.
        windows: those that it is reserved of.
    """

    reservation: Reservation
    price: Price | None
    enforced: bool
    windows: tuple[BudgetWindow, ...]


class Budgets(Plugin):
    """Refuses a caller whose budget is spent with OpenAI's 429 `insufficient_quota`, which SDKs do not retry.

    A request reserves its estimated cost, and at its end the real cost of its usage record replaces the estimate, so
    that concurrent requests cannot spend the same money. A model that costs nothing is answered when a budget is spent.

    A budget cannot count a model whose price is unknown: a request for one is refused with 400. With
    `unknown_price="allow"` it costs nothing, and is still refused when nothing remains.

    Place it inside Auth and ModelAliases and outside MissingUsage.

    Args:
        per_key: the budget of each key without its own; None for no limit.
        per_team: budgets of the keys of a team together.
        per_user: the budget of each end user of a key.
        per_session: the budget of each session of a key, whatever its period; for as long as the session is remembered.
        identities: where requests name their end user and their session.
        prices: the price of a model by its served name, else by its requested name; None if it is unknown.
        serves: whether there is a model of a name; one that there is not has no price, and is left to the app to
            refuse. None where only the app knows.
        unknown_price: what happens to a request under a budget for a model whose price is unknown.
        warnings: what to log at the start; called once everything that opens before this plugin has.
        spent: what a key or team has spent according to the ledger; None without a ledger: a restart then forgets it.
        warn_at: share of a budget at which a warning is logged, once per period.
        shadow: what any budget would refuse is only counted and logged.
        store: where use is kept; None for the memory of this process. May be shared with RateLimits.
        estimated_output_tokens, missing_usage: as in RateLimits.
        reconcile_seconds: how often a budget in use is compared with the ledger.
        watch: is told which budgets were used.
        clock: monotonic seconds.
    """

    reads_body: bool = True
    reads_usage: bool = True

    def __init__(
        self,
        per_key: Budget | None = None,
        per_team: Mapping[str, Budget] = MappingProxyType({}),
        *,
        per_user: Budget | None = None,
        per_session: Budget | None = None,
        identities: Identities | None = None,
        prices: Callable[[str], Price | None] | None = None,
        serves: Callable[[str], bool] | None = None,
        unknown_price: Literal["refuse", "allow"] = "refuse",
        warnings: Callable[[], Iterable[str]] = tuple,
        spent: Spent | None = None,
        warn_at: float = WARN_AT,
        shadow: bool = False,
        store: LimitStore | Reservations | None = None,
        estimated_output_tokens: int = ESTIMATED_OUTPUT_TOKENS,
        missing_usage: MissingUsagePolicy = "estimate",
        reconcile_seconds: float = RECONCILE_SECONDS,
        watch: BudgetWatch | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.shadowed: Counter[ErrorType] = Counter()
        """How many requests the budgets in shadow mode would have refused, by reason."""
        self.reservations: Final = Reservations.of(store)
        self.needs_principal = per_key is not None or bool(per_team)
        self._windows: Final = BudgetWindows(per_key, per_team, warn_at, shadow=shadow)
        self._identity_budgets: Final = IdentityBudgets(
            per_user, per_session, Identities() if identities is None else identities, shadow=shadow
        )
        self._seeding: Final = (
            None if spent is None else Seeding(self.reservations.store, spent, reconcile_seconds, clock)
        )
        self._prices: Final = prices
        self._serves: Final = serves
        self._refuses_unknown: Final = unknown_price == "refuse"
        self._warnings: Final = warnings
        self._estimated_output: Final = estimated_output_tokens
        self._missing_usage: Final[MissingUsagePolicy] = missing_usage
        self._watch: Final = watch
        self._warned: Final[BoundedMap[str, bool]] = BoundedMap()
        self._warned_unpriced: Final[BoundedMap[str, bool]] = BoundedMap()
        self._reserved: Final[Slot[_Reserved]] = Slot("budgets.reserved")
        self._suffix: Final = reservation_suffix()

    def on_request(self, exchange: Exchange) -> Awaitable[None] | None:
        principal = exchange.principal
        windows = () if principal is None else self._windows.of(principal, self.reservations.now())
        if self._identity_budgets.any:
            windows += self._identity_budgets.of(exchange, self.reservations.now())
        return self._reserve(exchange, windows) if windows else None

    async def _reserve(self, exchange: Exchange, windows: tuple[BudgetWindow, ...]) -> None:
        if exchange.timings.asked is None:
            exchange.timings.asked = exchange.clock()
        model = exchange.served_model or exchange.requested_model or ""
        price = None if self._prices is None else self._prices(model)
        if price is None:
            self._price_unknown(exchange, model, windows)
        if self._seeding is not None:
            await self._seeding.compare(windows)
        demand = demand_of(exchange, self._estimated_output)
        expected = None if price is None else ExpectedCost(exchange, price)
        free = price is not None and not (price.input or price.output) and is_free(price)
        charges, shadows = [], 0
        for window in windows:
            cost = 0 if expected is None else expected.to_reserve(demand, window.limit.amount)
            charges.append(Charge(window.unlimited if free or window.shadow else window.limit, cost))
            shadows += window.shadow
        reservation, decision = await self.reservations.reserve(exchange.id + self._suffix, tuple(charges))
        self._warn(windows, decision)
        if decision.refused is not None:
            raise self._refusal(windows[decision.refused], decision.levels[decision.refused].used)
        if shadows and not free:
            self._note_shadows(exchange, windows, charges, decision)
        self._reserved.set(exchange, _Reserved(reservation, price, enforced=shadows < len(windows), windows=windows))
        if expected is not None and not free:
            when_it_grows(exchange, demand.output, partial(self._reserve_more, reservation, expected, demand.prompt))

    def _refusal(self, window: BudgetWindow, spent: int) -> GatewayError:
        if self._watch is not None:
            self._watch.note((window,), refused_at=spent)
        return _refusal(window, spent)

    def permits(self, exchange: Exchange, model: str) -> bool:
        """Whether the request may be served by another model, what that costs being reserved. It may not by one that no
        budget can count, where such models are refused.
        """
        reserved = self._reserved.get(exchange)
        if reserved is None:
            return True
        price = None if self._prices is None else self._prices(model)
        if price is None:
            return not (self._refuses_unknown and reserved.enforced)
        demand = demand_of(exchange, self._estimated_output)
        self._reserve_more(reserved.reservation, ExpectedCost(exchange, price), demand.prompt, demand.output)
        return True

    def on_finish(self, exchange: Exchange) -> None:
        reserved = self._reserved.get(exchange)
        if reserved is not None:
            cost = real_cost(exchange, reserved.price, self._missing_usage) if came_through(exchange) else 0
            self.reservations.settle(reserved.reservation, [cost] * len(reserved.reservation.charges))
            if self._watch is not None:
                self._watch.note(reserved.windows)

    def seen(self) -> list[Principal]:
        """The keys that have made a request recently."""
        return list(self._windows.seen.values())

    async def states_of(self, *principals: Principal) -> list[BudgetState]:
        """The budgets of keys and of their teams, each once. Raises `StoreUnavailable`."""
        now = self.reservations.now()
        windows = [window for principal in principals for window in self._windows.of(principal, now)]
        return await self._read({window.limit.key: window for window in windows}.values())

    async def states(self, principals: Iterable[Principal] = ()) -> list[BudgetState]:
        """The same for these keys and for all that have made a request recently. Raises `StoreUnavailable`."""
        known = {**{principal.key_id: principal for principal in principals}, **self._windows.seen}
        return await self.states_of(*known.values())

    def take_over(self, previous: Self) -> None:
        self.shadowed = previous.shadowed
        self._warned.update(previous._warned)
        self._windows.seen.update(previous._windows.seen)
        if self._seeding is not None and previous._seeding is not None:
            self._seeding.take_over(previous._seeding)

    async def __aenter__(self) -> Self:
        for warning in self._warnings():
            logger.warning("%s", warning)
        await self.reservations.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._seeding is not None:
            await self._seeding.close()
        await self.reservations.__aexit__(kind, error, traceback)

    def _reserve_more(self, reservation: Reservation, expected: ExpectedCost, prompt: int, output: int) -> None:
        cost = expected.of(prompt, output)
        self.reservations.adjust(reservation, [max(charge.cost, cost) for charge in reservation.charges])

    def _price_unknown(self, exchange: Exchange, model: str, windows: Sequence[BudgetWindow]) -> None:
        """Refuse a request that no budget can count; or note it, where that is allowed or all budgets are shadows."""
        if model and self._serves is not None and not self._serves(model):
            return  # nobody will answer it
        refused = self._refuses_unknown and not all(window.shadow for window in windows)
        if model not in self._warned_unpriced:
            self._warned_unpriced[model] = True
            then = "a request under a budget is refused" if refused else "no budget counts its requests"
            shown = one_line(model)
            logger.warning("the price of the model '%s' is unknown, and %s; give it in model_info", shown, then)
        if refused:
            raise unknown_price(exchange.requested_model or model)
        if self._refuses_unknown:
            self._shadowed(exchange, "invalid_request", "of an unknown price")

    def _note_shadows(
        self, exchange: Exchange, windows: Sequence[BudgetWindow], charges: Sequence[Charge], decision: Decision
    ) -> None:
        """Log and count a request that a budget in shadow mode would have refused."""
        now = self.reservations.now()
        spent = [
            window.limit.key
            for window, charge, level in zip(windows, charges, decision.levels, strict=True)
            if window.shadow and check_window(window.limit, charge.cost, level.used, now)[0]
        ]
        if spent:
            self._shadowed(exchange, "budget_exceeded", ", ".join(spent))

    def _shadowed(self, exchange: Exchange, reason: ErrorType, why: str) -> None:
        self.shadowed[reason] += 1
        logger.info("request %s would have been refused: %s %s", exchange.id, reason, why)

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


def quota_exceeded(limit: str) -> GatewayError:
    """429 for a budget that is spent. Without retry-after: it may be weeks, and some clients would sleep that long."""
    return GatewayError(
        429,
        "You exceeded your current quota, please check your plan and billing details. For more information on this "
        "error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.",
        type="insufficient_quota",
        code="insufficient_quota",
        headers=[DO_NOT_RETRY],
        error_type="budget_exceeded",
        limit=limit,
    )


def _refusal(window: BudgetWindow, spent: int) -> GatewayError:
    if window.scope == "session":
        return session_budget_exceeded(window.limit.amount, spent, "session budget")
    name = f"{window.scope} budget per {window.period}"
    return user_budget_exceeded(name) if window.scope == "user" else quota_exceeded(name)


def user_budget_exceeded(limit: str) -> GatewayError:
    """429 for the budget of an end user. The code tells an app that its other users may go on."""
    return GatewayError(
        429,
        "This user has spent the budget of the current period.",
        type="insufficient_quota",
        code="user_budget_exceeded",
        headers=[DO_NOT_RETRY],
        error_type="budget_exceeded",
        limit=limit,
    )


def session_budget_exceeded(amount: int, spent: int, limit: str) -> GatewayError:
    """403, because clients repeat a 429 of their own accord, and no waiting helps."""
    return GatewayError(
        403,
        f"This session has reached its budget: {usd(spent):.6g} of {usd(amount):.6g} USD are spent or reserved, and "
        "this request may cost more than the rest. Please do not retry.",
        type=SESSION_LIMIT,
        code="session_budget_exceeded",
        headers=[DO_NOT_RETRY],
        error_type="budget_exceeded",
        limit=limit,
    )


def unknown_price(model: str) -> GatewayError:
    """400 for a model that no budget can count. It names the key for whoever configures the gateway."""
    if not model:
        return GatewayError(400, "you must provide a model parameter")
    return GatewayError(
        400,
        f"The price of the model `{model}` is unknown, so that your budget cannot count it. Whoever runs this gateway "
        "can give it in the model's `model_info` (`input_cost_per_token` and `output_cost_per_token`).",
        param="model",
        code="unknown_price",
    )
