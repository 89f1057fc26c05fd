"""The trace a request belongs to (W3C Trace Context)."""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from crplugins.core.exchange import Exchange

_TRACEPARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?"
)


class Trace(NamedTuple):
    """A trace that somebody has begun. What is not sampled will be found nowhere."""

    id: str
    sampled: bool


def trace_of(exchange: Exchange) -> Trace | None:
    """What tracing has made of it, else what the one valid `traceparent` of the client says. Never a new id."""
    made = exchange.trace_headers
    traceparent = _sent(exchange) if made is None else made.get("traceparent")
    if traceparent is None:
        return None
    match = _TRACEPARENT.fullmatch(traceparent.strip())
    if match is None or (match[4] and match[1] == "00"):  # version 00 ends with the flags
        return None
    return Trace(match[2], bool(int(match[3], 16) & 1))


def trace_id_of(exchange: Exchange) -> str | None:
    trace = trace_of(exchange)
    return None if trace is None else trace.id


def _sent(exchange: Exchange) -> str | None:
    found = [value for name, value in exchange.headers if name == b"traceparent"]
    return found[0].decode("latin-1") if len(found) == 1 else None


_NAMES: Final = ("traceparent", "tracestate", "baggage")


def trace_headers(exchange: Exchange) -> Mapping[str, str]:
    """What tracing has made of it, else the client's own, verbatim."""
    if exchange.trace_headers is not None:
        return exchange.trace_headers
    return {name: value for name in _NAMES if (value := exchange.header(name.encode())) is not None}
