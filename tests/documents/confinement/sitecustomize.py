"""Imported by every Python that has this folder in PYTHONPATH: modules in REFUSED_MODULES are not installed there."""

import os
import sys

_REFUSED = frozenset(os.environ.get("REFUSED_MODULES", "").split(","))


class _Confined:
    """In the place of all finders: what is refused is not found, by `import` and by `find_spec` alike."""

    def __init__(self, finders):
        self._finders = finders

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in _REFUSED:
            return None
        for finder in self._finders:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                return spec
        return None

    def invalidate_caches(self):
        for finder in self._finders:
            if hasattr(finder, "invalidate_caches"):
                finder.invalidate_caches()

    def find_distributions(self, *arguments, **keywords):
        for finder in self._finders:
            if hasattr(finder, "find_distributions"):
                yield from finder.find_distributions(*arguments, **keywords)


if {""} != _REFUSED:
    sys.meta_path[:] = [_Confined(list(sys.meta_path))]
