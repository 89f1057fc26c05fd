"""Keyboard: whether somebody has pressed a key, without waiting for the Enter key."""

import os
import sys
import termios
import tty
from select import select
from types import TracebackType
from typing import Self


class Keyboard:
    """Within the block, single keys are read from the terminal; Ctrl-C goes on to be one. Without a terminal there are
    none, and `pressed` only waits.
    """

    def __enter__(self) -> Self:
        self._terminal = sys.stdin.fileno() if sys.stdin.isatty() else None
        if self._terminal is not None:
            self._before = termios.tcgetattr(self._terminal)
            tty.setcbreak(self._terminal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._terminal is not None:
            termios.tcsetattr(self._terminal, termios.TCSADRAIN, self._before)

    def pressed(self, seconds: float) -> str:
        """The next key, or "" if none is pressed within this time."""
        if self._terminal is None:
            select([], [], [], seconds)
            return ""
        ready, _, _ = select([self._terminal], [], [], seconds)
        return os.read(self._terminal, 1).decode(errors="replace") if ready else ""  # no more than one is taken
