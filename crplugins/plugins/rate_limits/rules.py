"""Bounds: the limits that apply to a request, made ready for a store."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, NamedTuple
from urllib.parse import quote

from crplugins.core.principal import Limits, Principal
from crplugins.limits.limit import Charge, Limit
from crplugins.metering.estimate import Demand, Unit

_MINUTE: Final = 60_000
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR


class Measure(NamedTuple):
    """One of the limits of `principal.Limits`.

    Attributes:
        name: its name there.
        period: milliseconds; 0 for what is held while a request runs.
        words: as in "Rate limit reached for gpt-4o on tokens per min (TPM)".
    """

    name: str
    unit: Unit
    period: int
    words: str


MEASURES: Final[Mapping[str, Measure]] = {
    measure.name: measure
    for measure in (
        Measure("requests_per_minute", "requests", _MINUTE, "requests per min (RPM)"),
        Measure("requests_per_hour", "requests", _HOUR, "requests per hour (RPH)"),
        Measure("requests_per_day", "requests", _DAY, "requests per day (RPD)"),
        Measure("tokens_per_minute", "tokens", _MINUTE, "tokens per min (TPM)"),
        Measure("tokens_per_hour", "tokens", _HOUR, "tokens per hour (TPH)"),
        Measure("tokens_per_day", "tokens", _DAY, "tokens per day (TPD)"),
        Measure("output_tokens_per_minute", "output_tokens", _MINUTE, "output tokens per min (OTPM)"),
        Measure("output_tokens_per_hour", "output_tokens", _HOUR, "output tokens per hour (OTPH)"),
        Measure("output_tokens_per_day", "output_tokens", _DAY, "output tokens per day (OTPD)"),
        Measure("max_parallel_requests", "parallel", 0, "parallel requests"),
    )
}


NO_LIMITS: Final = Limits()


def _no_names() -> Mapping[str, Limits]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class LimitRules:
    """Limits by whom and what they bound. Every one that fits a request applies to it.

    Attributes:
        overall: of all requests together.
        per_team: of the keys of a team together.
        per_model: of all requests that a model serves, by the name that serves: those for its aliases count here too.
        per_key: of each key that has no limits of its own.
        per_key_and_model: of each key, for a model.
        per_client_address: of each address that requests come from; of IPv6 each network of 64 bits.
        shadow: what any limit would refuse is noted, and let through.
    """

    overall: Limits = NO_LIMITS
    per_team: Mapping[str, Limits] = field(default_factory=_no_names)
    per_model: Mapping[str, Limits] = field(default_factory=_no_names)
    per_key: Limits = NO_LIMITS
    per_key_and_model: Mapping[str, Limits] = field(default_factory=_no_names)
    per_client_address: Limits = NO_LIMITS
    shadow: bool = False

    def of_key(self, principal: Principal) -> Limits:
        """All of a key's own limits, or all of the default: a mixture of both would be what nobody has written."""
        own = principal.limits
        if any(getattr(own, name) is not None for name in MEASURES):
            return own
        return dataclasses.replace(self.per_key, shadow=True) if own.shadow else self.per_key

    def distinguishes(self, model: str) -> bool:
        """Whether any limit is of this model alone."""
        return model in self.per_model or model in self.per_key_and_model


Scope = Literal["key", "team", "model", "key_and_model", "client_address", "overall"]

_ALWAYS_ONE: Final = ("requests", "parallel")


class Bound(NamedTuple):
    """One limit of one scope.

    Attributes:
        owner: the key or team it is a limit of; "" for what concerns more than one of them.
        model: the one it is for; "" for all.
        shadow: whether it only notes what it would refuse.
    """

    limit: Limit
    measure: Measure
    scope: Scope
    owner: str
    model: str
    shadow: bool


