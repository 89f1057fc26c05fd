"""MetricsPage: the metrics under a path of somebody else's app."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from prometheus_client.core import Metric
from starlette.types import Message

from crplugins.core.exchange import Exchange, Reply
from crplugins.core.plugin import Plugin
from crplugins.homes.metrics_app import MetricsApp, limit_gauges
from crplugins.ledger.ledger import LedgerState
from crplugins.plugins.metrics.limits import LimitGauges
from crplugins.plugins.metrics.plugin import Metrics
from crplugins.plugins.usage import Usage


class MetricsPage(Plugin):
    """Answers requests for `path`, in the stead of the app inside, as MetricsApp does; `?name[]=` leaves out nothing.

    Stands outermost: a scraper has a token of its own, or none, and never a key.

    Args:
        metrics: the plugin that counts.
        path: relative to where the app is mounted.
        token: what every scrape presents; None serves everybody.
    """

    chat_only = False

    def __init__(self, metrics: Metrics, *, path: str, token: str | None) -> None:
        self.path = path
        self._metrics = metrics
        self._app = MetricsApp(metrics, token=token, refresh=self._refresh)
        self._gauges: LimitGauges | None = None
        self._ledgers: set[int] = set()
        metrics.add_collector(self)

    def watch(self, plugins: Iterable[Plugin], faults: Mapping[tuple[str, str], int]) -> None:
        """Show how the limits, budgets and ledgers among `plugins` stand, and what has failed."""
        self._metrics.observe_faults(faults)
        found = list(plugins)
        self._watch_ledgers(found)
        self._gauges = limit_gauges(self._metrics, found) or self._gauges

    def _watch_ledgers(self, plugins: Iterable[Plugin]) -> None:
        """Each once: what is watched twice would count twice."""
        for ledger in [plugin._ledger for plugin in plugins if isinstance(plugin, Usage)]:
            if ledger is not None and hasattr(ledger, "spooled") and id(ledger) not in self._ledgers:
                self._ledgers.add(id(ledger))
                self._metrics.observe_ledger(cast("LedgerState", ledger))

    async def on_request(self, exchange: Exchange) -> None:
        if exchange.path == self.path:
            exchange.reply = await self._scraped(exchange)

    def collect(self) -> Iterable[Metric]:
        return () if self._gauges is None else self._gauges.collect()

    async def _refresh(self) -> None:
        if self._gauges is not None:
            await self._gauges.refresh()

    async def _scraped(self, exchange: Exchange) -> Reply:
        sent: list[Message] = []

        async def keep(message: Message) -> None:
            sent.append(message)

        await self._app(_scope_of(exchange), _nothing, keep)
        start, body = sent
        return Reply(start["status"], list(start["headers"]), body["body"])


def _scope_of(exchange: Exchange) -> dict[str, Any]:
    headers: Sequence[tuple[bytes, bytes]] = exchange.headers
    return {
        "type": "http",
        "method": exchange.method,
        "path": exchange.path,
        "query_string": b"",
        "headers": headers,
    }


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
