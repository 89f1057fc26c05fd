"""FairQueue: who of those that wait comes next, by start-time fair queueing.

Each key's requests keep their order. Between keys the next one is that with the smallest start tag: the size of what a
key has been served, divided by its weight. So keys that wait all the time are served in proportion to their weights,
within one largest request of each, and a key that comes later is not behind the whole backlog of another.

P. Goyal, H. M. Vin, H. Cheng: Start-time Fair Queueing, SIGCOMM 1996.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from itertools import chain, count
from typing import Final, Generic, Protocol, TypeVar

from crplugins.core.bounded_map import BoundedMap


class Weighed(Protocol):
    """What a request weighs against others.

    Attributes:
        key: whose it is.
        weight: of the key, above 0.
        size: how much is served with this request, at least 1.
    """

    @property
    def key(self) -> str: ...
    @property
    def weight(self) -> float: ...
    @property
    def size(self) -> int: ...


class Queued(Weighed, Protocol):
    """One request in a queue. `number` rises with the time of arrival."""

    @property
    def number(self) -> int: ...


W = TypeVar("W", bound=Queued)


class _Backlog(list[W]):
    """The requests of one key, in the order of their arrival, and the start tag of the first of them."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.start = start


class FairQueue(Generic[W]):
    """The requests that wait.

    What was served to a key that does not wait any more is remembered for the 4096 keys that were served last, for as
    long as the queue lives; a queue that is empty is to be thrown away, which ends the busy period.

    Attributes:
        length: how many wait.
    """

    def __init__(self) -> None:
        self.length = 0
        self._virtual_time = 0.0
        self._backlogs: Final[dict[str, _Backlog[W]]] = {}
        self._finished: Final[BoundedMap[str, float]] = BoundedMap()
        self._heap: Final[list[tuple[float, int, int, _Backlog[W]]]] = []
        self._pushed: Final = count()  # so that no two entries are compared by their backlogs

    def __iter__(self) -> Iterator[W]:
        return chain.from_iterable(self._backlogs.values())

    def add(self, waiting: W) -> None:
        backlog = self._backlogs.get(waiting.key)
        if backlog is None:
            start = max(self._virtual_time, self._finished.get(waiting.key, 0.0))
            backlog = self._backlogs[waiting.key] = _Backlog(start)
            self._push(backlog, waiting.number)
        insort(backlog, waiting, key=_number)  # one that has waited for another limit before may be older
        self.length += 1

    def first(self) -> W | None:
        """The one that comes next."""
        heap = self._heap
        while heap:
            start, _, _, backlog = heap[0]
            if backlog and backlog.start == start:
                return backlog[0]
            heappop(heap)
        return None

    def remove(self, waiting: W) -> None:
        """One that has left: its key pays nothing for it."""
        backlog = self._backlogs[waiting.key]
        del backlog[bisect_left(backlog, waiting.number, key=_number)]
        self.length -= 1
        if not backlog:
            self._forget(waiting.key, backlog)

    def serve(self, waiting: W) -> None:
        """One that has been served."""
        backlog = self._backlogs[waiting.key]
        self._virtual_time = max(self._virtual_time, backlog.start)
        backlog.start += waiting.size / waiting.weight
        self.remove(waiting)
        if backlog:
            self._push(backlog, backlog[0].number)

    def before(self, waiting: W) -> Iterator[W]:
        """Those that come before one that waits, as things are."""
        start = self._start_of(waiting)
        for backlog in self._backlogs.values():
            other = backlog.start
            for each in backlog:
                if each is waiting or (other, each.number) > (start, waiting.number):
                    break
                yield each
                other += each.size / each.weight

    def has_earlier(self, waiting: W) -> bool:
        """Whether a request of the same key waits here that came before one which waits elsewhere."""
        backlog = self._backlogs.get(waiting.key)
        return backlog is not None and backlog[0].number < waiting.number

    def weight(self) -> float:
        """Of all keys that wait."""
        return sum(backlog[0].weight for backlog in self._backlogs.values())

    def surplus(self, newest: W) -> W:
        """Which one is too many: the last of the key of which most wait for its weight, if possible the newest. So a
        key that fills a queue keeps no other out of it."""
        most = self._backlogs[newest.key]
        for backlog in self._backlogs.values():
            if len(backlog) / backlog[-1].weight > len(most) / most[-1].weight:
                most = backlog
        return most[-1]

    def _start_of(self, waiting: W) -> float:
        backlog = self._backlogs[waiting.key]
        start = backlog.start
        for each in backlog:
            if each is waiting:
                break
            start += each.size / each.weight
        return start

    def _push(self, backlog: _Backlog[W], number: int) -> None:
        heappush(self._heap, (backlog.start, number, next(self._pushed), backlog))

    def _forget(self, key: str, backlog: _Backlog[W]) -> None:
        del self._backlogs[key]
        if backlog.start > self._virtual_time:
            self._finished[key] = backlog.start
        if len(self._heap) > 2 * len(self._backlogs) + 16:  # keys that have come and left, which would pile up
            self._heap[:] = [entry for entry in self._heap if entry[3] and entry[3].start == entry[0]]
            heapify(self._heap)


def _number(waiting: Queued) -> int:
    return waiting.number
