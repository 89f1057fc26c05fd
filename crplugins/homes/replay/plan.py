"""`replay`: another configuration over the requests of a ledger."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from crplugins.config import Config
from crplugins.core.principal import Budget, Period
from crplugins.homes.price_list import PriceList
from crplugins.homes.replay.history import PastRequest, read_history
from crplugins.homes.replay.report import ReplayReport
from crplugins.homes.replay.simulation import Fate, Simulation, SpentBefore
from crplugins.keys.key import Key
from crplugins.ledger.question import Question
from crplugins.ledger.reader import LedgerReader
from crplugins.ledger.report import answer
from crplugins.plugins.budgets.windows import period_around

WARM_UP: Final = timedelta(days=1)
"""Before the time that is asked for, limits are filled: none remembers for longer."""

_EARLIEST: Final = datetime(1970, 1, 2, tzinfo=UTC)
"""No request is older, and the calendar does not end before the first one."""


async def replay(
    reader: LedgerReader,
    config: Config,
    keys: Iterable[Key],
    since: datetime,
    until: datetime,
    told: Callable[[Fate], None] = lambda _: None,
    *,
    strangers: bool = False,
) -> tuple[ReplayReport, Mapping[str, int]]:
    """What would have become of the requests that began in this time, and what shadows would have refused, by reason.

    Memory is bounded: rows are read in slices, and only requests that run at the same time are kept.

    Args:
        keys, strangers: as Simulation takes them.
        told: is called with the fate of each of these requests.

    Raises the errors of `LedgerDatabase.fetch`.
    """
    since = max(since, _EARLIEST)
    history = read_history(reader, since - WARM_UP, until)
    first: list[PastRequest] = await anext(history, [])
    begin = first[0].started_at if first else since  # years in which nobody asked take as long as others
    prices = PriceList(config.deployments())
    await asyncio.to_thread(prices.read)
    keys = list(keys)
    spent = await _spent_before(reader, _periods(config, keys), begin)
    report = ReplayReport(since)

    def decided(fate: Fate) -> None:
        report.add(fate)
        if fate.past.started_at >= since:
            told(fate)

    simulation = await asyncio.to_thread(
        Simulation, config, keys, prices, spent, begin.timestamp(), strangers=strangers
    )
    await asyncio.to_thread(simulation.__enter__)
    try:
        await asyncio.to_thread(simulation.feed, first, decided)
        async for requests in history:
            await asyncio.to_thread(simulation.feed, requests, decided)
    except BaseException as error:
        await asyncio.to_thread(simulation.__exit__, type(error), error, error.__traceback__)
        raise
    await asyncio.to_thread(simulation.__exit__, None, None, None)
    shadowed: dict[str, int] = {}
    for counted in simulation.shadowed:
        for reason, number in counted.items():
            shadowed[reason] = shadowed.get(reason, 0) + number
    return report, shadowed


def _periods(config: Config, keys: Iterable[Key]) -> set[Period]:
    """Those of the budgets whose spending a ledger knows."""

    def budgets() -> Iterator[Budget | None]:
        yield config.budgets.key()
        yield from config.budgets.teams().values()
        yield from (key.principal.budget for key in keys)

    return {budget.period for budget in budgets() if budget is not None}


async def _spent_before(reader: LedgerReader, periods: Iterable[Period], begin: datetime) -> SpentBefore:
    """What each key and team had spent in the periods that `begin` is in."""
    spent: dict[tuple[str, str, datetime], int] = {}
    for period in periods:
        start, _ = period_around(begin, period)
        for scope, column in (("key", "key_id"), ("team", "team")):
            since = None if period == "total" else start
            for sums in await answer(reader, Question([scope], since, begin)):
                if (owner := sums.group[column]) is not None:
                    spent[scope, owner, start] = sums.cost_micro_usd
    return spent
