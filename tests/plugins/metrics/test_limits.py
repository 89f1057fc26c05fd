"""LimitGauges: a scrape of a gateway with many keys reads those that it shows, and lets requests go on."""

import asyncio

from crplugins.core.principal import Budget, Limits, Principal
from crplugins.limits.memory import MemoryStore
from crplugins.plugins.budgets.plugin import Budgets
from crplugins.plugins.metrics.limits import BUDGET_LIMIT, KEY_INFO, UTILIZATION, LimitGauges
from crplugins.plugins.metrics.plugin import Metrics
from crplugins.plugins.rate_limits.plugin import RateLimits
from crplugins.plugins.rate_limits.rules import LimitRules
from tests.plugins.metrics.setup import finished

KEYS, SHOWN = 2_000, 300


class Store(MemoryStore):
    """Notes how many limits are read at once."""

    def __init__(self):
        super().__init__()
        self.read = []

    async def levels(self, limits, *, now=None):
        self.read.append(len(limits))
        return await super().levels(limits, now=now)


async def asked_by_all(plugin):
    for number in range(KEYS):
        exchange = finished()
        exchange.principal = Principal(f"key-{number}", team="t", budget=Budget(1_000_000, "month"))
        exchange.slots.clear()
        asking = plugin.on_request(exchange)
        if asking is not None:
            await asking


async def test_a_scrape_reads_the_keys_that_have_a_label_a_few_at_a_time():
    stores = Store(), Store()
    rules = LimitRules(per_key=Limits(requests_per_minute=60, tokens_per_minute=100_000))
    rate_limits, budgets = RateLimits(rules, store=stores[0]), Budgets(store=stores[1], unknown_price="allow")
    for plugin in (rate_limits, budgets):
        await asked_by_all(plugin)
    gauges = LimitGauges(rate_limits, budgets, key_label=Metrics(key_cap=SHOWN).key_label)
    turns, done = 0, False

    async def others():
        nonlocal turns
        while not done:
            turns += 1
            await asyncio.sleep(0)

    waiting = asyncio.create_task(others())
    await gauges.refresh()
    done = True
    await waiting
    shown = {metric.name: len(metric.samples) for metric in gauges.collect()}
    assert shown[UTILIZATION.name] == 2 * SHOWN
    assert shown[BUDGET_LIMIT.name] == shown[KEY_INFO.name] == SHOWN
    assert sum(stores[0].read) == 2 * SHOWN
    assert sum(stores[1].read) == SHOWN
    assert max(*stores[0].read, *stores[1].read) <= 100
    assert turns >= 2 * SHOWN / 50
