"""Label values from outside, kept few: names of models, ids of keys, and whatever else a stranger could invent."""

from collections.abc import Callable, Hashable, Iterable
from typing import Final, Generic, TypeVar

from crplugins.core.patterns import Pattern

OTHER: Final = "other"
"""Stands for every value that has no series of its own."""

NONE: Final = "none"
"""The `key_id` of requests without an authenticated key."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ModelNames:
    """Which series a requested model is counted in: a configured name, the text of a pattern, or `other`."""

    def __init__(self, configured: Iterable[str]) -> None:
        patterns = [Pattern.of(text) for text in configured]
        self.labels: Final = tuple(dict.fromkeys([*(p.text for p in patterns), OTHER]))
        self._patterns = [p for p in patterns if p.star]

    def match(self, name: str) -> str | None:
        """The text of the first pattern that fits a name which is not configured itself."""
        return next((p.text for p in self._patterns if p.matches(name)), None)


class Bounded(Generic[K]):
    """Values that have series of their own: the pinned ones, then the first others that come, `cap` in all."""

    def __init__(self, pinned: Iterable[K], cap: int) -> None:
        self.cap: Final = cap
        self.admitted: Final = set(list(dict.fromkeys(pinned))[:cap])

    def admit(self, value: K) -> bool:
        if value in self.admitted:
            return True
        if len(self.admitted) >= self.cap:
            return False
        self.admitted.add(value)
        return True


class Lazily(dict[K, V]):
    """A dict that makes what is missing. Reading what is there costs what reading a dict costs."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[K], V]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: K) -> V:
        value = self[key] = self._make(key)
        return value
