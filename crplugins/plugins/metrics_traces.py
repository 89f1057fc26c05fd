"""The trace a request belongs to, as an exemplar on its timings (W3C Trace Context)."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from crplugins.core.errors import Header

Exemplar = Mapping[str, str]

_TRACEPARENT: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?"
)


def exemplar_of(headers: Sequence[Header]) -> dict[str, str] | None:
    """`{"trace_id": ...}`; None unless there is exactly one `traceparent`, valid and sampled.

    A trace nobody samples would be a link into nothing.
    """
    found: bytes | None = None
    for name, value in headers:
        if name == b"traceparent":
            if found is not None:
                return None
            found = value
    return _sampled(found) if found is not None else None


def _sampled(traceparent: bytes) -> dict[str, str] | None:
    match = _TRACEPARENT.fullmatch(traceparent.strip())
    if match is None or (match[3] and traceparent.startswith(b"00")):  # version 00 ends with the flags
        return None
    return {"trace_id": match[1].decode()} if int(match[2], 16) & 1 else None
