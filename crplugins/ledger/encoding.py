"""A UsageRecord as one line of JSON, the format of journal, spool and database.

Text from a client or a provider must not keep a record, or others in its batch, out of a database: PostgreSQL stores no
U+0000, no database stores half a surrogate pair, and index entries and integers have a largest size.
"""

import logging
from typing import Any, Final

import msgspec

from crplugins.core.usage import TokenUsage
from crplugins.metering.record import UsageRecord

LONGEST_TEXT: Final = 500
"""Bytes of UTF-8. The texts of a primary key together must stay below the 2,704 bytes of PostgreSQL's index entries."""

LARGEST_COUNT: Final = (1 << 40) - 1
"""The largest number of tokens or micro-USD in a record: a sum of eight million such numbers fits into 64 bits."""

_LONG_LINE: Final = 1_500
"""Bytes. In a shorter line the texts of an index entry are never too long together."""

_encode: Final = msgspec.json.Encoder(enc_hook=dict).encode  # msgspec does not encode read-only mappings itself

logger = logging.getLogger("crplugins.ledger")


def encode(record: UsageRecord) -> bytes:
    """The line, without a line feed. Never fails, and takes about 2 us."""
    try:
        line = _encode(record)
    except UnicodeEncodeError:
        return _encode(_cleaned(record))
    if len(line) > _LONG_LINE or line.find(b"\\u0000") >= 0 or not _counts_fit(record):
        return _encode(_cleaned(record))
    return line


def _counts_fit(record: UsageRecord) -> bool:
    used = record.usage
    counts = (
        used.input_tokens, used.output_tokens, used.cached_input_tokens, used.cache_write_input_tokens,
        used.reasoning_output_tokens, record.cost_micro_usd or 0, record.provider_cost_micro_usd or 0,
    )  # fmt: skip
    return min(counts) >= -LARGEST_COUNT and max(counts) <= LARGEST_COUNT


def _cleaned(record: UsageRecord) -> UsageRecord:
    if not _counts_fit(record):
        logger.error("the token counts of request %s are too large, and recorded as the largest", record.request_id)
    values = {name: _clean(value) for name, value in msgspec.structs.asdict(record).items()}
    values["tags"] = {_clean(name): _clean(value) for name, value in record.tags.items()}
    values["usage"] = TokenUsage(*(_clamped(count) for count in msgspec.structs.astuple(record.usage)))
    for name in ("cost_micro_usd", "provider_cost_micro_usd"):
        values[name] = None if values[name] is None else _clamped(values[name])
    return UsageRecord(**values)


def _clean(value: Any) -> Any:
    """A text in a form that every database takes; other values unchanged."""
    if not isinstance(value, str):
        return value
    text = value.encode(errors="replace").replace(b"\0", b"\xef\xbf\xbd")[:LONGEST_TEXT]
    return text.decode(errors="ignore")  # drops a character of which only a part is left


def _clamped(count: int) -> int:
    return max(-LARGEST_COUNT, min(count, LARGEST_COUNT))
