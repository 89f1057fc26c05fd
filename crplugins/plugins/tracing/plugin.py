"""Tracing: a span around each chat request and one for each call of a provider, through OpenTelemetry's API."""

from crplugins.core.exchange import Exchange, Slot
from crplugins.core.plugin import Plugin

try:
    from opentelemetry import propagate, trace

    from crplugins.plugins.tracing.spans import RequestSpans
except ImportError as error:
    raise ImportError(
        "crplugins.plugins.tracing.plugin needs opentelemetry-api; install it with: pip install 'crplugins[otel]'"
    ) from error


class Tracing(Plugin):
    """Makes a SERVER span per chat request, and below it a CLIENT span `chat {model}` per call of a provider.

    The trace of the client's `traceparent` goes on; what upstreams are to be sent is put into
    `exchange.trace_headers`. Without an SDK in the process that is the client's own context, and no span is made.
    Nothing that was said stands in a span. Stands outermost.

    Args:
        tracer_provider: where spans go; None for the process's own, also if it is set up later.
    """

    reads_usage = True
    observes = True

    def __init__(self, tracer_provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("crplugins", tracer_provider=tracer_provider)
        self._spans: Slot[RequestSpans] = Slot("tracing")  # not shared: two boundaries may stand around a request

    async def on_request(self, exchange: Exchange) -> None:
        self._spans.set(exchange, RequestSpans(self._tracer, exchange))
        headers: dict[str, str] = {}
        propagate.inject(headers)
        exchange.trace_headers = headers

    def on_response(self, exchange: Exchange) -> None:
        spans = self._spans.get(exchange)
        if spans is not None:
            spans.answered()

    def on_finish(self, exchange: Exchange) -> None:
        spans = self._spans.get(exchange)
        if spans is not None:
            spans.end()
