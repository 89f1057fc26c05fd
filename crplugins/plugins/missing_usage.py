"""MissingUsage: what is counted when the provider reports no usage."""

from collections.abc import Iterable
from types import TracebackType
from typing import Final, Self

from crplugins.core.errors import SERVER_ERROR, GatewayError
from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.principal import MissingUsagePolicy
from crplugins.core.sse import Event
from crplugins.metering.estimate import Estimator, lacks_usage, missing_usage_policy, settle_missing
from crplugins.metering.silence import HiddenOutput


class MissingUsage(Plugin):
    """Estimates the usage of prompt and answer and marks it as estimated; or refuses the request; or counts nothing.

    Only answers with status 200 are counted. If the client disconnected, the prompt is counted, as much of the answer
    as had come, and what the model is likely to have thought in silence. Place it innermost, so that the plugins
    further out, which settle and count, find a number.

    Args:
        policy: for keys without their own policy. `refuse` answers 502, or ends the stream with an error frame; the
            tokens are estimated all the same, because the provider has worked.
        estimator: counts the tokens of text; None for an estimate by its characters.
    """

    reads_body = True
    rewrites_events = True

    def __init__(self, policy: MissingUsagePolicy = "estimate", *, estimator: Estimator | None = None) -> None:
        self._policy: Final = policy
        self._hidden: Final = HiddenOutput()
        self._estimator: Final = estimator
        self.reads_chunks = estimator is not None  # of a stream without one only the end matters

    def on_event(self, exchange: Exchange, event: Event) -> Event | None:
        if self._estimator is not None:
            self._estimator.observe(exchange, event)
        if event.document and self._refuses(exchange):
            raise _no_usage()
        return event

    def on_end(self, exchange: Exchange) -> Iterable[Event]:
        if self._refuses(exchange):
            raise _no_usage()
        return ()

    async def on_ended(self, exchange: Exchange) -> None:
        if self._estimator is None or exchange.spent:  # it has counted the words of an earlier attempt too
            return
        if lacks_usage(exchange) and self._policy_for(exchange) != "free":
            usage = await self._estimator.count(exchange)
            if usage is not None:
                exchange.counted(usage, "estimated")

    def on_finish(self, exchange: Exchange) -> None:
        self._hidden.learn(exchange)
        settle_missing(exchange, self._policy, self._hidden)

    async def __aenter__(self) -> Self:
        if self._estimator is not None:
            await self._estimator.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._estimator is not None:
            await self._estimator.__aexit__(kind, error, traceback)

    def _policy_for(self, exchange: Exchange) -> MissingUsagePolicy:
        return missing_usage_policy(exchange, self._policy)

    def _refuses(self, exchange: Exchange) -> bool:
        counted = exchange.answer_usage is not None and exchange.answer_source == "provider"
        provided = exchange.from_cache or counted or exchange.goes_on or not exchange.dialect.uses_tokens
        return not provided and exchange.status == 200 and self._policy_for(exchange) == "refuse"


def _no_usage() -> GatewayError:
    return GatewayError(
        502,
        "The model provider did not report its token usage.",
        type=SERVER_ERROR,
        code="upstream_no_usage",
        error_type="upstream_stream_broken",
    )
