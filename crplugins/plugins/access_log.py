"""AccessLog: one log record for each finished chat request; JSONFormatter writes it, or any record, as JSON."""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from crplugins.core.exchange import Exchange
from crplugins.core.log_lines import NO_REQUEST
from crplugins.core.plugin import Plugin
from crplugins.core.redaction import cut, short_name
from crplugins.core.trace import trace_id_of
from crplugins.core.usage import usd
from crplugins.metering.record import UsageRecord, record_of

logger = logging.getLogger("crplugins.access")


_LONGEST_MESSAGE: Final = 4000
_LINE: Final = "%d %s model=%r key=%r tokens=%d+%d cost=%s duration=%.1fms request=%s"


class AccessLog(Plugin):
    """Writes an INFO record to the logger `crplugins.access`, with the facts in `record.crplugins`, a dict.

    It contains no text of requests and answers, no credential and no client address. Place it outside Auth, so that
    requests without a valid key are logged too.
    """

    reads_usage = True
    observes = True

    def on_finish(self, exchange: Exchange) -> None:
        if not logger.isEnabledFor(logging.INFO):
            return
        record = record_of(exchange)
        facts = _facts(record, trace_id_of(exchange))
        values = (
            record.status,
            record.error_type or record.outcome,
            facts["model"],
            facts["key_id"],
            record.usage.input_tokens,
            record.usage.output_tokens,
            "unknown" if record.cost_micro_usd is None else f"${usd(record.cost_micro_usd):f}",
            record.duration_ms,
            record.request_id,
        )
        # One attribute: names such as `module` or `message` raise KeyError. `logger.info` would search the stack for
        # its caller, which takes as long as writing the line.
        more = {"crplugins": facts}
        said = logger.makeRecord(logger.name, logging.INFO, __file__, 0, _LINE, values, None, "on_finish", more)
        logger.handle(said)


def _facts(record: UsageRecord, trace_id: str | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "request_id": record.request_id,
        "key_id": _name(record.key_id),
        "team": _name(record.team),
        "endpoint": record.endpoint,
        "model": _name(record.requested_model),
        "served_model": _name(record.served_model),
        "provider": _name(record.provider),
        "status": record.status,
        "outcome": record.outcome,
        "error_type": record.error_type,
        "stream": record.stream,
        "duration_ms": round(record.duration_ms, 1),
        "ttft_ms": None if record.ttft_ms is None else round(record.ttft_ms, 1),
        "input_tokens": record.usage.input_tokens,
        "output_tokens": record.usage.output_tokens,
        "usage_source": record.usage_source,
        "cost_usd": None if record.cost_micro_usd is None else usd(record.cost_micro_usd),
        "attempts": record.attempts,
        "overhead_us": record.overhead_us,
    }
    if trace_id is not None:
        facts["trace_id"] = trace_id
    return facts


def _name(text: str | None) -> str | None:
    return None if text is None else short_name(text)


class JSONFormatter(logging.Formatter):
    """For any record: time (RFC 3339, UTC), level, logger, message, then the facts in its `crplugins` attribute.

        handler.setFormatter(JSONFormatter())
        logger.warning("slow", extra={"crplugins": {"request_id": "..."}})

    An exception is in `exception`, a stack in `stack`, both as text. A fact with one of these names is left out. What
    is not printable is written as an escape: a reader that splits lines at U+2028 finds one line too.
    """

    def format(self, record: logging.LogRecord) -> str:
        line = self._head(record)
        facts = getattr(record, "crplugins", None)
        if isinstance(facts, Mapping):
            line = {**line, **facts, **line}
        try:
            text = msgspec.json.encode(line, enc_hook=str).decode()
        except (TypeError, UnicodeEncodeError):  # keys that are no strings, or a lone surrogate
            return json.dumps({str(key): value for key, value in line.items()}, default=str)
        return text if text.isprintable() else "".join([c if c.isprintable() else json.dumps(c)[1:-1] for c in text])

    def _head(self, record: logging.LogRecord) -> dict[str, Any]:
        line = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": cut(record.getMessage(), _LONGEST_MESSAGE),
        }
        request = getattr(record, "request_id", NO_REQUEST)
        if request != NO_REQUEST:
            line["request_id"] = request
        exception = self.formatException(record.exc_info) if record.exc_info else record.exc_text
        if exception:
            line["exception"] = exception
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return line

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        moment = datetime.fromtimestamp(record.created, UTC)
        return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
