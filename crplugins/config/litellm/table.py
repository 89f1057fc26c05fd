"""FateTable: what becomes of each key of LiteLLM's, from the one list of them in `keys`."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from crplugins.config.litellm.keys.group import KeyFateKind, KeyGroup


class KeyFate(msgspec.Struct, frozen=True):
    """What becomes of a key.

    Attributes:
        kind: `honoured` under its own name, `mapped` to a key of ours, or lost: `warned` says what to write instead,
            `refused` why there is nothing.
        say: the sentence about it, without its end.
        verb: what a warning says of the key before that.
    """

    kind: "KeyFateKind"
    say: str
    verb: str = "is ignored"

    @property
    def is_lost(self) -> bool:
        return self.kind in ("warned", "refused")


UNKNOWN: Final = KeyFate("warned", "no key that is known here", "is unknown and does not count")
UNKNOWN_PARAMETER: Final = KeyFate(
    "warned", "what a provider takes beside OpenAI's parameters stands under 'extra_body'", "is unknown and not sent"
)
OFF: Final = KeyFate("honoured", "it is off, or empty, and so it is here")


def is_off(value: Any) -> bool:
    """Whether a key with this value asks for nothing that would be lost."""
    return value is None or value is False or value in ("", [], {}) or (isinstance(value, str) and value == "false")


class FateTable:
    """What becomes of each key of the groups."""

    def __init__(self, groups: "Iterable[KeyGroup]") -> None:
        self._exact: dict[tuple[str, str], KeyFate] = {}
        self._patterns: dict[str, list[tuple[str, KeyFate]]] = {}
        for group in groups:
            fate = KeyFate(group.fate, group.say)
            for name in group.names.split():
                if "*" in name:
                    self._patterns.setdefault(group.section, []).append((name, fate))
                elif self._exact.setdefault((group.section, name), fate) is not fate:
                    raise ValueError(f"{name} stands twice among the keys of {group.section}")

    def find(self, section: str, key: str) -> KeyFate | None:
        """Of a key whose name stands in the table that row, else the first whose pattern fits; None if none does."""
        if (exact := self._exact.get((section, key))) is not None:
            return exact
        return next((fate for name, fate in self._patterns.get(section, ()) if fnmatchcase(key, name)), None)

    def keys_in(self, section: str) -> frozenset[str]:
        """The names without a `*`."""
        return frozenset(name for where, name in self._exact if where == section)


@cache
def key_table() -> FateTable:
    """The one of this release. Made when it is asked for: most files of ours have no key of LiteLLM's alone."""
    from crplugins.config.litellm.keys import KEYS

    return FateTable(KEYS)
