"""Pending: lines that are committed nowhere yet, oldest first."""

from collections import deque
from collections.abc import Iterable

from crplugins.ledger.journal import Journal, Segment

Line = tuple[bytes, Segment | None]
"""A line of JSON, and where in the journal it is; None for nowhere."""


class Pending:
    """A queue in memory, each of whose lines is in the journal too. For one thread.

    Attributes:
        journal: None until it is open; lines from before are not in it.
        unjournaled: how many lines were not, because it was full or not there.
    """

    def __init__(self) -> None:
        self.journal: Journal | None = None
        self.unjournaled = 0
        self._lines: deque[Line] = deque()
        self._taken = 0

    def __len__(self) -> int:
        """Those that are being committed included."""
        return len(self._lines) + self._taken

    @property
    def waiting(self) -> int:
        """Those that nobody has taken."""
        return len(self._lines)

    def add(self, line: bytes) -> None:
        segment = self.journal.append(line) if self.journal is not None else None
        if segment is None:
            self.unjournaled += 1
        self._lines.append((line, segment))

    def take(self, number: int) -> list[Line]:
        """The oldest, `number` at most. They are to be put back or done with."""
        lines = self._lines
        taken = [lines.popleft() for _ in range(min(number, len(lines)))]
        self._taken += len(taken)
        return taken

    def put_back(self, lines: list[Line]) -> None:
        """They could not be committed, and are the oldest again."""
        self._taken -= len(lines)
        self._lines.extendleft(reversed(lines))

    def done(self, lines: Iterable[Line]) -> None:
        """They are committed, and their space in the journal is free."""
        for _, segment in lines:
            self._taken -= 1
            if segment is not None:
                segment.release()
