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
    if b"traceparent" not in dict(exchange.headers):  # as nearly always, and it takes no step of ours for each header
        return None
    found = [value for name, value in exchange.headers if name == b"traceparent"]
    return found[0].decode("latin-1") if len(found) == 1 else None


LONGEST: Final = 8_192
"""Characters of a header of an upstream. W3C asks for no more of `baggage`, and for 512 of `tracestate`."""


def trace_headers(exchange: Exchange) -> Mapping[str, str]:
    """For an upstream: what tracing has made of it, else the client's own, verbatim.

    What no upstream would take is left out, so that no client makes an upstream refuse a request: a value that is long
    or not of printable ASCII, and without a valid `traceparent` its `tracestate`.
    """
    headers = exchange.trace_headers
    if headers is None:
        names = ("baggage",) if trace_of(exchange) is None else ("traceparent", "tracestate", "baggage")
        headers = {name: value for name in names if (value := exchange.header(name.encode())) is not None}
    return {name: value for name, value in headers.items() if len(value) <= LONGEST and _is_printable_ascii(value)}


def _is_printable_ascii(value: str) -> bool:
    return value.isascii() and value.isprintable()
