"""Latest: a mapping that forgets what was put in longest ago, for what clients can make many of."""

from collections import OrderedDict
from typing import Final, TypeVar

K = TypeVar("K")
V = TypeVar("V")

MOST: Final = 4096


class Latest(OrderedDict[K, V]):
    """Keeps `most` entries. Reading one does not make it younger: what is forgotten is made again."""

    def __init__(self, most: int = MOST) -> None:
        super().__init__()
        self._most: Final = most

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > self._most:
            self.popitem(last=False)
