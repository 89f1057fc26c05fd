"""Usage: makes one usage record per request and passes it to the ledger and to other sinks."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Protocol, Self, runtime_checkable

from crplugins.core.body import Body
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.usage import Price
from crplugins.metering.record import METADATA, USER, UsageRecord, record_of

__all__ = ["Recorder", "Sink", "Usage", "UsageRecord"]


@runtime_checkable
class Recorder(Protocol):
    """Stores records. Opened and closed with the plugin."""

    def add(self, record: UsageRecord) -> None:
        """Take a record, without blocking."""

    async def __aenter__(self) -> object: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> object: ...


Sink = Callable[[UsageRecord], object] | Recorder
"""Takes a record, without blocking; what a callable returns is ignored."""

MAX_TEXT: Final = 256
"""Characters of a client's text in a record."""

logger = logging.getLogger("crplugins.usage")


class Usage(Plugin):
    """Makes the record of every request that reaches it, however it ends, and passes it to each sink.

        Usage(Ledger("sqlite:///usage.db"), sinks=[lambda record: print(record.cost_micro_usd)])

    Place it directly inside Auth: requests that later plugins refuse leave records, those without a valid key do not.

    Args:
        ledger: where records are stored; None for nowhere.
        sinks: who else gets the records, in this order: callables, and recorders such as `RecordStream`. If one fails,
            that is logged, and the others still get the record.
        metadata: names in the request's `metadata` object to store as tags of the record.
        prices: the price of a model by its served name, for answers without a price from a handler of ours.
    """

    reads_usage = True
    observes = True

    def __init__(
        self,
        ledger: Recorder | None = None,
        *,
        sinks: Iterable[Sink] = (),
        metadata: Iterable[str] = (),
        prices: Callable[[str], Price | None] | None = None,
    ) -> None:
        self.ledger: Final = ledger
        own: list[Recorder] = [] if ledger is None else [ledger]
        others = list(sinks)
        self.recorders: Final = [*own, *(sink for sink in others if isinstance(sink, Recorder))]
        taken = [sink.add if isinstance(sink, Recorder) else sink for sink in others]
        self._sinks: Final = (*(each.add for each in own), *taken)
        self._metadata: Final = tuple(metadata)
        self._prices: Final = prices
        self.failures = 0

    def on_finish(self, exchange: Exchange) -> None:
        if exchange.body is not None:
            self._note_user_and_metadata(exchange, exchange.body)
        if exchange.price is None and self._prices is not None:
            exchange.price = self._prices(exchange.served_model or exchange.requested_model or "")
        record = record_of(exchange)
        for sink in self._sinks:
            try:
                sink(record)
            except Exception:
                self.failures += 1
                logger.exception("a sink failed to take the record of request %s", record.request_id)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opened:
            for recorder in self.recorders:
                await recorder.__aenter__()
                opened.push_async_exit(recorder)
            opened.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """All at once: each may wait for somebody who is away."""
        await asyncio.gather(*(recorder.__aexit__(kind, error, traceback) for recorder in self.recorders))

    def _note_user_and_metadata(self, exchange: Exchange, body: Body) -> None:
        try:
            user = body.get("user", str)
        except GatewayError:  # the body is no JSON object, and was refused for it
            return
        if user:
            USER.set(exchange, user[:MAX_TEXT])
        if self._metadata:
            sent = body.get("metadata")
            METADATA.set(exchange, _chosen(sent, self._metadata) if isinstance(sent, dict) else {})


def _chosen(sent: Mapping[str, Any], names: Iterable[str]) -> dict[str, str]:
    return {name: str(sent[name])[:MAX_TEXT] for name in names if isinstance(sent.get(name), str | int | float)}
