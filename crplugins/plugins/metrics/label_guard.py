"""LabelGuard: bounds on the label values that clients and upstreams decide."""

from collections.abc import Callable
from typing import Final

from crplugins.core.outcome import ErrorType
from crplugins.plugins.metrics.families import Families
from crplugins.plugins.metrics.slots import Admitted

OTHER: Final = "other"
"""The label of every value without series of its own."""

NONE: Final = "none"
"""The `key_id` of requests without an authenticated key."""

ENDINGS: Final = 64
"""Pairs of a status and an error type with a `code` of their own; a gateway in use has about twenty."""

PROVIDERS: Final = 32
"""Providers with a label of their own."""

Write = Callable[..., None]
"""A bound `inc` or `observe`."""

Ending = tuple[int, ErrorType]


class LabelGuard:
    """Bounds the values of the labels `code` and `provider`, which upstreams decide, and counts what it replaces."""

    def __init__(self, families: Families) -> None:
        self.endings: Final[Admitted[Ending]] = Admitted((), ENDINGS)
        self.providers: Final[Admitted[str]] = Admitted((), PROVIDERS)
        self.overflow: Final[dict[str, Write]] = {
            label: families.overflow.labels(label).inc for label in ("model", "key_id", "code", "provider")
        }

    def replaced(self, label: str, write: Write) -> Write:
        """`write`, which also counts that the label was replaced."""
        count = self.overflow[label]

        def counted() -> None:
            count()
            write()

        return counted
