"""Routes: from the name a client asks for to a handler."""

from collections.abc import Iterable
from itertools import cycle

from crplugins.handlers.handler import Handler


class Routes:
    """Handlers by `model_name`.

    Several handlers of one name take turns. A name with `*` stands for every name that fits and is not written out;
    of several that fit, the longest wins.
    """

    def __init__(self, handlers: Iterable[tuple[str, Handler]]) -> None:
        grouped: dict[str, list[Handler]] = {}
        for name, handler in handlers:
            grouped.setdefault(name, []).append(handler)
        turns = {name: cycle(group) for name, group in grouped.items()}
        self._exact = {name: turn for name, turn in turns.items() if "*" not in name}
        wildcards = sorted((name for name in turns if "*" in name), key=len, reverse=True)
        self._wildcards = [(name.partition("*"), turns[name]) for name in wildcards]

    @property
    def names(self) -> list[str]:
        """The names written out, in the order they were given; wildcards are hidden."""
        return list(self._exact)

    def find(self, model: str) -> Handler | None:
        if model in self._exact:
            return next(self._exact[model])
        for (before, _, after), turn in self._wildcards:
            if len(model) >= len(before) + len(after) and model.startswith(before) and model.endswith(after):
                return next(turn)
        return None