class Bounds:
    """The limits of one caller, model and address. The same for all their requests, so that it is made once."""

    __slots__ = ("_one_of_each", "all", "limits", "requests", "tokens", "weighs")

    def __init__(self, bounds: Sequence[Bound]) -> None:
        self.all: Final = tuple(bounds)
        self.limits: Final = tuple(bound.limit for bound in bounds)
        self.requests: Final = self._shown("requests")
        self.tokens: Final = self._shown("tokens")
        self._one_of_each: Final = tuple(Charge(b.limit, 1) if b.measure.unit in _ALWAYS_ONE else None for b in bounds)
        self.weighs: Final = None in self._one_of_each
        """Whether it matters how large a request is."""

    def _shown(self, unit: str) -> tuple[int, ...]:
        """Which of them clients are told of. A shadow is not to be noticed."""
        return tuple(i for i, bound in enumerate(self.all) if bound.measure.unit == unit and not bound.shadow)

    def without(self, index: int) -> "Bounds":
        return Bounds([*self.all[:index], *self.all[index + 1 :]])

    def charges(self, demand: Demand) -> tuple[Charge, ...]:
        """What a request is going to take of each."""
        return tuple(
            [
                one or Charge(bound.limit, demand.of(bound.measure.unit, bound.limit.amount))
                for one, bound in zip(self._one_of_each, self.all, strict=True)
            ]
        )

    def costs(self, requests: int, tokens: int, output_tokens: int) -> list[int]:
        """What it has taken of each. One lease is one lease."""
        taken = {"requests": requests, "tokens": tokens, "output_tokens": output_tokens, "parallel": 1}
        return [taken[bound.measure.unit] for bound in self.all]


def bounds_for(rules: LimitRules, principal: Principal | None, model: str | None, address: str | None) -> Bounds:
    """Those that apply; `model` only where some limit is of that model, `address` where addresses are limited."""
    bounds = []
    if principal is not None:
        bounds += [*bounds_of_caller(rules, principal), *_of_caller_and_model(rules, principal, model)]
    return Bounds([*bounds, *_of_rest(rules, model, address)])


def all_bounds_of(rules: LimitRules, principal: Principal) -> list[Bound]:
    """Those of a caller: of its key, with each model that has some for keys, and of its team."""
    bounds = list(bounds_of_caller(rules, principal))
    for model in rules.per_key_and_model:
        bounds += _of_caller_and_model(rules, principal, model)
    return bounds


def bounds_of_caller(rules: LimitRules, principal: Principal) -> Iterator[Bound]:
    key_id, team = principal.key_id, principal.team
    yield from _bounds(rules, rules.of_key(principal), _Place("key", f"key/{_word(key_id)}", key_id))
    if team is not None and (limits := rules.per_team.get(team)) is not None:
        yield from _bounds(rules, limits, _Place("team", f"team/{_word(team)}", team))


def _of_caller_and_model(rules: LimitRules, principal: Principal, model: str | None) -> Iterator[Bound]:
    if model is not None and (limits := rules.per_key_and_model.get(model)) is not None:
        where = f"key/{_word(principal.key_id)}/model/{_word(model)}"
        yield from _bounds(rules, limits, _Place("key_and_model", where, principal.key_id, model))


def _of_rest(rules: LimitRules, model: str | None, address: str | None) -> Iterator[Bound]:
    if model is not None and (limits := rules.per_model.get(model)) is not None:
        yield from _bounds(rules, limits, _Place("model", f"model/{_word(model)}", model=model))
    if address is not None:
        yield from _bounds(rules, rules.per_client_address, _Place("client_address", f"address/{_word(address)}"))
    yield from _bounds(rules, rules.overall, _Place("overall", "overall"))


class _Place(NamedTuple):
    """Whose a limit is; `path` begins the names of its states in a store."""

    scope: Scope
    path: str
    owner: str = ""
    model: str = ""


def _word(name: str) -> str:
    """As a part of a path: no id reaches into another's place."""
    return quote(name, safe="")


def _bounds(rules: LimitRules, limits: Limits, place: _Place) -> Iterator[Bound]:
    shadow = rules.shadow or limits.shadow
    for name, measure in MEASURES.items():
        amount: int | None = getattr(limits, name)
        if amount is not None:
            limit = _limit(measure, place.path, amount, limits.burst.get(name, amount))
            yield Bound(limit, measure, place.scope, place.owner, place.model, shadow)


def _limit(measure: Measure, path: str, amount: int, burst: int) -> Limit:
    """The amount is no part of the key: when it changes, what is used stays."""
    if measure.period:
        return Limit("meter", f"{path}/{measure.unit}/{measure.period}", amount, measure.period, burst)
    return Limit("lease", f"{path}/{measure.unit}", amount)
