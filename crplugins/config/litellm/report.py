"""What becomes of each key of a file of LiteLLM's: a row for each, and a warning for each that is lost."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args

import msgspec

from crplugins.config.litellm.keys.group import KeyFateKind
from crplugins.config.litellm.reading import LitellmReading
from crplugins.config.litellm.settings import SECTIONS, SETTINGS
from crplugins.config.litellm.table import OFF, UNKNOWN, UNKNOWN_PARAMETER, KeyFate, is_off, key_table
from crplugins.config.litellm_params import LitellmParams
from crplugins.config.models import ModelEntry
from crplugins.config.schema import Config
from crplugins.handlers.litellm_settings import is_parameter
from crplugins.settings.document import YamlDocument
from crplugins.settings.errors import KeyPath, Problem, did_you_mean, format_path
from crplugins.settings.reading import is_a_name

_OURS: Final = KeyFate("honoured", "a key of ours")
_DEFAULT: Final = KeyFate(
    "honoured", "a default for requests that do not say it, or a parameter that the provider documents"
)
_NO_MAPPING: Final = KeyFate("warned", "it must be a mapping")
_NOTE: Final = KeyFate("honoured", "kept as a note about the model; nothing here depends on it")
_LIKENESS: Final = 0.85
_NO_NAME: Final = "(a key that is no name)"


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key of the file. `line` is None for a configuration from Python; `file` is set in an included file."""

    path: KeyPath
    fate: KeyFate
    line: int | None
    file: str | None
    shown: str

    def as_dict(self) -> dict[str, Any]:
        return {"file": self.file, "line": self.line, "key": self.shown, "fate": self.fate.kind, "say": self.fate.say}


def rows_of(document: YamlDocument, reading: LitellmReading, problems: Sequence[Problem] = ()) -> list[KeyRow]:
    """A row for each key of the file, at any depth. `problems` are what is wrong with it, at their places."""
    fates = _Fates(reading, problems)
    return [fates.row(path, value, document) for path, value in _keys(document.data)]


def totals(rows: Sequence[KeyRow]) -> dict[str, int]:
    """How many keys have each fate."""
    counts = Counter(row.fate.kind for row in rows)
    return {kind: counts[kind] for kind in get_args(KeyFateKind)}


def told_of(document: YamlDocument, reading: LitellmReading) -> list[str]:
    """A sentence for each key that is lost, for one inside another only if that one is not."""
    fates = _Fates(reading, ())
    sentences = [_sentence(path, value, fate) for path, value, fate in _lost(document.data, (), fates)]
    if reading.is_litellms and not document.data.get("model_list"):
        sentences.append("there is no model_list, so the demo model is served")
    return sentences


def _lost(value: Any, path: KeyPath, fates: "_Fates") -> Iterator[tuple[KeyPath, Any, KeyFate]]:
    """The outermost keys and entries that are lost, in the order of the file."""
    members = (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    )
    for key, item in members:
        below = (*path, key)
        if not fates.may_be_lost(below):
            continue
        fate = fates.of(below, item) if fates.has_own(below) else None
        if fate is not None and fate.is_lost:
            yield below, item, fate
        else:
            yield from _lost(item, below, fates)


def _sentence(path: KeyPath, value: Any, fate: KeyFate) -> str:
    shown = f"a key of {format_path(path[:-1])} that is no name" if _may_be_a_secret(path, value) else format_path(path)
    return f"{shown} {fate.verb}: {fate.say}"


