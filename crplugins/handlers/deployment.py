"""Deployment: one entry of `model_list`, resolved at start-up. Immutable."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import cycle
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

from crplugins.core.usage import Price

DEFAULT_TIMEOUT: Final = 600.0


def _unknown(model: str) -> Price | None:  # noqa: ARG001
    return None


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where the answers for a model name come from.

    Attributes:
        name: what clients ask for (`model_name`).
        model: the name in LiteLLM's notation, `provider/model` (`litellm_params.model`).
        api_base: base URL of an OpenAI-compatible upstream, without a trailing slash; None for the provider's own.
        api_key: the gateway's credential there.
        parameters: the remaining `litellm_params`: defaults for the request and settings of the provider.
        provider: who is called, in LiteLLM's notation; what stands before the model's slash.
        prices: what a token costs, by the upstream's model in LiteLLM's notation; None where nobody knows.
        forwards_trace: whether the upstream is sent the trace context, ids of ours included.
        timeout: seconds from the request to the last byte of a plain answer, and between two pieces of a stream.
        connect_timeout: seconds until the upstream has accepted the connection.
    """

    name: str
    model: str
    api_base: str | None = None
    api_key: str | None = field(default=None, repr=False)
    parameters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    provider: str = "openai"
    prices: Callable[[str], Price | None] = _unknown
    forwards_trace: bool = False
    timeout: float = DEFAULT_TIMEOUT
    connect_timeout: float = 10.0

    def price_for(self, requested: str) -> Price | None:
        """What a token of the model that answers for `requested` costs."""
        return self.prices(self.model_for(requested, self.model))

    def model_for(self, requested: str, model: str) -> str:
        """The upstream's name for `requested`: `model`, its `*` filled with what the `*` of `name` stood for."""
        if "*" not in model:
            return model
        before, star, after = self.name.partition("*")
        if not star:
            return model.replace("*", requested, 1)
        return model.replace("*", requested[len(before) : len(requested) - len(after)], 1)


T = TypeVar("T")


class Routes(Generic[T]):
    """Targets by `model_name`.

    Several of one name take turns. A name with `*` stands for every name that fits and is not written out;
    of several that fit, the longest wins.
    """

    def __init__(self, targets: Iterable[tuple[str, T]]) -> None:
        grouped: dict[str, list[T]] = {}
        for name, target in targets:
            grouped.setdefault(name, []).append(target)
        turns = {name: cycle(group) for name, group in grouped.items()}
        self._exact = {name: turn for name, turn in turns.items() if "*" not in name}
        wildcards = sorted((name for name in turns if "*" in name), key=len, reverse=True)
        self._wildcards = [(name.partition("*"), turns[name]) for name in wildcards]

    @property
    def names(self) -> list[str]:
        """The names written out, in the order they were given; wildcards are hidden."""
        return list(self._exact)

    def find(self, model: str) -> T | None:
        if model in self._exact:
            return next(self._exact[model])
        for (before, _, after), turn in self._wildcards:
            if len(model) >= len(before) + len(after) and model.startswith(before) and model.endswith(after):
                return next(turn)
        return None
