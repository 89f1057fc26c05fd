"""BoundedMap: a mapping of limited size that drops its oldest entries, for keys of which clients can invent many."""

from collections import OrderedDict
from typing import Final, TypeVar

K = TypeVar("K")
V = TypeVar("V")

DEFAULT_SIZE: Final = 4096


class BoundedMap(OrderedDict[K, V]):
    """Keeps the `size` entries that were set last. Reading one does not renew it: a dropped entry is computed again."""

    def __init__(self, size: int = DEFAULT_SIZE) -> None:
        super().__init__()
        self._size: Final = size

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > self._size:
            self.popitem(last=False)
