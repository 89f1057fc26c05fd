"""Where one's own plugins stand among the built-in ones."""

from collections.abc import Callable, Sequence

import msgspec

from crplugins.config.plugin_entry import PluginEntry
from crplugins.config.plugin_options import OptionsRefused
from crplugins.config.schema import Config
from crplugins.core.plugin import Plugin
from crplugins.settings.errors import Problem, did_you_mean

Numbered = tuple[int, PluginEntry]


def arrange_plugins(
    config: Config, builtin: Sequence[Plugin], make: Callable[[PluginEntry], Plugin] = PluginEntry.make
) -> list[Plugin]:
    """All plugins, outermost first: the built-in ones, and those of `config.plugins`, as `make` makes them, at their
    places.

    Without `before` or `after` one's own stand innermost, in list order. Several after the same one keep their order.

    Raises `ConfigError` for an option a plugin does not take, and for a place next to a plugin that is not there.
    """
    arrangement = _Arrangement(builtin, make)
    waiting: list[Numbered] = []
    for index, entry in enumerate(config.plugins):
        if _neighbour(entry) is None:
            arrangement.add(index, entry)
        else:
            waiting.append((index, entry))
    arrangement.place(waiting)
    if arrangement.problems:
        raise config.source.error(arrangement.problems)
    return arrangement.plugins


def _neighbour(entry: PluginEntry) -> str | None:
    return entry.before or entry.after


class _Arrangement:
    def __init__(self, builtin: Sequence[Plugin], make: Callable[[PluginEntry], Plugin]) -> None:
        self.plugins = list(builtin)
        self._make = make
        self.problems: list[Problem] = []
        self._names = [frozenset({plugin.name}) for plugin in builtin]  # of each plugin, in the same order
        self._followers: dict[int, int] = {}  # how many stand after a plugin already, by its id()

    def place(self, waiting: list[Numbered]) -> None:
        """Add the entries that stand next to another; that one may be among them, and come later in the list."""
        while ready := [numbered for numbered in waiting if self._find(_neighbour(numbered[1])) is not None]:
            index, entry = ready[0]
            waiting.remove(ready[0])
            self.add(index, entry)
        known = [name for names in self._names for name in names]
        promised = {name for _, entry in waiting for name in entry.names}
        for index, entry in waiting:
            self._misplaced(index, entry, known, promised)

    def add(self, index: int, entry: PluginEntry) -> None:
        try:
            plugin = self._make(entry)
        except OptionsRefused as error:
            self.problems += [msgspec.structs.replace(p, path=("plugins", index, *p.path)) for p in error.problems]
            plugin = Plugin()  # others may stand next to it all the same
        position = self._position(entry)
        self.plugins.insert(position, plugin)
        self._names.insert(position, entry.names | {plugin.name})

    def _find(self, name: str | None) -> int | None:
        return next((at for at, names in enumerate(self._names) if name in names), None)

    def _position(self, entry: PluginEntry) -> int:
        neighbour = _neighbour(entry)
        at = self._find(neighbour)
        if neighbour is None or at is None:
            return len(self.plugins)
        if entry.before:
            return at
        key = id(self.plugins[at])
        self._followers[key] = self._followers.get(key, 0) + 1
        return at + self._followers[key]

    def _misplaced(self, index: int, entry: PluginEntry, known: list[str], promised: set[str]) -> None:
        neighbour = _neighbour(entry) or ""
        message = f"there is no plugin '{neighbour}'{did_you_mean(neighbour, known)}"
        if neighbour in promised:
            message = f"'{neighbour}' has no place of its own to stand next to"
        self.problems.append(Problem(("plugins", index, "before" if entry.before else "after"), message))
