"""Where one's own plugins stand among the built-in ones."""

from collections.abc import Sequence

from crplugins.config.errors import Problem
from crplugins.config.nearest import did_you_mean
from crplugins.config.plugin_entry import PluginEntry, PluginRefused
from crplugins.config.schema import Config
from crplugins.core.plugin import Plugin


def arrange_plugins(config: Config, builtin: Sequence[Plugin]) -> list[Plugin]:
    """All plugins, outermost first: the built-in ones, and those of `config.plugins` at their places.

    Without `before` or `after` one's own stand innermost, in list order. Several after the same one keep their order.

    Raises `ConfigError` for an option a plugin does not take, and for a place next to a plugin that is not there.
    """
    arrangement = _Arrangement(builtin)
    entries = sorted(enumerate(config.plugins), key=lambda numbered: _is_placed(numbered[1]))
    for index, entry in entries:
        arrangement.add(index, entry)
    if arrangement.problems:
        raise config.source.error(arrangement.problems)
    return arrangement.plugins


def _is_placed(entry: PluginEntry) -> bool:
    return (entry.before or entry.after) is not None


class _Arrangement:
    def __init__(self, builtin: Sequence[Plugin]) -> None:
        self.plugins = list(builtin)
        self.problems: list[Problem] = []
        self._followers: dict[str, int] = {}

    def add(self, index: int, entry: PluginEntry) -> None:
        try:
            self.plugins.insert(self._position(index, entry), entry.make())
        except PluginRefused as error:
            self.problems.append(Problem(("plugins", index), str(error)))

    def _position(self, index: int, entry: PluginEntry) -> int:
        neighbour = entry.before or entry.after
        if neighbour is None:
            return len(self.plugins)
        names = [plugin.name for plugin in self.plugins]
        if neighbour not in names:
            side = "before" if entry.before else "after"
            message = f"there is no plugin '{neighbour}'{did_you_mean(neighbour, names)}"
            self.problems.append(Problem(("plugins", index, side), message))
            return len(self.plugins)
        if entry.before:
            return names.index(neighbour)
        followers = self._followers[neighbour] = self._followers.get(neighbour, 0) + 1
        return names.index(neighbour) + followers
