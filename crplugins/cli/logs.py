"""The log of a running gateway on stderr: warnings as text, or everything as JSON with `server.access_log`."""

import copy
import logging
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from queue import SimpleQueue
from typing import Final, TextIO

from crplugins.config import Config
from crplugins.plugins.access_log import JSONFormatter

PENDING: Final = 10_000
"""How many records may wait to be written; further ones are dropped and counted."""

_CLOSING_SECONDS: Final = 2.0
_TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def logging_to_stderr(config: Config) -> AbstractContextManager[None]:
    """Within the block, logs to stderr from a thread: a slow terminal or a full pipe delays no request."""
    if config.server.access_log:
        return log_to(sys.stderr, formatter=JSONFormatter(), level=logging.INFO)
    return log_to(sys.stderr, level=logging.WARNING)


@contextmanager
def log_to(
    stream: TextIO,
    *,
    formatter: logging.Formatter | None = None,
    level: int = logging.INFO,
    loggers: Iterable[str] = ("crplugins",),
    pending: int = PENDING,
) -> Iterator[None]:
    """Within the block, the records of these loggers from `level` on go to `stream`.

    For a program. A library leaves logging to its host program, and so do the plugins.
    """
    handler = ThreadedHandler(stream, pending=pending)
    handler.setFormatter(formatter or logging.Formatter(_TEXT))
    before = [(logger, logger.level) for logger in map(logging.getLogger, loggers)]
    for logger, _ in before:
        logger.setLevel(level)
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger, its_level in before:
            logger.removeHandler(handler)
            logger.setLevel(its_level)
        handler.close()


class ThreadedHandler(logging.Handler):
    """Queues records without blocking; formats and writes them in a thread of its own.

    The standard library's QueueHandler formats before it queues, merges exceptions into messages and, when closed,
    waits for ever for a stream that is stuck; its queue has no limit.
    """

    def __init__(self, stream: TextIO, *, pending: int = PENDING) -> None:
        super().__init__()
        self._stream = stream
        self._pending = pending
        self._dropped = 0
        self._reported = 0
        self._queue: SimpleQueue[logging.LogRecord | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="crplugins-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        if self._queue.qsize() >= self._pending:
            self._dropped += 1
            return
        try:
            record = copy.copy(record)
            record.msg, record.args = record.getMessage(), None  # what the arguments point to may change
            self._queue.put(record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Writes the pending records, as far as the stream takes them within two seconds."""
        self._queue.put(None)
        self._thread.join(_CLOSING_SECONDS)
        super().close()

    def _write_all(self) -> None:
        while (record := self._queue.get()) is not None:
            self._report_dropped()
            self._write(record)
        self._report_dropped()

    def _report_dropped(self) -> None:
        count = self._dropped - self._reported
        if count:
            self._reported += count
            text = "%d log records dropped: they came faster than the log was read"
            self._write(logging.LogRecord("crplugins.log", logging.WARNING, __file__, 0, text, (count,), None))

    def _write(self, record: logging.LogRecord) -> None:
        try:
            self._stream.write(self.format(record) + "\n")
            self._stream.flush()
        except Exception:
            self.handleError(record)
