"""Ends: when what is remembered has no effect any more."""

from heapq import heappop, heappush, heapreplace
from itertools import count
from typing import Final, Protocol


class Forgetting(Protocol):
    """What remembers something by key."""

    def end(self, key: str) -> float:
        """Until when it has to be remembered, as of now, in milliseconds since 1970."""

    def forget(self, key: str) -> None: ...


class Ends:
    """A queue with one entry for each thing remembered.

    An end that has moved is noticed when the old one has come: a thing that is used a thousand times in its life is
    not moved about in the queue as often.
    """

    __slots__ = ("_heap", "_numbers")

    def __init__(self) -> None:
        self._heap: Final[list[tuple[float, int, Forgetting, str]]] = []
        self._numbers: Final = count()  # so that no two entries are compared by what they stand for

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, end: float, owner: Forgetting, key: str) -> None:
        heappush(self._heap, (end, next(self._numbers), owner, key))

    def forget(self, now: int, most: int) -> None:
        """Forget what has ended, looking at up to `most` things."""
        heap = self._heap
        while most and heap and heap[0][0] <= now:
            self._look_at_first(now)
            most -= 1

    def _look_at_first(self, now: int) -> None:
        _, number, owner, key = self._heap[0]
        end = owner.end(key)
        if end > now:
            heapreplace(self._heap, (end, number, owner, key))
        else:
            heappop(self._heap)
            owner.forget(key)
