"""BudgetWindows: the budgets of a request in the current period. Calendar days of UTC, ISO weeks, months.

The budgets of a key and of its team are the same for all its requests; `IdentityBudgets` are those of the end user and
of the session that one request names.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple
from urllib.parse import quote

import msgspec

from crplugins.core.bounded_map import BoundedMap
from crplugins.core.exchange import Exchange
from crplugins.core.identity import Identities
from crplugins.core.principal import Budget, Period, Principal
from crplugins.core.usage import usd
from crplugins.limits.limit import Limit, LimitReading

Scope = Literal["key", "team", "user", "session"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
NO_END: Final = datetime(9999, 12, 31, tzinfo=UTC)
UNLIMITED: Final = 2**53
"""Micro-USD: nine billion dollars, and the largest number that every store counts exactly."""


class BudgetWindow(NamedTuple):
    """A budget in the current period, as a window of a limit store.

    Attributes:
        unlimited: the same window without an end to what may be spent, for what is counted and never refused.
        owner: the key or team whose budget it is; of a user and of a session its scope, see `Identities`.
        start, end: of the period; 1970 and 9999 for the period `total`.
        warn_at: the use in micro-USD at which to warn; `UNLIMITED` for a user and a session, of which there are many.
        shadow: whether requests that it would refuse are only logged and counted.
    """

    limit: Limit
    unlimited: Limit
    scope: Scope
    owner: str
    period: Period
    start: datetime
    end: datetime
    warn_at: int
    shadow: bool


class BudgetWindows:
    """The windows of each key, cached for as long as it is the period of all of them.

    Args:
        per_key: the budget of each key without its own.
        per_team: budgets of the keys of a team together.
        warn_at: share of a budget at which to warn.
        shadow: whether none of them refuses anything.
    """

    def __init__(
        self, per_key: Budget | None, per_team: Mapping[str, Budget], warn_at: float, *, shadow: bool = False
    ) -> None:
        self._per_key, self._per_team, self._warn_at, self._shadow = per_key, per_team, warn_at, shadow
        self._cached: Final[BoundedMap[int, tuple[Principal, range, tuple[BudgetWindow, ...]]]] = BoundedMap()
        self.seen: Final[BoundedMap[str, Principal]] = BoundedMap()
        """Keys that have made a request, the most recent last."""

    def of(self, principal: Principal, now: int) -> tuple[BudgetWindow, ...]:
        """The windows of the key and of its team; `now` in milliseconds since 1970."""
        cached = self._cached.get(id(principal))
        if cached is not None and cached[0] is principal and now in cached[1]:
            return cached[2]
        windows = self._windows(principal, datetime.fromtimestamp(now / 1000, UTC))
        # Not only until it ends: a clock that was ahead and is set back comes before its start.
        start = max((_milliseconds(window.start) for window in windows), default=0)
        end = min((window.limit.period for window in windows), default=_milliseconds(NO_END))
        self._cached[id(principal)] = principal, range(start, end), windows
        self.seen[principal.key_id] = principal
        return windows

    def _windows(self, principal: Principal, now: datetime) -> tuple[BudgetWindow, ...]:
        budgets: list[tuple[Scope, str, Budget | None]] = [
            ("key", principal.key_id, principal.budget or self._per_key),
            ("team", principal.team or "", self._per_team.get(principal.team or "")),
        ]
        return tuple(self._window(scope, owner, budget, now) for scope, owner, budget in budgets if budget is not None)

    def _window(self, scope: Scope, owner: str, budget: Budget, now: datetime) -> BudgetWindow:
        warn_at = max(1, round(budget.micro_usd * self._warn_at))
        path = f"{scope}/{quote(owner, safe='')}"
        return _window_around(now, scope, owner, path, budget, warn_at, shadow=self._shadow)


class IdentityBudgets:
    """The windows of the end user and of the session of a request.

    Args:
        per_user: of each end user of a key.
        per_session: of each session of a key, for as long as it is remembered.
        shadow: whether none of them refuses anything.
    """

    def __init__(
        self, per_user: Budget | None, per_session: Budget | None, identities: Identities, *, shadow: bool
    ) -> None:
        self._per_user, self._per_session, self._identities, self._shadow = per_user, per_session, identities, shadow
        self.any: Final = per_user is not None or per_session is not None

    def of(self, exchange: Exchange, now: int) -> tuple[BudgetWindow, ...]:
        """`now` in milliseconds since 1970.

        Raises `GatewayError` 400 for a request that must name its end user or session and does not.
        """
        windows = []
        if self._per_user is not None and (user := self._identities.user_of(exchange)) is not None:
            moment = datetime.fromtimestamp(now / 1000, UTC)
            windows.append(_window_around(moment, "user", user, user, self._per_user, UNLIMITED, shadow=self._shadow))
        if self._per_session is not None and (session := self._identities.session_of(exchange)) is not None:
            windows.append(self._of_session(self._per_session, session, self._identities.session_end(now)))
        return tuple(windows)

    def _of_session(self, budget: Budget, session: str, end: int) -> BudgetWindow:
        """Without a calendar: each request moves the end, so that a session which is used stays."""
        limit = Limit("window", f"{session}/usd/total", budget.micro_usd, end)
        shadow = self._shadow or budget.shadow
        return BudgetWindow(
            limit, _unlimited(limit), "session", session, budget.period, _EPOCH, NO_END, UNLIMITED, shadow
        )


def _window_around(
    now: datetime, scope: Scope, owner: str, path: str, budget: Budget, warn_at: int, *, shadow: bool
) -> BudgetWindow:
    """The window of the period that `now` is in; the key of its state begins with `path`."""
    start, end = period_around(now, budget.period)
    ends = _milliseconds(end)
    limit = Limit("window", f"{path}/usd/{budget.period}/{ends}", budget.micro_usd, ends)
    shadow = shadow or budget.shadow
    return BudgetWindow(limit, _unlimited(limit), scope, owner, budget.period, start, end, warn_at, shadow)


def _unlimited(limit: Limit) -> Limit:
    return msgspec.structs.replace(limit, amount=UNLIMITED)


def period_around(now: datetime, period: Period) -> tuple[datetime, datetime]:
    """The start of the period that `now` (UTC) is in, and the start of the next."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return midnight, midnight + timedelta(days=1)
    if period == "week":
        monday = midnight - timedelta(days=midnight.weekday())
        return monday, monday + timedelta(weeks=1)
    if period == "month":
        first = midnight.replace(day=1)
        return first, (first + timedelta(days=31)).replace(day=1)
    return _EPOCH, NO_END


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


class BudgetState(NamedTuple):
    """One budget in the current period.

    Attributes:
        spent, amount: micro-USD; the reservations of running requests count as spent.
        reset: when the period ends (UTC); None for the period `total`.
        warned: whether `warn_at` has been reached.
        shadow: whether requests that it would refuse are only logged and counted.
    """

    scope: Scope
    owner: str
    period: Period
    spent: int
    amount: int
    reset: datetime | None
    warned: bool
    shadow: bool = False


def budget_state(window: BudgetWindow, level: LimitReading) -> BudgetState:
    reset = None if window.end == NO_END else window.end
    warned, amount = level.used >= window.warn_at, window.limit.amount
    return BudgetState(window.scope, window.owner, window.period, level.used, amount, reset, warned, window.shadow)


def format_spending(window: BudgetWindow, spent: int) -> str:
    """A sentence for the log."""
    sentence = f"{window.scope} {window.owner} has spent {usd(spent):.2f} of {usd(window.limit.amount):.2f} USD"
    return sentence if window.period == "total" else f"{sentence} of this {window.period}"
