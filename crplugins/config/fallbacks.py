"""FallbackKeys: which model names answer in the place of others, in LiteLLM's form or a shorter one."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

from crplugins.core.patterns import Pattern
from crplugins.handlers.routing.fallbacks import FallbackNames
from crplugins.settings.errors import Problem
from crplugins.settings.section import Section, refusal

Name = Annotated[str, Field(min_length=1)]


def _names(value: Any) -> Any:
    """A name alone stands for a list of it."""
    return [value] if isinstance(value, str) else value


Names = Annotated[tuple[Name, ...], BeforeValidator(_names)]


def _by_name(value: Any) -> Any:
    """LiteLLM's list of mappings as one mapping. A name alone in the list is a fallback of every model."""
    if isinstance(value, Mapping):
        return value
    if not isinstance(value, list | tuple):
        raise refusal("must be a list such as [{gpt-4o: [claude]}], or a mapping of names to names")
    table: dict[str, list[Any]] = {}
    for item in value:
        pairs = {"*": item} if isinstance(item, str) else item
        if not isinstance(pairs, Mapping):
            raise refusal("must be a list such as [{gpt-4o: [claude]}], or a mapping of names to names")
        for name, others in pairs.items():
            table.setdefault(str(name), []).extend([others] if isinstance(others, str) else others or ())
    return table


NamesByName = Annotated[Mapping[str, Names], BeforeValidator(_by_name)]


def _of_entry(value: Any) -> Any:
    """The same of one entry of `model_list`, whose name need not be said again."""
    if not isinstance(value, list | tuple):
        return _names(value)
    table = _by_name(value)
    return [name for others in table.values() for name in others]


EntryFallbacks = Annotated[tuple[Name, ...], BeforeValidator(_of_entry)]

_TABLES: Final = ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks")
_NOT_SERVED: Final = "is no model in model_list, so that nobody would answer"


class FallbackKeys(Section):
    """Which other models answer when none of a name's own deployments does."""

    fallbacks: NamesByName = Field(default_factory=dict, examples=[[{"*": ["demo/echo"]}]])
    """The models that are asked, one after the other, when no deployment of a name answers: a list as in LiteLLM,
    `[{gpt-4o: [claude, local]}]`, or a mapping. A `*` stands for any text. A key that may not call a model does not get
    it so either."""

    context_window_fallbacks: NamesByName = Field(default_factory=dict, examples=[[{"*": ["demo/echo"]}]])
    """The models that are asked when a prompt is too long for the one that was asked for, in the form of `fallbacks`,
    which counts for a name that is not here."""

    content_policy_fallbacks: NamesByName = Field(default_factory=dict, examples=[[{"*": ["demo/echo"]}]])
    """The models that are asked when a policy of the provider forbids the content, in the form of `fallbacks`, which
    counts if this is empty."""

    default_fallbacks: Names = Field(default=(), examples=[["demo/echo"]])
    """The models that are asked for every name that stands not in `fallbacks`."""

    def fallback_names(self, own: Mapping[str, Sequence[str]]) -> FallbackNames:
        """As handlers take them. `own` are those that entries of `model_list` have, by name; they come first."""
        on_failure = {
            name: tuple(dict.fromkeys([*own.get(name, ()), *self.fallbacks.get(name, ())]))
            for name in dict.fromkeys([*own, *self.fallbacks])
        }
        return FallbackNames(
            on_failure=on_failure,
            on_long_prompt=self.context_window_fallbacks,
            on_refused_content=self.content_policy_fallbacks,
            default=self.default_fallbacks,
        )

    def fallback_problems(self, own: Mapping[str, Sequence[str]], served: Sequence[str]) -> Iterator[Problem]:
        """Names that nobody serves, and names that fall back to themselves alone. Two may fall back to each other: a
        request asks each of them once."""
        patterns = [Pattern.of(name) for name in served]
        names = self.fallback_names(own)
        tables = dict(zip(_TABLES, (names.on_failure, names.on_long_prompt, names.on_refused_content), strict=True))
        for key, table in tables.items():
            for name, others in table.items():
                told = [name, *others] if name in getattr(self, key) else others
                for each in told:
                    if each != "*" and not any(Pattern.of(each).meets(pattern) for pattern in patterns):
                        yield Problem((key, name), f"'{each}' {_NOT_SERVED}")
                if set(others) == {name}:
                    yield Problem((key, name), "falls back to itself alone, so that nobody else would answer")
        for index, name in enumerate(self.default_fallbacks):
            if not any(Pattern.of(name).meets(pattern) for pattern in patterns):
                yield Problem(("default_fallbacks", index), f"'{name}' {_NOT_SERVED}")
