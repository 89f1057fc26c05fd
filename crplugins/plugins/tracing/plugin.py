"""Tracing: OpenTelemetry spans of each chat request and of each call of a provider."""

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

    Continues the trace of the client's `traceparent`; the headers for upstreams are in `exchange.trace_headers`.
    Without an SDK in the process these are the client's own context, and no span is made. No span contains text of
    requests or answers. Place it outermost.

    Args:
        tracer_provider: where spans go; None for the global one, also if it is set up later.
    """

    reads_usage = True
    observes = True

    def __init__(self, tracer_provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("crplugins", tracer_provider=tracer_provider)
        self._spans: Slot[RequestSpans] = Slot("tracing")  # one per plugin: two boundaries may be around a request

    def on_request(self, exchange: Exchange) -> None:
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
