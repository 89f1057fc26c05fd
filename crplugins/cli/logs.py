"""The log of a running gateway on stderr, as `log` in the configuration says: lines of text, or of JSON.

It holds no prompt, no answer and no secret, whoever writes to it. Texts of our own hold none. Those of the libraries
around us do: litellm and asyncio log exceptions that quote what was sent. So of a library that is not known to be
careful only the place is written, and of an exception during a request only its class and where it was raised.
"""

import logging
import select
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue
from traceback import walk_tb
from typing import Final, TextIO

from crplugins.config import Config
from crplugins.config.server import LogLevel
from crplugins.core.log_lines import NO_REQUEST, REQUEST_ID
from crplugins.core.redaction import one_line

PENDING: Final = 10_000
"""How many records may wait to be written; further ones are dropped and counted."""

_CLOSING_SECONDS: Final = 2.0
_NEVER_BLOCKS: Final = select.PIPE_BUF
"""Bytes that a pipe takes without blocking once it is writable (POSIX)."""

_TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_LONGEST_MESSAGE: Final = 4000
_MOST_FRAMES: Final = 20
_MOST_CAUSES: Final = 5

_OURS: Final = "crplugins"
_CAREFUL: Final = frozenset({_OURS, "alembic", "sqlalchemy", "uvicorn"})
"""Libraries whose messages hold nothing of requests and answers."""


class StderrLog(ExitStack):
    """Within the block, the log of a gateway goes to stderr: a slow terminal or a full pipe delays no request.

    Warnings of the libraries are written too, as far as they may be.

    Args:
        level: in the place of that in the configuration.
    """

    def __init__(self, config: Config, level: LogLevel | None = None) -> None:
        super().__init__()
        self._level = level
        self._handler = self.enter_context(log_to(sys.stderr, others=True))
        self.configure(config)

    def configure(self, config: Config) -> None:
        """From now on as `config` says."""
        self._handler.setFormatter(_json() if config.log.format == "json" else LineFormatter(_TEXT))
        logging.getLogger(_OURS).setLevel((self._level or config.log.level).upper())


def _json() -> logging.Formatter:
    from crplugins.plugins.access_log import JSONFormatter  # needed only here

    return JSONFormatter()


@contextmanager
def log_to(
    stream: TextIO,
    *,
    formatter: logging.Formatter | None = None,
    level: int = logging.INFO,
    loggers: Iterable[str] = ("crplugins",),
    pending: int = PENDING,
    others: bool = False,
) -> Iterator["ThreadedHandler"]:
    """Within the block, the records of these loggers from `level` on go to `stream`, and warnings of `others`.

    For a program. A library leaves logging to its host program, and so do the plugins.
    """
    handler = ThreadedHandler(stream, pending=pending)
    handler.setFormatter(formatter or LineFormatter(_TEXT))
    before = [(logger, logger.level) for logger in map(logging.getLogger, loggers)]
    taps = [logging.getLogger()] if others else [logger for logger, _ in before]
    for logger, _ in before:
        logger.setLevel(level)
    for logger in taps:
        logger.addHandler(handler)
    try:
        yield handler
    finally:
        for logger in taps:
            logger.removeHandler(handler)
        for logger, its_level in before:
            logger.setLevel(its_level)
        handler.close()


class LineFormatter(logging.Formatter):
    """One line for each record, with its request; an exception follows in lines that are set in.

    No text can begin another line, or steer a terminal.
    """

    _second = (-1, "")  # the last one that was written, and its text

    def _time(self, record: logging.LogRecord) -> str:
        """As `formatTime`."""
        second, text = self._second
        if int(record.created) != second:
            second = int(record.created)
            text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
            self._second = second, text
        return f"{text},{int(record.msecs):03d}"

    def format(self, record: logging.LogRecord) -> str:
        record.message = one_line(record.getMessage(), _LONGEST_MESSAGE)
        record.asctime = self._time(record)
        line = self.formatMessage(record)
        request: str = getattr(record, "request_id", NO_REQUEST)
        if request != NO_REQUEST and request not in line:
            line += f" (request {request})"
        exception = self.formatException(record.exc_info) if record.exc_info else record.exc_text
        details = [*(exception or "").splitlines(), *(record.stack_info or "").splitlines()]
        return "\n".join([line, *(f"    {one_line(detail)}" for detail in details)])


class ThreadedHandler(logging.Handler):
    """Writes a record at once where that cannot block, so that its line is there before the answer to its request.
    Otherwise queues it; a thread of its own writes what waits.

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
        self._queued = self._written = 0  # written to by `emit`, one at a time, and by the thread
        self._poll = _poll_of(stream)
        self._thread = threading.Thread(target=self._write_all, name="crplugins-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        if self._queue.qsize() >= self._pending:
            self._dropped += 1
            return
        try:
            record = _copied(record)
            record.msg, record.args = _message(record), None  # what the arguments point to may change
            vars(record)["request_id"] = request = REQUEST_ID.get()
            if record.exc_info and (request != NO_REQUEST or not _is_careful(record)):
                record.exc_text, record.exc_info = _where_raised(record.exc_info[1]), None
            if self._queued == self._written and self._written_at_once(record):
                return
            self._queued += 1
            self._queue.put(record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Writes the pending records, as far as the stream takes them within two seconds."""
        self._queue.put(None)
        self._thread.join(_CLOSING_SECONDS)
        super().close()

    def _written_at_once(self, record: logging.LogRecord) -> bool:
        if self._poll is None or self._dropped != self._reported:
            return False
        line = self.format(record) + "\n"
        may_block = 4 * len(line) > _NEVER_BLOCKS and len(line.encode(errors="replace")) > _NEVER_BLOCKS
        if may_block or not self._poll.poll(0):
            return False
        self._stream.write(line)
        self._stream.flush()
        return True

    def _write_all(self) -> None:
        while (record := self._queue.get()) is not None:
            self._report_dropped()
            self._write(record)
            self._written += 1
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


def _poll_of(stream: TextIO) -> "select.poll | None":
    """Tells whether `stream` takes more; None for one that cannot be asked, and for a terminal, which may lie."""
    try:
        if stream.isatty():
            return None
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
    except (OSError, ValueError, AttributeError):
        return None
    return poll


def _copied(record: logging.LogRecord) -> logging.LogRecord:
    """Another record, as other handlers have this one too. `copy.copy` takes ten times as long."""
    copied = object.__new__(type(record))
    vars(copied).update(vars(record))
    return copied


def _message(record: logging.LogRecord) -> str:
    """The text of a record; of another library than the careful ones the place where it was written."""
    if _is_careful(record):
        return record.getMessage()
    return f"a message from {record.module}:{record.lineno}, which may hold texts of requests and is not written"


def _is_careful(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] in _CAREFUL


def _where_raised(error: BaseException | None) -> str:
    """An exception and its causes without their texts. Reads no source: this runs on the event loop."""
    lines: list[str] = []
    for _ in range(_MOST_CAUSES):
        if error is None:
            break
        frames = list(walk_tb(error.__traceback__))[-_MOST_FRAMES:]
        lines += [f"{frame.f_code.co_filename}:{line} in {frame.f_code.co_name}" for frame, line in frames]
        lines.append(type(error).__qualname__)
        error = error.__cause__ or error.__context__
    return "\n".join(lines)
