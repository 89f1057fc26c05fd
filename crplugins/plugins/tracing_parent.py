"""The trace a request belongs to (W3C Trace Context)."""

import re
from typing import Final

from crplugins.core.exchange import Exchange

_TRACEPARENT: Final = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


def trace_id_of(exchange: Exchange) -> str | None:
    """What tracing has made of it, else what a valid `traceparent` of the client says. Never a new id."""
    made = exchange.trace_headers
    traceparent = exchange.header(b"traceparent") if made is None else made.get("traceparent")
    if traceparent is None:
        return None
    match = _TRACEPARENT.fullmatch(traceparent.strip())
    if match is None or (match[3] and match[1] == "00"):  # version 00 ends with the flags
        return None
    return match[2]
