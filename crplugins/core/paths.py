"""PathSet: paths as a configuration names them."""

from collections.abc import Iterable


class PathSet:
    """Whole paths, and with `/*` at the end all that is below one."""

    __slots__ = ("_below", "_whole")

    def __init__(self, paths: Iterable[str]) -> None:
        self._whole = frozenset(paths)
        self._below = tuple(path[:-1] for path in self._whole if path.endswith("/*"))

    def __contains__(self, path: str) -> bool:
        return path in self._whole or path.startswith(self._below)
