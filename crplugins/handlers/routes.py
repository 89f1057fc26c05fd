"""Routes: from the name a client asks for to a handler, or to whatever else belongs to a deployment."""

from collections.abc import Iterable
from itertools import cycle
from typing import Generic, TypeVar

T = TypeVar("T")


class Routes(Generic[T]):
    """Targets by `model_name`.

    Several of one name take turns. A name with `*` stands for every name that fits and is not written out;
    of several that fit, the longest wins.
    """

    def __init__(self, targets: Iterable[tuple[str, T]]) -> None:
        grouped: dict[str, list[T]] = {}
        for name, target in targets:
            grouped.setdefault(name, []).append(target)
        turns = {name: cycle(group) for name, group in grouped.items()}
        self._exact = {name: turn for name, turn in turns.items() if "*" not in name}
        wildcards = sorted((name for name in turns if "*" in name), key=len, reverse=True)
        self._wildcards = [(name.partition("*"), turns[name]) for name in wildcards]

    @property
    def names(self) -> list[str]:
        """The names written out, in the order they were given; wildcards are hidden."""
        return list(self._exact)

    def find(self, model: str) -> T | None:
        if model in self._exact:
            return next(self._exact[model])
        for (before, _, after), turn in self._wildcards:
            if len(model) >= len(before) + len(after) and model.startswith(before) and model.endswith(after):
                return next(turn)
        return None
