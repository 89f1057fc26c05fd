"""Trace context for upstreams that take part in our traces (W3C Trace Context, Baggage)."""

from collections.abc import Mapping
from typing import Final

from crplugins.core.exchange import Exchange

_NAMES: Final = ("traceparent", "tracestate", "baggage")


def trace_headers(exchange: Exchange) -> Mapping[str, str]:
    """What tracing has made of it, else the client's own, verbatim."""
    if exchange.trace_headers is not None:
        return exchange.trace_headers
    return {name: value for name in _NAMES if (value := exchange.header(name.encode())) is not None}
