"""UsageCallback: plain `litellm.completion` and `acompletion` calls, metered like requests to a gateway.

    litellm.callbacks = [UsageCallback(sinks=[print])]

The same records, ledger and metrics as everywhere else; there is nobody to refuse.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from litellm.integrations.custom_logger import CustomLogger

from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Principal
from crplugins.core.usage import Price
from crplugins.homes.litellm_sdk_call import answered, failed, priced_name
from crplugins.metering.price_table import litellm_prices, prices_for
from crplugins.plugins.usage import Recorder, Sink, Usage

if TYPE_CHECKING:
    from crplugins.plugins.metrics.plugin import Metrics

CALL_TYPES: Final = frozenset({"completion", "acompletion"})
_REMEMBERED: Final = 4096


class UsageCallback(CustomLogger):
    """Makes one record of each call, when it is over. Reads litellm's list of prices: 0.1 s.

    litellm makes up counts for a stream that was not asked for its usage, so those are marked as estimated: pass
    `stream_options={"include_usage": True}`.

    Args:
        ledger: where records are kept; enter the callback (`async with`) to open it, in the loop the calls run in.
        sinks: called with each record, in whichever thread litellm tells of the call.
        metrics: counts calls too, if it is given.
        principal: whose calls they are; or a function of what litellm knows of a call, such as its `metadata`.
        metadata: names in `metadata` that become tags of the record.
        prices: the price of a model in litellm's notation; litellm's own table by default.
    """

    def __init__(
        self,
        *,
        ledger: Recorder | None = None,
        sinks: Iterable[Sink] = (),
        metrics: "Metrics | None" = None,
        principal: Principal | Callable[[Mapping[str, Any]], Principal | None] | None = None,
        metadata: Iterable[str] = (),
        prices: Callable[[str], Price | None] | None = None,
    ) -> None:
        super().__init__()
        self._prices: Final = prices if prices is not None else _listed_prices()
        self._plugins: Final[tuple[Plugin, ...]] = (
            *(() if metrics is None else (metrics,)),
            Usage(ledger, sinks=sinks, metadata=metadata),
        )
        self._principal: Final = principal
        self._seen: Final[OrderedDict[str, None]] = OrderedDict()
        self._lock: Final = threading.Lock()
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for plugin in self._plugins:
            await self._open.enter_async_context(plugin)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._open.aclose()

    async def async_log_success_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        self.log_success_event(kwargs, response_obj, start_time, end_time)

    async def async_log_failure_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        self.log_failure_event(kwargs, response_obj, start_time, end_time)

    def log_success_event(self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Of `completion`; litellm calls it in a thread."""
        if self._is_new(kwargs):
            self._record(answered(kwargs, response_obj, start_time, end_time), kwargs)

    def log_failure_event(self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any) -> None:
        del response_obj
        if self._is_new(kwargs):
            self._record(failed(kwargs, start_time, end_time), kwargs)

    def _is_new(self, kwargs: Mapping[str, Any]) -> bool:
        """litellm tells of some calls twice, in a thread and in the loop."""
        if kwargs.get("call_type") not in CALL_TYPES:
            return False
        call_id = str(kwargs.get("litellm_call_id"))
        with self._lock:
            if call_id in self._seen:
                return False
            self._seen[call_id] = None
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
            return True

    def _record(self, exchange: Exchange, kwargs: Mapping[str, Any]) -> None:
        owner = self._principal
        exchange.principal = owner(kwargs) if callable(owner) else owner
        exchange.price = self._prices(priced_name(kwargs))
        for plugin in self._plugins:
            _at_once(plugin.on_request(exchange))
        for plugin in reversed(self._plugins):
            plugin.on_finish(exchange)


def _listed_prices() -> Callable[[str], Price | None]:
    litellm_prices()  # reads a file: now, and not in the midst of a call
    return prices_for({}, litellm_prices)


def _at_once(hook: Coroutine[Any, Any, None]) -> None:
    """Run a hook that waits for nothing, as those of Usage and Metrics do not: litellm calls from threads too."""
    try:
        hook.send(None)
    except StopIteration:
        return
    hook.close()
    raise RuntimeError("a plugin of UsageCallback must not wait in on_request")