class _Fates:
    def __init__(self, reading: LitellmReading, problems: Sequence[Problem]) -> None:
        self._decided = dict(reading.fates)
        for problem in problems:
            self._decided[problem.path] = KeyFate("refused", problem.message, "is refused")

        self._around = {path[:length] for path in self._decided for length in range(1, len(path) + 1)}

    def may_be_lost(self, path: KeyPath) -> bool:
        """Whether something is decided of the key or of one below it, or the table says something of it."""
        return path in self._around or path[0] in SECTIONS

    def has_own(self, path: KeyPath) -> bool:
        """Whether something is said of the key itself."""
        return path in self._decided or (path[0] in SECTIONS and len(path) <= 2)

    def row(self, path: KeyPath, value: Any, document: YamlDocument) -> KeyRow:
        line, file = document.source.place(path)
        fate, owner = self.of(path, value), self._owner(path)
        if len(owner) < len(path) and not (path[0] == "model_list" and len(owner) == 2 and len(path) == 3):
            fate = msgspec.structs.replace(fate, say=f"as {format_path(owner)}")
        return KeyRow(path, fate, line, file, _shown(path, value))

    def _owner(self, path: KeyPath) -> KeyPath:
        """The key that decides: the key itself or one around it."""
        decided = next((path[:length] for length in range(len(path), 0, -1) if path[:length] in self._decided), None)
        return decided or path[: _depth_in_table(path)]

    def of(self, path: KeyPath, value: Any) -> KeyFate:
        """What is decided of the key, or of one around it, or what the table says of it."""
        for length in range(len(path), 0, -1):
            if (decided := self._decided.get(path[:length])) is not None:
                return decided
        if len(path) == 1 and path[0] in SETTINGS and not isinstance(value, Mapping) and value is not None:
            return _NO_MAPPING
        fate = self._of_table(path)
        return OFF if fate.is_lost and is_off(value) and not _may_be_a_secret(path, value) else fate

    def _of_table(self, path: KeyPath) -> KeyFate:
        section, key = _place_in_table(path)
        if section == "ours":
            return _OURS
        found = key_table().find(section, key)
        if section == "model_info":
            return found or _NOTE
        if section == "litellm_params" and found is None:
            return _DEFAULT if is_parameter(key) else _OURS if key in LitellmParams.known_keys() else UNKNOWN_PARAMETER
        if section == "entry" and found is None and key in ModelEntry.known_keys():
            return _OURS
        return found or _misplaced(section, key) or _unknown(section, key)


def _misplaced(section: str, key: str) -> KeyFate | None:
    """What is said of a key in the wrong one of LiteLLM's sections, where LiteLLM does not read it either."""
    right = [other for other in SETTINGS if other != section and key in key_table().keys_in(other)]
    return KeyFate("warned", f"it is a key of {right[0]}, also for LiteLLM") if section in SETTINGS and right else None


def _unknown(section: str, key: str) -> KeyFate:
    """What is said of a key that nobody knows, with the one that it may have been meant to be."""
    hint = did_you_mean(key, key_table().keys_in(section), _LIKENESS) if section in SETTINGS else ""
    return msgspec.structs.replace(UNKNOWN, verb=UNKNOWN.verb + hint) if hint else UNKNOWN


def _depth_in_table(path: KeyPath) -> int:
    """How many parts of a path lead to the key that the table has a row for."""
    if path[0] == "model_list":
        return 4 if len(path) > 3 and path[2] in ("litellm_params", "model_info") else min(len(path), 3)
    return min(len(path), 2 if path[0] in SETTINGS else 1)


def _place_in_table(path: KeyPath) -> tuple[str, str]:
    """The section of the table for a key, and its name there. What stands deeper has the fate of what is around it."""
    top = str(path[0])
    if top in SETTINGS and len(path) > 1:
        return top, str(path[1])
    if top == "model_list" and len(path) > 2:
        inner = path[2]
        if inner in ("litellm_params", "model_info") and len(path) > 3:
            return str(inner), str(path[3])
        return "entry", str(inner)
    if top in SECTIONS or top == "model_list":
        return "file", top
    return ("ours", top) if top in Config.known_keys() else ("file", top)


def _keys(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Every key of every mapping, in the order of the file."""
    for key, item in _members(value):
        if isinstance(key, str):
            yield (*path, key), item
        yield from _keys(item, (*path, key))


def _members(value: Any) -> Iterable[tuple[str | int, Any]]:
    if isinstance(value, Mapping):
        return [(str(key), item) for key, item in value.items()]
    return enumerate(value) if isinstance(value, list | tuple) else ()


def _may_be_a_secret(path: KeyPath, value: Any) -> bool:
    """Whether the name of a key may be a secret, after which a colon was forgotten."""
    if value is not None or not isinstance(path[-1], str) or is_a_name(path[-1]):
        return False
    return key_table().find(*_place_in_table(path)) is None


def _shown(path: KeyPath, value: Any) -> str:
    if not _may_be_a_secret(path, value):
        return format_path(path)
    return ".".join(part for part in (format_path(path[:-1]), _NO_NAME) if part)
