"""Lines of the log about an upstream: each names its request, deployment and attempt, and none has words of others.

What an upstream says may repeat the prompt, an answer or a key, so of its answers only words of the protocol are
logged: a status, a type, a code. What it said stands in a record of level DEBUG, redacted and cut.
"""

import logging
from contextvars import ContextVar
from typing import Final

from crplugins.core.redaction import one_line

NO_REQUEST: Final = "-"
REQUEST_ID: Final[ContextVar[str]] = ContextVar("crplugins_request_id", default=NO_REQUEST)
"""The request that this task serves."""

ATTEMPT: Final[ContextVar[int]] = ContextVar("crplugins_attempt", default=1)
"""Which call of a deployment it makes now for the request."""


def log_upstream(
    logger: logging.Logger, deployment: str, text: str, *args: object, level: int = logging.WARNING
) -> None:
    """One line about `deployment` and the request that this task serves, both also as facts for JSON.

    Texts among `args` are cut and kept on the line.
    """
    if not logger.isEnabledFor(level):
        return
    request = REQUEST_ID.get()
    shown = [one_line(arg) if isinstance(arg, str) else arg for arg in args]
    attempt = ATTEMPT.get()
    facts = {"request_id": request, "deployment": deployment, "attempt": attempt}
    line = text % tuple(shown)
    head = "request %s, deployment %s, attempt %d: %s"
    logger.log(level, head, request, deployment, attempt, line, extra={"crplugins": facts})
