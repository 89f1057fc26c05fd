"""The garbage collector, kept out of the way of work that makes many objects. Imports next to nothing: it is there for
imports.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collector() -> Iterator[None]:
    """For work that makes many objects and no garbage. Looking for it takes two thirds of the time that reading many
    keys takes, and a tenth of that of imports.

    Nor are they looked at as soon as it is on again, all in one step in which nothing else runs: they count as old.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            if not _something_is_frozen():  # else somebody wants what is frozen to stay so
                gc.freeze()
                gc.unfreeze()
            gc.enable()


def _something_is_frozen() -> bool:
    """Whether anything was ever found frozen. The count walks through all of it, a million objects with litellm."""
    global _found_frozen
    _found_frozen = _found_frozen or gc.get_freeze_count() > 0
    return _found_frozen


_found_frozen = False
