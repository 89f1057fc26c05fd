"""What a running gateway writes to stderr: warnings, and a line per request if the configuration wants it."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from crplugins.config import Config
from crplugins.plugins.access_log_json import JSONFormatter
from crplugins.plugins.access_log_stream import log_to


@contextmanager
def logging_to_stderr(config: Config) -> Iterator[None]:
    """Within the block, by a thread: a slow terminal or a full pipe holds up no request."""
    if not config.server.access_log:
        yield
        return
    with log_to(sys.stderr, formatter=JSONFormatter(), level=logging.INFO, loggers=("crplugins.access",)):
        yield
