"""FoundCache: what the database said, for as long as it may be believed."""

from collections import OrderedDict
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple, TypeVar

from crplugins.keys.source import Found

SIZE: Final = 10_000
UNKNOWN_SECONDS: Final = 5.0


T = TypeVar("T")


class Entry(NamedTuple):
    found: Found
    loaded_at: float


class FoundCache:
    """Immutable snapshots by digest, the least used going first; and digests that nobody has, for 5 s.

    Times are seconds of one monotonic clock. `generation` goes up whenever something may have changed: what was asked
    before that is not worth keeping.
    """

    def __init__(self, size: int = SIZE, unknown_seconds: float = UNKNOWN_SECONDS) -> None:
        self.generation = 0
        self._size, self._unknown_seconds = size, unknown_seconds
        self._known: OrderedDict[bytes, Entry] = OrderedDict()
        self._unknown: OrderedDict[bytes, float] = OrderedDict()

    def get(self, digest: bytes) -> Entry | None:
        entry = self._known.get(digest)
        if entry is not None:
            self._known.move_to_end(digest)
        return entry

    def is_unknown(self, digest: bytes, now: float) -> bool:
        return now < self._unknown.get(digest, now)

    def put(self, digest: bytes, found: Found | None, now: float) -> None:
        if found is None:
            self._known.pop(digest, None)
            _put(self._unknown, digest, now + self._unknown_seconds, self._size)
        else:
            _put(self._known, digest, Entry(found, now), self._size)

    def forget(self, key_ids: AbstractSet[str]) -> None:
        """These keys have changed, and any unknown secret may have become one."""
        self.generation += 1
        self._unknown.clear()
        for digest in [digest for digest, entry in self._known.items() if entry.found.key.id in key_ids]:
            del self._known[digest]

    def clear(self) -> None:
        self.generation += 1
        self._unknown.clear()
        self._known.clear()


def _put(values: OrderedDict[bytes, T], digest: bytes, value: T, size: int) -> None:
    values[digest] = value
    values.move_to_end(digest)
    if len(values) > size:
        values.popitem(last=False)
