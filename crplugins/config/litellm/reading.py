"""LitellmReading: a file of LiteLLM's on its way to ours, with what becomes of each key.

`model_list` has LiteLLM's format. Of the sections of its proxy much says how a model is called: it is written into
`model_list` before anything is checked (`entries.py`). What has the same name at our top level, or a name of ours, is
moved there, if nothing stands there already (`sections.py`). Everything else is named in a warning, and stops nothing:
neither a key that does not count nor, in a file of LiteLLM's alone, an entry that cannot be used, nor a fallback to a
name that nobody serves (`fallbacks.py`). Which key is which stands in `keys.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from crplugins.config.litellm.draft import Draft, listed, mapping
from crplugins.config.litellm.entries import read_models
from crplugins.config.litellm.fallbacks import clean_fallbacks
from crplugins.config.litellm.sections import move_sections
from crplugins.config.litellm.settings import SECTIONS
from crplugins.config.litellm.table import OFF, UNKNOWN, is_off, key_table
from crplugins.config.schema import Config
from crplugins.settings.environment import LITELLM_PREFIX
from crplugins.settings.errors import Problem, format_path, nearest


class LitellmReading(Draft):
    """A configuration without LiteLLM's sections.

    Args:
        data: as the file has it, nothing in it checked or expanded yet.
        environ: the environment.
        is_litellms: whether the file is LiteLLM's alone, so that entries which cannot be used are left out. By default
            its keys tell: it has a section or a notation of LiteLLM's, and no key of ours.
    """

    def __init__(self, data: Mapping[str, Any], environ: Mapping[str, str], *, is_litellms: bool | None = None) -> None:
        super().__init__(data, environ, is_litellms=_is_litellms(data) if is_litellms is None else is_litellms)
        if self.is_litellms:
            self._leave_out_strange_keys()
        move_sections(self)
        read_models(self)
        clean_fallbacks(self)

    def placed(self, problem: Problem) -> Problem:
        """The problem at its place in the file."""
        return msgspec.structs.replace(problem, path=self.place_of(problem.path))

    def leave_out(self, problems: Sequence[Problem]) -> bool:
        """Takes off what is wrong and may be left out, for another attempt. False where something else is wrong too."""
        entries: dict[int, str] = {}
        moved: list[Problem] = []
        for problem in problems:
            index = problem.path[1] if problem.path[:1] == ("model_list",) and len(problem.path) > 1 else None
            if isinstance(index, int) and self.is_litellms:
                where = format_path(problem.path[2:])
                entries.setdefault(index, ": ".join(part for part in (where, problem.message) if part))
            elif self.is_moved(problem.path):
                moved.append(problem)
            else:
                return False
        if entries and len(entries) == len(self.entries):
            return False
        for problem in moved:
            self.take_off(problem.path, problem.message)
        for index in sorted(entries, reverse=True):
            self.take_off_entry(index, entries[index])
        clean_fallbacks(self)
        return bool(entries or moved)

    def not_read(self, messages: Sequence[str]) -> None:
        """Notes the files that are included and could not be read."""
        if messages:
            self.warn(("include",), "; ".join(messages), "counts in part")

    def renamed_variable(self, variable: str) -> str | None:
        """What `environment_variables` has for a variable, if that is the name of another one."""
        text = str(self.section("environment_variables").get(variable))
        return f"${{{text.removeprefix(LITELLM_PREFIX)}}}" if text.startswith(LITELLM_PREFIX) else None

    def nothing_served(self) -> list[Problem]:
        """Why each entry is left out, where none is left."""
        entries = listed(self.file.get("model_list"))
        if not entries or self.entries:
            return []
        return [
            Problem(path, f"is not served: {self.fates[path].say}")
            for path in (("model_list", i) for i in range(len(entries)))
        ]

    def _leave_out_strange_keys(self) -> None:
        """Without keys at the top that are nobody's."""
        for key, value in list(self.data.items()):
            if key not in Config.known_keys() and nearest(str(key), Config.known_keys(), 0.75) is None:
                if key_table().find("file", str(key)) is None:
                    self.fates[str(key),] = OFF if is_off(value) else UNKNOWN
                del self.data[key]


def _is_litellms(data: Mapping[str, Any]) -> bool:
    if data.keys() & (Config.known_keys() - {"model_list"}):
        return False
    return bool(data.keys() & SECTIONS) or _mentions_environ(data.get("model_list"))


def _mentions_environ(entries: Any) -> bool:
    """Whether values are written in LiteLLM's notation."""
    params = [mapping(mapping(entry).get("litellm_params")) for entry in listed(entries)]
    return any(
        isinstance(value, str) and value.startswith(LITELLM_PREFIX) for each in params for value in each.values()
    )
