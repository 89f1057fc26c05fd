"""Webhooks: looks for budgets that reach a threshold and keys that expire, and has receivers told.

No request waits for it: `Budgets` notes which budgets were used, and how they stand is read from their store every two
seconds, behind the requests.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final, Protocol, Self, runtime_checkable

from crplugins.config.webhooks import EventType
from crplugins.core.plugin import Plugin
from crplugins.core.shared import Shared
from crplugins.homes.webhooks.delivery import Outcome, Receiver
from crplugins.homes.webhooks.message import (
    SECONDS_OF_AN_EXPIRED_KEY,
    Message,
    about_budget,
    about_key,
    budget_message,
    key_message,
)
from crplugins.keys.chain import Chain
from crplugins.keys.key import Key, utc_now
from crplugins.keys.source import KeySource, SourceUnavailable, listed_keys
from crplugins.keys.state import state_of
from crplugins.limits.reservations import Reservations
from crplugins.limits.store import StoreUnavailable
from crplugins.plugins.budgets.watch import MOST_WATCHED, BudgetWatch, UsedBudget

BUDGET_SECONDS: Final = 2.0
KEY_SECONDS: Final = 300.0
CLOSING_SECONDS: Final = 5.0
"""How long the process waits at its end for what is still to be told."""

_AT_ONCE: Final = 200
_READ_SECONDS: Final = 5.0

logger = logging.getLogger("crplugins.webhooks")


@dataclass(frozen=True, slots=True)
class Subscription:
    """What one receiver is told of.

    Attributes:
        receiver: who it is.
        events: which kinds of events it is told of.
        thresholds: shares of a budget, each of which is an event when it is spent.
        expiry_days: how many days before its end a key is an event, each once.
    """

    receiver: Receiver
    events: frozenset[EventType]
    thresholds: tuple[float, ...]
    expiry_days: tuple[int, ...]

    def of_budget(self, used: UsedBudget, spent: int, now: datetime) -> Iterator[Message]:
        """What its receiver does not know yet.

        A budget of which so little is left that a request is refused counts as spent: it is hardly ever spent to the
        last cent. One that refuses while much of it is left does not: that request was too large.
        """
        window, amount = used.window, used.window.limit.amount
        nearly = amount * max(self.thresholds, default=1.0)
        reached = amount if used.refused_at >= nearly > 0 else spent
        shares = self.thresholds * ("budget.threshold" in self.events) + (1.0,) * ("budget.exhausted" in self.events)
        for share in shares:
            if 0 < amount * share <= max(spent, reached) and not self.receiver.knows(about_budget(window, share)):
                yield budget_message(window, spent, share, now)

    def of_key(self, key: Key, now: datetime) -> Message | None:
        """A key that ends in half a day is one for the shortest notice alone."""
        expires = key.expires
        if expires is None:
            return None
        if expires <= now:
            wanted = "key.expired" in self.events and now - expires < timedelta(seconds=SECONDS_OF_AN_EXPIRED_KEY)
            days = None
        else:
            days = min((days for days in self.expiry_days if expires - now <= timedelta(days=days)), default=None)
            wanted = "key.expiring" in self.events and days is not None
        if not wanted or self.receiver.knows(about_key(key.principal, expires, days)):
            return None
        return key_message(key.principal, expires, days, now)


@runtime_checkable
class TellsExpiring(Protocol):
    """A source of keys that finds those which expire, where it does not know all of them by itself."""

    async def expiring(self, since: datetime, until: datetime) -> Sequence[Key]:
        """Keys that expire in that time. Raises `SourceUnavailable`."""


class Webhooks(Plugin):
    """Tells receivers of budgets and keys.

    Args:
        subscriptions: who is told of what.
        receivers: what is open while they are told; perhaps for other configurations too.
        watch: the budgets that were used.
        reservations: where budgets are counted, and where processes agree which of them tells what.
        keys: a source that is open while this is entered.
        now: the wall clock.
        sleep: waits between two looks.
    """

    def __init__(
        self,
        subscriptions: Sequence[Subscription],
        receivers: Sequence[Shared],
        watch: BudgetWatch,
        reservations: Reservations,
        keys: KeySource,
        *,
        now: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._subscriptions, self._receivers = subscriptions, receivers
        self._watch, self._reservations, self._keys = watch, reservations, keys
        self._now, self._sleep = now, sleep
        self._looking: list[asyncio.Task[None]] = []
        self._again: Mapping[str, UsedBudget] = {}

    @property
    def deliveries(self) -> Mapping[tuple[EventType, Outcome], int]:
        """How many attempts and messages ended in each way."""
        return sum((each.receiver.counts for each in self._subscriptions), Counter[tuple[EventType, Outcome]]())

    @property
    def pending(self) -> int:
        """Messages that are on their way, or wait for their next attempt."""
        return sum(each.receiver.pending for each in self._subscriptions)

    async def look_at_budgets(self) -> None:
        """At those that were used since the last look, and once more at those before: what a request has cost may
        reach the store after it was noted."""
        new = self._watch.take()
        used, self._again = {**self._again, **new}, new
        budgets = list(used.items())
        for start in range(0, len(budgets), _AT_ONCE):
            some = budgets[start : start + _AT_ONCE]
            try:
                async with asyncio.timeout(_READ_SECONDS):
                    levels = await self._reservations.levels([each.window.limit for _, each in some])
            except (StoreUnavailable, TimeoutError):
                self._again = dict(budgets[-MOST_WATCHED:])  # an outage may last, and see ever new keys
                return
            now = self._now()
            for (_, budget), level in zip(some, levels, strict=True):
                for each in self._subscriptions:
                    for message in each.of_budget(budget, level.used, now):
                        each.receiver.offer(message)
            await asyncio.sleep(0)  # requests go on in between

    async def look_at_keys(self) -> None:
        """At all that live and expire soon, or have expired."""
        now = self._now()
        longest = max((days for each in self._subscriptions for days in each.expiry_days), default=0)
        since, until = now - timedelta(seconds=SECONDS_OF_AN_EXPIRED_KEY), now + timedelta(days=longest)
        for key in await self._expiring(since, until):
            if state_of(key, now) not in ("live", "expired", "not yet valid"):
                continue
            for each in self._subscriptions:
                if (message := each.of_key(key, now)) is not None:
                    each.receiver.offer(message)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for each in (self._reservations, *self._receivers):
                await stack.enter_async_context(each)
            stack.pop_all()
        self._looking = [
            asyncio.create_task(self._look(self.look_at_budgets, BUDGET_SECONDS), name="crplugins.webhooks: budgets"),
            asyncio.create_task(self._look(self.look_at_keys, KEY_SECONDS), name="crplugins.webhooks: keys"),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._looking:
            task.cancel()
        await asyncio.gather(*self._looking, return_exceptions=True)
        with suppress(Exception):
            await self.look_at_budgets()
        await asyncio.gather(*(each.__aexit__(kind, error, traceback) for each in self._receivers))
        await self._reservations.__aexit__(kind, error, traceback)

    async def _look(self, look: Callable[[], Awaitable[None]], seconds: float) -> None:
        while True:
            try:
                await look()
            except Exception:
                logger.exception("webhooks could not be prepared")
            await self._sleep(seconds)

    async def _expiring(self, since: datetime, until: datetime) -> Iterable[Key]:
        found: dict[str, Key] = {}
        for source in self._keys.sources if isinstance(self._keys, Chain) else (self._keys,):
            keys: Iterable[Key] = listed_keys(source)
            if isinstance(source, TellsExpiring):
                try:
                    keys = await source.expiring(since, until)
                except SourceUnavailable as error:
                    logger.warning("which keys expire cannot be known now: %s", error)
            for key in keys:
                if key.expires is not None and since <= key.expires <= until:
                    found.setdefault(key.id, key)
        return found.values()
