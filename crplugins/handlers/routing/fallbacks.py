"""Fallbacks: the model names that answer in the place of another, when none of its own deployments does."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from crplugins.core.exchange import Exchange
from crplugins.core.patterns import Pattern, PatternTable, by_precedence
from crplugins.handlers.routing.failures import Remedy

if TYPE_CHECKING:
    from crplugins.handlers.routing.group import Group

NamesByName = Mapping[str, Sequence[str]]
"""The names that follow each name, in their order. A `*` stands for any text, and is the same text in both."""

MOST_FALLBACKS: Final = 5
"""How many other names a request goes to: those of its own name, and those of theirs. LiteLLM's router has the same."""


class FallbackNames(msgspec.Struct, frozen=True):
    """What is configured, by what went wrong. Which of these counts where several might is as in LiteLLM's router.

    Attributes:
        on_failure: when no deployment of a name answers.
        on_long_prompt: when the prompt is too long for the model; for names that are not in it, `on_failure`.
        on_refused_content: when a policy of the provider forbids the content; if it is empty, `on_failure`.
        default: for names that `on_failure` does not have.
    """

    on_failure: NamesByName = msgspec.field(default_factory=lambda: MappingProxyType({}))
    on_long_prompt: NamesByName = msgspec.field(default_factory=lambda: MappingProxyType({}))
    on_refused_content: NamesByName = msgspec.field(default_factory=lambda: MappingProxyType({}))
    default: Sequence[str] = ()


NO_FALLBACKS: Final = FallbackNames()


class Gate(Protocol):
    """Whoever knows what the caller of a request may use."""

    async def admits(self, exchange: Exchange, model: str) -> bool:
        """Whether the request may be served by another model: its key may call it, and the model's limits allow it.

        These limits count the request from then on.
        """


class Fallbacks:
    """Finds the fallbacks of a name.

    Attributes:
        find: the deployments of a name, by the name; set by whoever has them.
        gate: None where everybody may call every model.
        judge_content: which names answer what a policy forbids is configured apart from the others.
    """

    def __init__(self, names: FallbackNames) -> None:
        self.find: Callable[[str], Group | None] = lambda _: None
        self.gate: Gate | None = None
        self.judge_content: Final = bool(names.on_refused_content)
        self._default: Final = names.default
        self._on_failure: Final = _Names(names.on_failure)
        self._on_long_prompt: Final = _Names(names.on_long_prompt)
        self._on_refused_content: Final = _Names(names.on_refused_content)

    def after(self, model: str, remedy: Remedy) -> Sequence[str]:
        """The names to go on to when a request for `model` has failed so that this would help."""
        if remedy == "none":
            return ()
        if remedy == "another_model" and (names := self._on_long_prompt.of(model)) is not None:
            return names
        if remedy == "content_policy" and self.judge_content:
            return self._on_refused_content.of(model) or ()
        names = self._on_failure.of(model)
        return [name for name in self._default if name != model] if names is None else names

    async def open(self, exchange: Exchange, name: str) -> "Group | None":
        """The deployments of a fallback; None where the caller may not use it."""
        group = self.find(name)
        if group is None or (self.gate is not None and not await self.gate.admits(exchange, name)):
            return None
        return group


class _Names:
    def __init__(self, names: NamesByName) -> None:
        self._exact: Final = {name: tuple(others) for name, others in names.items() if "*" not in name}
        patterns = by_precedence(Pattern.of(name) for name in names if "*" in name)
        self._patterns: Final = PatternTable((each, (each, [*map(Pattern.of, names[each.text])])) for each in patterns)

    def of(self, model: str) -> Sequence[str] | None:
        if (exact := self._exact.get(model)) is not None:
            return exact
        if (found := self._patterns.find(model)) is None:
            return None
        source, targets = found
        return [target.filled_from(source, model) for target in targets]
