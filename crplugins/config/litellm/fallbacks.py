"""Fallbacks of a file of LiteLLM's without the names that nobody serves, which LiteLLM passes over."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from crplugins.config.litellm.draft import Draft, listed, mapping
from crplugins.core.patterns import Pattern
from crplugins.settings.errors import KeyPath

_FALLBACKS: Final = ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks", "default_fallbacks")
_NOBODY: Final = "no model of this name is served"


def clean_fallbacks(draft: Draft) -> None:
    """Takes those names off what stood in a section, and notes each; an alias of LiteLLM's stands for its model."""
    entries = [mapping(entry) for entry in listed(draft.data.get("model_list"))]
    cleaning = _Cleaning(draft, [Pattern.of(str(entry.get("model_name"))) for entry in entries])
    for key in _FALLBACKS:
        place = draft.moved.get((key,))
        if place is not None and key in draft.data:
            if cleaned := cleaning.value(draft.data[key], place):
                draft.data[key] = cleaned
            else:
                del draft.data[key]


class _Cleaning:
    """`served` are the names of the models that are left."""

    def __init__(self, draft: Draft, served: Sequence[Pattern]) -> None:
        self._draft = draft
        self._served = served

    def value(self, value: Any, place: KeyPath) -> Any:
        """A list of names, or of mappings from a name to others; what is neither stays, to be refused."""
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list | tuple):
            items = [self._item(item, (*place, index)) for index, item in enumerate(value)]
            return [item for item in items if item]
        return self._item(value, place)

    def _item(self, item: Any, place: KeyPath) -> Any:
        if isinstance(item, str):
            return self._known([item], place)[:1] and self._draft.target(item)
        if not isinstance(item, Mapping):
            return item
        kept: dict[str, Any] = {}
        for name, others in item.items():
            if not self._known([name], (*place, name)):
                continue
            names = [others] if isinstance(others, str) else others
            if isinstance(names, list | tuple) and all(isinstance(each, str) for each in names):
                names = [self._draft.target(each) for each in self._known(names, (*place, name))]
            if names and set(names) == {self._draft.target(name)}:
                self._draft.warn((*place, name), "it falls back to itself alone")
            elif names:
                kept[self._draft.target(name)] = names
        return kept

    def _known(self, names: Iterable[Any], place: KeyPath) -> list[Any]:
        known: list[Any] = []
        strange: list[Any] = []
        for name in names:
            pattern = Pattern.of(self._draft.target(str(name)))
            is_served = name == "*" or any(pattern.meets(each) for each in self._served)
            (known if is_served else strange).append(name)
        if strange:
            verb = "counts in part" if known else "is ignored"
            self._draft.warn(place, f"{_NOBODY}: {', '.join(map(str, strange))}", verb)
        return known
