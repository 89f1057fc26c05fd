"""KeyGroup: keys of LiteLLM's that share a fate."""

from typing import Literal, NamedTuple

KeyFateKind = Literal["honoured", "mapped", "warned", "refused"]


class KeyGroup(NamedTuple):
    """Keys of a section, separated by spaces, that share a fate; `say` is the sentence about it, without its end."""

    section: str
    fate: KeyFateKind
    say: str
    names: str
