"""JSONFormatter: log records as one JSON object a line."""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec


class JSONFormatter(logging.Formatter):
    """For any record: time (RFC 3339, UTC), level, logger, message, then the facts in its `crplugins` attribute.

        handler.setFormatter(JSONFormatter())
        logger.warning("slow", extra={"crplugins": {"request_id": "..."}})

    An exception stands in `exception`, a stack in `stack`, both as text. A fact named like one of these is left out.
    """

    def format(self, record: logging.LogRecord) -> str:
        line = self._head(record)
        facts = getattr(record, "crplugins", None)
        if isinstance(facts, Mapping):
            line = {**line, **facts, **line}
        try:
            return msgspec.json.encode(line, enc_hook=str).decode()
        except (TypeError, UnicodeEncodeError):  # keys that are no names, or half a character
            return json.dumps({str(key): value for key, value in line.items()}, default=str)

    def _head(self, record: logging.LogRecord) -> dict[str, Any]:
        line = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        exception = self.formatException(record.exc_info) if record.exc_info else record.exc_text
        if exception:
            line["exception"] = exception
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return line

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        moment = datetime.fromtimestamp(record.created, UTC)
        return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
