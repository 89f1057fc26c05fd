"""Which label values have series of their own: `Admitted` the first that come, `KeySlots` keys, which come and go."""

from collections.abc import Callable, Hashable, Iterable
from typing import Final, Generic, TypeVar

from crplugins.plugins.metrics.hidden_keys import HiddenKeys

H = TypeVar("H", bound=Hashable)

NEVER: Final = float("-inf")
"""When a key was used that has not been used."""

QUIET_SECONDS: Final = 3600.0
"""After so long without a request a key gives its series to a new one, if there is no other room: it was deleted, has
expired, or is hardly used. Prometheus has seen its last values many times by then."""


class Admitted(Generic[H]):
    """The values with series of their own: those given, then the first others that come, up to `cap` in all."""

    def __init__(self, pinned: Iterable[H], cap: int) -> None:
        self.cap = cap
        self._admitted: Final = set(list(dict.fromkeys(pinned))[:cap])

    def admit(self, value: H) -> bool:
        """Whether the value has series of its own."""
        if value in self._admitted:
            return True
        if len(self._admitted) >= self.cap:
            return False
        self._admitted.add(value)
        return True


class KeySlots(Admitted[str]):
    """The keys with series of their own: configured ones, then others that come, up to `cap` in all. One that is not
    configured and has long been quiet can be put out for a new one.

    Args:
        last_use: when a key was used last.
        hidden: those that have been put out, where their series cannot be removed.
    """

    def __init__(self, cap: int, last_use: Callable[[str], float], hidden: HiddenKeys | None = None) -> None:
        super().__init__((), cap)
        self._last_use, self._hidden = last_use, hidden
        self._pinned: frozenset[str] = frozenset()
        self._quiet: list[str] = []
        """Those that were quiet when all were looked through, the quietest last."""
        self._none_before = NEVER

    def admit(self, value: str) -> bool:
        """Whether the key has series of its own."""
        if value in self._admitted:
            return True
        admitted = super().admit(value)
        if admitted and self._hidden is not None:
            self._hidden.show(value)
        return admitted

    def pin(self, keys: Iterable[str]) -> list[str]:
        """Those of the configured keys that there is room for. They stay until others are configured."""
        pinned = [key for key in keys if self.admit(key)]
        self._pinned = frozenset(pinned)
        self._quiet, self._none_before = [], NEVER
        return pinned

    def free_one(self, now: float) -> str | None:
        """The key that was quiet for longest, which has no place any more; None if all are in use."""
        if not self._quiet and now >= self._none_before:
            self._look_through(now)
        while self._quiet:
            key = self._quiet.pop()
            if key not in self._pinned and self._last_use(key) <= now - QUIET_SECONDS:
                if self._hidden is not None and not self._hidden.hide(key, self.cap):
                    return None
                self._admitted.discard(key)
                return key
        return None

    def _look_through(self, now: float) -> None:
        """All of them, at most once before one can have become quiet."""
        uses = {key: self._last_use(key) for key in self._admitted - self._pinned}
        quiet = [key for key, used in uses.items() if used <= now - QUIET_SECONDS]
        self._quiet = sorted(quiet, key=uses.__getitem__, reverse=True)
        self._none_before = min(uses.values(), default=float("inf")) + QUIET_SECONDS
