"""Protocols as those speak them who answer: the demo model, and the fake provider of tests.

`completion.py` is what a model has said; a file for each protocol puts it into the form of its provider, whole or as
the events of a stream, and says which chat completion a request in it asks for. How the answers of others are read
stands in `core/dialects/`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from crplugins.handlers.wires.chat import CHAT_WIRE
from crplugins.handlers.wires.completions import COMPLETIONS_WIRE
from crplugins.handlers.wires.counted import COUNTED_WIRES
from crplugins.handlers.wires.embeddings import EMBEDDINGS_WIRE
from crplugins.handlers.wires.messages import COUNT_TOKENS_WIRE, MESSAGES_WIRE
from crplugins.handlers.wires.responses import COMPACT_WIRE, RESPONSES_WIRE
from crplugins.handlers.wires.wire import Wire

__all__ = ["WIRES", "Wire", "wire_of"]

_ALL: Final = (
    CHAT_WIRE,
    COMPLETIONS_WIRE,
    RESPONSES_WIRE,
    COMPACT_WIRE,
    MESSAGES_WIRE,
    COUNT_TOKENS_WIRE,
    EMBEDDINGS_WIRE,
    *COUNTED_WIRES,
)

WIRES: Final[Mapping[str, Wire]] = MappingProxyType({wire.path: wire for wire in _ALL})
"""By what their paths end with; the first that fits counts."""


def wire_of(path: str) -> Wire | None:
    """The protocol of a path without its query; None if it is of none."""
    return next((wire for ending, wire in WIRES.items() if path.endswith(ending)), None)
