"""Deployment: one entry of `model_list`, resolved at start-up and immutable. Routes: which one serves a model."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import cycle
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

from crplugins.core.dialects import Dialect
from crplugins.core.network import NO_CERTIFICATE, Certificate, Network, SslVerify
from crplugins.core.patterns import Pattern, PatternTable, by_precedence
from crplugins.core.principal import Limits
from crplugins.core.usage import Price
from crplugins.handlers.deadlines import NO_DEADLINES, Deadlines
from crplugins.handlers.routing.on_break import ENDS, OnBreak
from crplugins.handlers.routing.settings import AS_BUILT_IN, RoutingSettings

_ANY: Final = Pattern.of("*")
_NO_LIMITS: Final = Limits()

NO_PARAMETERS: Final[Mapping[str, Any]] = MappingProxyType({})
"""Those of most deployments: one object for all."""


def is_limited(quota: Limits, *, adaptive: bool) -> bool:
    """Whether not every request may be sent at once to a deployment with these limits."""
    return adaptive or quota != _NO_LIMITS


@dataclass(frozen=True, slots=True)
class Deployment:
    """One upstream that serves a model name.

    Attributes:
        name: what clients ask for (`model_name`).
        model: the name in LiteLLM's notation, `provider/model` (`litellm_params.model`).
        api_base: base URL of an OpenAI-compatible upstream, without a trailing slash; None for the provider's own.
        api_key: the gateway's credential there.
        parameters: the remaining `litellm_params`: defaults for the request and settings of the provider.
        provider: the provider's name in LiteLLM's notation, the part of `model` before its slash.
        prices: the price of a token by model, in LiteLLM's notation; None where it is unknown.
        forwards_trace: whether the upstream receives the trace context, with ids of ours.
        deadlines: how long it may take to answer.
        skip_malformed: how many malformed events of one stream are left out; one more is a break.
        ssl_verify: how the upstream's certificate is judged, see `core/network.py`; None as the environment says.
        certificate: what it is shown where it asks for one of the gateway's.
        quota: how much its provider lets it use. Where nothing is said, nothing is limited.
        routing: when it is asked, and how often again.
        on_break: what becomes of its streams that break.
        adaptive: requests at once are bounded below the quota's number as its answers say.
        takes_prefill: whether it goes on with an answer whose beginning it is given; None if its provider says.
        protocols: those that its `model_info` says it has; None if that says nothing.
        only_responses: its `model_info` says that it answers in Responses, in which a chat may be asked too.
        reasons: whether its model can be told how much to think; None if its name says.
    """

    name: str
    model: str
    api_base: str | None = None
    api_key: str | None = field(default=None, repr=False)
    parameters: Mapping[str, Any] = field(default_factory=lambda: NO_PARAMETERS, repr=False)
    provider: str = "openai"
    prices: Callable[[str], Price | None] = field(default=lambda _: None, compare=False)
    forwards_trace: bool = False
    deadlines: Deadlines = NO_DEADLINES
    skip_malformed: int = 1
    ssl_verify: SslVerify = None
    certificate: Certificate = NO_CERTIFICATE
    quota: Limits = _NO_LIMITS
    routing: RoutingSettings = AS_BUILT_IN
    on_break: OnBreak = ENDS
    adaptive: bool = False
    takes_prefill: bool | None = None
    protocols: frozenset[Dialect] | None = None
    only_responses: bool = False
    reasons: bool | None = None

    def network(self, environ: Mapping[str, str] = os.environ) -> Network:
        """How it is reached. Blocks: files are read. Raises `ValueError`, see there."""
        return Network(self.ssl_verify, environ, certificate=self.certificate)

    @property
    def is_limited(self) -> bool:
        """Whether not every request may be sent to it at once."""
        return is_limited(self.quota, adaptive=self.adaptive)

    @property
    def account(self) -> str:
        """The same for deployments that use one model with one credential and the same settings, under any name."""
        who = (self.model, self.api_base, self.api_key, sorted(self.parameters.items()))
        return sha256(repr(who).encode()).hexdigest()[:16]

    @property
    def label(self) -> str:
        """What the log calls it: one name can have several deployments, and a model several addresses."""
        host = next(iter(_hosts(self.api_base or "")), "")
        return f"{self.name} ({self.model} at {host})" if host else f"{self.name} ({self.model})"

    def price_for(self, requested: str) -> Price | None:
        """What a token of the model costs that serves `requested`; None where its price is unknown."""
        return self.prices(self.model_for(requested, self.model))

    def price_of(self, model: str) -> Price | None:
        """What a token of another model of its provider costs, which works beside its own or in its place."""
        provider, slash, _ = self.model.partition("/")
        return self.prices(provider + slash + model) if slash else self.prices(model)

    def model_for(self, requested: str, model: str) -> str:
        """The upstream's name for `requested`: `model`, its `*` replaced by the text that the `*` of `name` matched.

        The `*` of a plain `name` is replaced by all of `requested`.
        """
        if "*" not in model:
            return model
        name = Pattern.of(self.name)
        return Pattern.of(model).filled_from(name if name.star else _ANY, requested)


def distinct_names(deployments: Iterable[Deployment]) -> list[str]:
    """What dashboards call each of them: its model and where that is, with a number if that is not one alone."""
    seen: Counter[str] = Counter()
    names = []
    for deployment in deployments:
        host = next(iter(_hosts(deployment.api_base or "")), "")
        name = f"{deployment.model} at {host}" if host else deployment.model
        seen[deployment.name + name] += 1
        number = seen[deployment.name + name]
        names.append(name if number == 1 else f"{name} ({number})")
    return names


_SECRET_NAMES: Final = ("key", "token", "secret", "password", "credential", "base", "url", "endpoint")


def secrets_of(deployment: Deployment, api_key: str | None, api_base: str | None) -> tuple[str, ...]:
    """Credentials and addresses of a deployment, which must not appear in a message to a client."""
    texts: list[str] = []
    for name, value in {"api_key": api_key, "api_base": api_base, **deployment.parameters}.items():
        if isinstance(value, Mapping) and "header" in name:
            texts += [word for each in value.values() for word in (str(each), str(each).rpartition(" ")[2])]
        elif isinstance(value, str) and any(word in name for word in _SECRET_NAMES):
            texts += [value, *_hosts(value)]
    return tuple(dict.fromkeys(texts))


def _hosts(text: str) -> tuple[str, ...]:
    """The host of an address with and without its port; nothing for another text."""
    host = text.partition("://")[2].partition("/")[0].rpartition("@")[2]
    return (host, host.rpartition(":")[0]) if host else ()


T = TypeVar("T")


class Routes(Generic[T]):
    """Finds the target of a requested model by `model_name`. Several targets of one name take turns.

    A name with `*` matches every name that is not listed without one. Of several that match, the longest wins. Its `*`
    stands for a part of a model's name, and for no address: a client writes it, and providers put it into theirs.
    """

    def __init__(self, targets: Iterable[tuple[str, T]]) -> None:
        grouped: dict[str, list[T]] = {}
        for name, target in targets:
            grouped.setdefault(name, []).append(target)
        turns = {name: cycle(group) for name, group in grouped.items()}
        self._exact = {name: turn for name, turn in turns.items() if "*" not in name}
        patterns = by_precedence(Pattern.of(name) for name in turns if "*" in name)
        self._wildcards = PatternTable((pattern, (pattern, turns[pattern.text])) for pattern in patterns)

    @property
    def names(self) -> list[str]:
        """The names without `*`, in the order of the configuration."""
        return list(self._exact)

    def find(self, model: str) -> T | None:
        """The next target for `model`; None for a model that no target serves."""
        if model in self._exact:
            return next(self._exact[model])
        if (found := self._wildcards.find(model)) is None:
            return None
        pattern, turn = found
        return next(turn) if pattern.completes(model) else None
