"""What `crplugins serve` says on stderr while it starts: that it does, what it loads, and how long that took.

The first line is there before there is a log; the others are lines of the log, whichever level and format it has.
"""

import logging
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from crplugins import __version__

if TYPE_CHECKING:
    from crplugins.homes.gateway.app import Gateway

logger = logging.getLogger("crplugins.start")

STARTING: Final = f"crplugins {__version__} is starting\n"
_NAMED_MODELS: Final = 3


class StartupLog:
    """Begins with the first line, at once: whoever has started it looks for a sign of life."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        logger.setLevel(logging.INFO)
        sys.stderr.write(STARTING)
        sys.stderr.flush()

    def listens(self, waiting: Sequence[str] = ()) -> None:
        """Clients are accepted; the models in `waiting` answer later."""
        later = f"; {enumerated(waiting)} will answer when litellm is imported" if waiting else ""
        logger.info("loaded after %s s%s", self._seconds, later)

    async def loads(self, gateway: "Gateway") -> None:
        """Says when the models that wait for litellm answer, or that they never will."""
        waited = gateway.waiting()
        await gateway.loaded()
        lost = gateway.waiting()
        answer = [name for name in waited if name not in lost]
        if answer:
            logger.info("litellm is imported after %s s; from now on %s answers", self._seconds, enumerated(answer))
        if lost:
            logger.info("%s cannot be served, for the reason above", enumerated(lost))

    @property
    def _seconds(self) -> str:
        return f"{self._clock() - self._began:.1f}"


def enumerated(names: Sequence[str]) -> str:
    """The first few of them."""
    more = len(names) - _NAMED_MODELS
    return ", ".join(names[:_NAMED_MODELS]) + (f" and {more} more" if more > 0 else "")
