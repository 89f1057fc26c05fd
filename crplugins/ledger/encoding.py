"""A UsageRecord as one line of JSON: the form in which journal, spool and database all take it.

What a client or a provider wrote into a record must not keep it, or those beside it, out of a database: PostgreSQL
stores no U+0000, nobody stores half a surrogate pair, an index entry has a largest size, and so has an integer.
"""

import logging
from typing import Any, Final

import msgspec

from crplugins.core.usage import TokenUsage
from crplugins.metering.record import UsageRecord

LONGEST_TEXT: Final = 500
"""Bytes of UTF-8. The texts of a primary key together must stay below the 2,704 bytes of PostgreSQL's index entries."""

LARGEST_COUNT: Final = (1 << 40) - 1
"""Of tokens, and of millionths of a dollar: a sum of eight million such still fits into 64 bits."""

_LONG_LINE: Final = 1_500
"""Bytes. Shorter lines have no text that is too long for an index together with others that are."""

_encode: Final = msgspec.json.Encoder(enc_hook=dict).encode  # a read-only mapping is none of JSON's types

logger = logging.getLogger("crplugins.ledger")


def encode(record: UsageRecord) -> bytes:
    """The line, without its end. Never fails, and takes some 2 us."""
    try:
        line = _encode(record)
    except UnicodeEncodeError:
        return _encode(_cleaned(record))
    if len(line) > _LONG_LINE or (b"\\" in line and b"\\u0000" in line) or not _counts_fit(record):
        return _encode(_cleaned(record))
    return line


def _counts_fit(record: UsageRecord) -> bool:
    """One comparison for all: the bits of any large number are in their union."""
    used = record.usage
    bits = abs(used.input_tokens) | abs(used.output_tokens) | abs(used.cached_input_tokens)
    bits |= abs(used.cache_write_input_tokens) | abs(used.reasoning_output_tokens) | abs(record.cost_micro_usd or 0)
    return bits <= LARGEST_COUNT


def _cleaned(record: UsageRecord) -> UsageRecord:
    if not _counts_fit(record):
        logger.error("the token counts of request %s are beyond all reason, and kept as the largest", record.request_id)
    cost = record.cost_micro_usd
    values = {name: _clean(value) for name, value in msgspec.structs.asdict(record).items()}
    values["tags"] = {_clean(name): _clean(value) for name, value in record.tags.items()}
    values["usage"] = TokenUsage(*(_bounded(count) for count in msgspec.structs.astuple(record.usage)))
    values["cost_micro_usd"] = None if cost is None else _bounded(cost)
    return UsageRecord(**values)


def _clean(value: Any) -> Any:
    """Texts as every database takes them; other values as they are."""
    if not isinstance(value, str):
        return value
    text = value.encode(errors="replace").replace(b"\0", b"\xef\xbf\xbd")[:LONGEST_TEXT]
    return text.decode(errors="ignore")  # a character that the cut has halved goes


def _bounded(count: int) -> int:
    return max(-LARGEST_COUNT, min(count, LARGEST_COUNT))
