"""The signals of `crplugins serve`: SIGTERM and Ctrl-C end it, whenever they come; SIGHUP reloads its configuration."""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType


def exit_cleanly_on_signals() -> None:
    """SIGTERM and Ctrl-C exit with 0, also while the process starts.

    uvicorn handles them while it serves, and raises them again after its own shutdown.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _exit)


def _exit(_number: int, _frame: FrameType | None) -> None:
    ignore_further_signals()
    sys.exit(0)


def ignore_further_signals() -> None:
    """A further SIGTERM says nothing new to a process that ends: raised while the event loop closes, it would leave
    threads behind that nobody hears, and a traceback. A further Ctrl-C ends the process at once."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Hangups:
    """SIGHUP: taken from the start on, so that it ends no process; acted on once there is something to reload.

    A terminal that closes sends it too, and then nobody is there any more who wants the gateway: it ends as at SIGTERM.
    Under nohup the signal is ignored, and stays so.
    """

    def __init__(self) -> None:
        self._missed = False
        self._reload: Callable[[], None] | None = None
        self._terminals = [number for number in range(3) if os.isatty(number)]
        self._ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        if not self._ignored:
            signal.signal(signal.SIGHUP, self._told)

    def listen(self, reload: Callable[[], None]) -> None:
        """Call `reload` at each from now on, and at once for one that has come already."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN if self._ignored else self._told)
        self._reload = reload
        if self._missed:
            self._missed = False
            reload()

    def _told(self, _number: int, _frame: FrameType | None) -> None:
        if self._terminals and not any(map(os.isatty, self._terminals)):
            signal.raise_signal(signal.SIGTERM)
        elif self._reload is None:
            self._missed = True
        else:
            self._reload()
