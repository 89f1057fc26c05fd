"""What a running gateway writes to stderr: warnings as text, or everything as JSON if the configuration wants it."""

import logging
import sys
from contextlib import AbstractContextManager

from crplugins.config import Config
from crplugins.plugins.access_log import JSONFormatter
from crplugins.plugins.access_log_stream import log_to


def logging_to_stderr(config: Config) -> AbstractContextManager[None]:
    """Within the block, by a thread: a slow terminal or a full pipe holds up no request."""
    if config.server.access_log:
        return log_to(sys.stderr, formatter=JSONFormatter(), level=logging.INFO)
    return log_to(sys.stderr, level=logging.WARNING)
