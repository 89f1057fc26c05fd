"""Draft: our configuration while it is written from a file of LiteLLM's, and what becomes of each of its keys."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from crplugins.config.litellm.settings import SECTIONS
from crplugins.config.litellm.table import OFF, KeyFate, is_off
from crplugins.settings.environment import Expansion
from crplugins.settings.errors import KeyPath, format_path


class Draft:
    """What has been written so far, and where each part of it stands in the file.

    Attributes:
        file: the file as it is, nothing in it checked or expanded yet.
        is_litellms: whether it is LiteLLM's alone, so that what cannot be used is left out.
        data: the keys of ours; what counts of the sections stands among them.
        environ: the environment, and above it `environment_variables`, as in LiteLLM.
        variables: those alone.
        entries: of each entry of `model_list` in `data`, its index in the file.
        fates: what becomes of keys by their place in the file, where the value or the other keys decide.
        moved: the place in the file of each key of `data` that stood in a section.
    """

    def __init__(self, file: Mapping[str, Any], environ: Mapping[str, str], *, is_litellms: bool) -> None:
        self.file = file
        self.is_litellms = is_litellms
        self.data: dict[str, Any] = {key: value for key, value in file.items() if key not in SECTIONS}
        self.variables = dict(_variables(file.get("environment_variables"), environ))
        self.environ = {**environ, **self.variables} if self.variables else environ
        self.entries: list[int] = []
        self.fates: dict[KeyPath, KeyFate] = {}
        self.moved: dict[KeyPath, KeyPath] = {}

    def section(self, name: str) -> Mapping[str, Any]:
        """A section of the file; empty if there is none, or something else."""
        return mapping(self.file.get(name))

    def warn(self, place: KeyPath, say: str, verb: str = "is ignored") -> None:
        """Notes that a key of the file does not count, or not as it stands."""
        self.fates[place] = KeyFate("warned", say, verb)

    def counts(self, fate: KeyFate, value: Any, place: KeyPath) -> bool:
        """Whether a key with this fate counts; if not, that is noted."""
        if not fate.is_lost:
            return True
        self.fates[place] = OFF if is_off(value) else fate
        return False

    def put(self, value: Any, ours: KeyPath, place: KeyPath) -> None:
        """Writes `value`, which stands at `place` in the file, to our key; one that is there already comes first."""
        around = self.data
        for part in ours[:-1]:
            inner = around.get(str(part))
            if inner is not None and not isinstance(inner, dict):
                return
            around[str(part)] = inner = dict(inner or {})
            around = inner
        if around.get(str(ours[-1])) is not None:
            if place[-1] == ours[-1] or ours not in self.moved:
                self.warn(place, f"'{format_path(self.moved.get(ours, ours))}' says the same")
            return
        around[str(ours[-1])] = value
        self.moved[ours] = place

    def is_moved(self, path: KeyPath) -> bool:
        """Whether a key of `data`, or one around it, stood in a section."""
        return any(path[:length] in self.moved for length in range(1, len(path) + 1))

    def place_of(self, path: KeyPath) -> KeyPath:
        """Where a key of `data` stands in the file."""
        for length in range(len(path), 0, -1):
            if (place := self.moved.get(path[:length])) is not None:
                return (*place, *path[length:])
        if path[:1] == ("model_list",) and len(path) > 1 and isinstance(path[1], int) and path[1] < len(self.entries):
            return ("model_list", self.entries[path[1]], *path[2:])
        return path

    def take_off(self, path: KeyPath, why: str) -> None:
        """Takes off what stands at `path`, or the nearest around it that can be taken off."""
        at = next(length for length in range(1, len(path) + 1) if path[:length] in self.moved)
        while len(path) > at and not _is_member(self.data, path):
            path = path[:-1]
        self.warn(self.place_of(path), why)
        self.data[str(path[0])] = copy.deepcopy(self.data.get(str(path[0])))
        _remove(self.data, path)

    def take_off_entry(self, index: int, why: str) -> None:
        """Takes off the entry of `model_list` that has this index in `data`."""
        self.not_served(self.entries[index], why)
        self.entries = self.entries[:index] + self.entries[index + 1 :]
        self.data["model_list"] = [*self.data["model_list"][:index], *self.data["model_list"][index + 1 :]]

    def not_served(self, entry: int, why: str) -> None:
        """Notes that nobody answers for the entry that has this index in the file, and nothing else of it."""
        path = ("model_list", entry)
        self.fates = {place: fate for place, fate in self.fates.items() if place[:2] != path}
        self.warn(path, why, "is not served")

    def target(self, name: str) -> str:
        """The model behind an alias of LiteLLM's; any other name itself."""
        target = mapping(self.data.get("aliases")).get(name)
        return target if isinstance(target, str) and ("aliases", name) in self.moved else name


def mapping(value: Any) -> Mapping[str, Any]:
    """The value, if it is a mapping; else an empty one."""
    return value if isinstance(value, Mapping) else {}


def listed(value: Any) -> Sequence[Any]:
    """The value, if it is a list; else an empty one."""
    return value if isinstance(value, list | tuple) else ()


def says_yes(value: Any) -> bool:
    """Whether LiteLLM takes the value, which may be text, for true."""
    return str(value).lower() == "true"


def _variables(variables: Any, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """One that names another variable, which is not set, is not set either."""
    for name, value in mapping(variables).items():
        expansion = Expansion(environ)
        if isinstance(value, str | int | float):
            text = expansion.expand(str(value))
            if not expansion.problems:
                yield str(name), text


def _is_member(data: Any, path: KeyPath) -> bool:
    """Whether a key of a mapping stands at `path`."""
    for part in path[:-1]:
        data = data.get(part) if isinstance(data, Mapping) else None
    return isinstance(data, Mapping) and path[-1] in data


def _remove(data: dict[str, Any], path: KeyPath) -> None:
    around: Any = data
    for part in path[:-1]:
        around = around[part]
    del around[path[-1]]
