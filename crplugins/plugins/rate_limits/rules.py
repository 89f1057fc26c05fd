"""The rules of rate limits, and the limits that they apply to a request.

`LimitRules` is what is configured, in terms of the measures of `principal.Limits`. `applied_limits` makes of it the
`AppliedLimits` of one caller, model, address, end user and session: limits with the keys and periods that a limit store
needs.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal, NamedTuple
from urllib.parse import quote

import msgspec

from crplugins.core.patterns import Pattern
from crplugins.core.principal import Limits, Principal, Queue
from crplugins.limits.limit import Charge, Limit
from crplugins.metering.estimate import Demand, Unit

_MINUTE: Final = 60_000
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR


class Measure(NamedTuple):
    """One field of `principal.Limits`: what is counted, and in which period.

    Attributes:
        name: its name there.
        period: milliseconds; 0 for a lease, which is held while a request runs.
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


TOTALS: Final[Mapping[str, Measure]] = {
    measure.name: measure
    for measure in (
        Measure("requests", "requests", 0, "requests in all"),
        Measure("tokens", "tokens", 0, "tokens in all"),
    )
}
"""The fields that `SessionLimits` has besides: what is used of them is free again when the session is forgotten."""


class SessionLimits(Limits, frozen=True):
    """How much a session may use: by time, and in all."""

    requests: int | None = None
    tokens: int | None = None


NO_LIMITS: Final = Limits()
NO_SESSION_LIMITS: Final = SessionLimits()


def _no_names() -> Mapping[str, Limits]:
    return MappingProxyType({})


class LimitRules(msgspec.Struct, frozen=True):
    """Limits by scope. Each one whose scope a request is in applies to it.

    Attributes:
        overall: on all requests together.
        per_team: on the keys of a team together.
        per_model: on all requests that a model serves, by its served name: requests for its aliases count too. A name
            with a `*` is for all models that fit it together.
        per_key: on each key that has no limits of its own.
        per_key_and_model: on each key, for a model, or for all that fit a name with a `*` together.
        per_client_address: on each address that requests come from; for IPv6, on each /64 network.
        per_user: on each end user of a key.
        per_session: on each session of a key.
        shadow: a request that a limit would refuse is logged and counted, and admitted.
        queue: how requests wait for limits that say nothing of it themselves; None: they are refused at once.
    """

    overall: Limits = NO_LIMITS
    per_team: Mapping[str, Limits] = msgspec.field(default_factory=_no_names)
    per_model: Mapping[str, Limits] = msgspec.field(default_factory=_no_names)
    per_key: Limits = NO_LIMITS
    per_key_and_model: Mapping[str, Limits] = msgspec.field(default_factory=_no_names)
    per_client_address: Limits = NO_LIMITS
    per_user: Limits = NO_LIMITS
    per_session: SessionLimits = NO_SESSION_LIMITS
    shadow: bool = False
    queue: Queue | None = None

    @property
    def limits_callers(self) -> bool:
        """Whether any limit is for the caller, and so for nobody where nobody says who calls."""
        return self.per_key != NO_LIMITS or bool(self.per_team) or bool(self.per_key_and_model)

    def of_key(self, principal: Principal) -> Limits:
        """All of a key's own limits, or all of the default ones: nobody has configured a mixture of both."""
        own = principal.limits
        if any(getattr(own, name) is not None for name in MEASURES):
            return own
        if own.shadow or own.queue is not None:
            return msgspec.structs.replace(
                self.per_key, shadow=own.shadow or self.per_key.shadow, queue=own.queue or self.per_key.queue
            )
        return self.per_key


class LimitedModels:
    """The names of models that any limit is for."""

    def __init__(self, rules: LimitRules) -> None:
        names = [Pattern.of(name) for name in {**rules.per_model, **rules.per_key_and_model}]
        self._names: Final = frozenset(each.text for each in names if not each.star)
        self._patterns: Final = [each for each in names if each.star]

    def fitting(self, model: str) -> tuple[str, ...]:
        """Those under which a request counts that this model serves: its own, and those with a `*` that it fits."""
        own = (model,) if model in self._names else ()
        return (*own, *[each.text for each in self._patterns if each.matches(model)]) if self._patterns else own


Scope = Literal["key", "team", "model", "key_and_model", "client_address", "user", "session", "deployment", "overall"]

_ALWAYS_ONE: Final = ("requests", "parallel")


class AppliedLimit(NamedTuple):
    """One limit of one scope, ready for a store.

    Attributes:
        owner: the key or team that it limits; "" for a limit on more than one of them.
        model: the one it is for; "" for all.
        shadow: whether requests that it would refuse are only logged and counted.
        queue: how requests wait for it; None where they are refused at once.
    """

    limit: Limit
    measure: Measure
    scope: Scope
    owner: str
    model: str
    shadow: bool
    queue: Queue | None = None

    @property
    def ends_session(self) -> bool:
        """Whether waiting is of no use when it is used up."""
        return self.limit.kind == "window"


class Occasion(NamedTuple):
    """What besides its caller decides which limits a request is under; each None where no limit depends on it.

    Attributes:
        models: the names of its model that limits are for.
        user, session: the scopes of the end user and of the session, see `Identities`.
        session_end: until when the session is remembered, in milliseconds since 1970.
    """

    models: tuple[str, ...] = ()
    address: str | None = None
    user: str | None = None
    session: str | None = None
    session_end: int = 0


class AppliedLimits:
    """The limits of one caller on one occasion: the same for all such requests, so that it is made once.

    Attributes:
        all: the limits, in the order of the charges of a reservation.
        requests, tokens: indexes of the limits that clients see in `x-ratelimit-*`.
        depend_on_size: whether any charge depends on how large the request is.
    """

    __slots__ = ("_always", "_charged", "_units", "all", "depend_on_size", "requests", "tokens")

    def __init__(self, applied: Sequence[AppliedLimit]) -> None:
        self.all: Final = tuple(applied)
        self.requests: Final = self._shown("requests")
        self.tokens: Final = self._shown("tokens")
        self._units: Final = tuple(each.measure.unit for each in applied)
        self._charged: Final = tuple(
            (each.limit, unit, Charge(each.limit, 1) if unit in _ALWAYS_ONE else None)
            for each, unit in zip(applied, self._units, strict=True)
        )
        self._always: Final = tuple(always for _, _, always in self._charged if always is not None)
        self.depend_on_size: Final = len(self._always) < len(self.all)

    def _shown(self, unit: str) -> tuple[int, ...]:
        """Clients see no limit in shadow mode."""
        return tuple(i for i, each in enumerate(self.all) if each.measure.unit == unit and not each.shadow)

    def without(self, index: int) -> "AppliedLimits":
        return AppliedLimits([*self.all[:index], *self.all[index + 1 :]])

    def charges(self, demand: Demand) -> tuple[Charge, ...]:
        """What a request is expected to take of each limit."""
        if not self.depend_on_size:
            return self._always
        return tuple([always or Charge(limit, demand.of(unit, limit.amount)) for limit, unit, always in self._charged])

    def reserved_output(self, charges: Sequence[Charge], prompt: int) -> int:
        """How many tokens an answer may have before one of these charges is too small."""
        return min(
            charge.cost - prompt if each.measure.unit == "tokens" else charge.cost
            for charge, each in zip(charges, self.all, strict=True)
            if each.measure.unit in ("tokens", "output_tokens")
        )

    def grown_costs(self, charges: Sequence[Charge], prompt: int, output: int) -> list[int]:
        """What a request takes that is still running, of which these charges were reserved."""
        costs = self.costs(1, prompt + output, output)
        return [max(charge.cost, cost) for charge, cost in zip(charges, costs, strict=True)]

    def costs(self, requests: int, tokens: int, output_tokens: int) -> list[int]:
        """What a request has really taken of each limit. It holds one lease, whatever its size."""
        taken = {"requests": requests, "tokens": tokens, "output_tokens": output_tokens, "parallel": 1}
        return [taken[unit] for unit in self._units]


def applied_limits(rules: LimitRules, principal: Principal | None, occasion: Occasion) -> AppliedLimits:
    """The limits on a request."""
    applied = []
    if principal is not None:
        applied += [*_of_caller(rules, principal), *_of_caller_and_models(rules, principal, occasion.models)]
    applied += [*_of_user(rules, occasion), *_of_session(rules, occasion)]
    return AppliedLimits([*applied, *_of_rest(rules, occasion.models, occasion.address)])


def limits_of_deployment(limits: Limits, deployment: str, *, shadow: bool) -> AppliedLimits:
    """The limits of one deployment, whoever calls."""
    rules = LimitRules(shadow=shadow)
    return AppliedLimits(list(_in_place(rules, limits, _Place("deployment", f"deployment/{_quoted(deployment)}"))))


def limits_of_caller(rules: LimitRules, principal: Principal) -> list[AppliedLimit]:
    """All limits on a caller: on its key, on its key with each model that has limits per key, and on its team."""
    return [*_of_caller(rules, principal), *_of_caller_and_models(rules, principal, rules.per_key_and_model)]


def _of_caller(rules: LimitRules, principal: Principal) -> Iterator[AppliedLimit]:
    key_id, team = principal.key_id, principal.team
    yield from _in_place(rules, rules.of_key(principal), _Place("key", f"key/{_quoted(key_id)}", key_id))
    if team is not None and (limits := rules.per_team.get(team)) is not None:
        yield from _in_place(rules, limits, _Place("team", f"team/{_quoted(team)}", team))


def _of_caller_and_models(rules: LimitRules, principal: Principal, models: Iterable[str]) -> Iterator[AppliedLimit]:
    for model in models:
        if (limits := rules.per_key_and_model.get(model)) is not None:
            where = f"key/{_quoted(principal.key_id)}/model/{_quoted(model)}"
            yield from _in_place(rules, limits, _Place("key_and_model", where, principal.key_id, model))


def _of_user(rules: LimitRules, occasion: Occasion) -> Iterator[AppliedLimit]:
    if occasion.user is not None:
        yield from _in_place(rules, rules.per_user, _Place("user", occasion.user))


def _of_session(rules: LimitRules, occasion: Occasion) -> Iterator[AppliedLimit]:
    """A total is a window without a calendar: each request moves its end, so that a session which is used stays."""
    if occasion.session is None:
        return
    limits, place = rules.per_session, _Place("session", occasion.session)
    yield from _in_place(rules, limits, place)
    for name, measure in TOTALS.items():
        amount: int | None = getattr(limits, name)
        if amount is not None:
            limit = Limit("window", f"{place.path}/{measure.unit}/total", amount, occasion.session_end)
            yield AppliedLimit(limit, measure, place.scope, place.owner, "", rules.shadow or limits.shadow)


def _of_rest(rules: LimitRules, models: Iterable[str], address: str | None) -> Iterator[AppliedLimit]:
    for model in models:
        if (limits := rules.per_model.get(model)) is not None:
            yield from _in_place(rules, limits, _Place("model", f"model/{_quoted(model)}", model=model))
    if address is not None:
        yield from _in_place(rules, rules.per_client_address, _Place("client_address", f"address/{_quoted(address)}"))
    yield from _in_place(rules, rules.overall, _Place("overall", "overall"))


class _Place(NamedTuple):
    """The scope of a limit; the keys of its states in a store begin with `path`."""

    scope: Scope
    path: str
    owner: str = ""
    model: str = ""


def _quoted(name: str) -> str:
    """As one part of a path, so that no id can contain the path of another."""
    return quote(name, safe="")


def _in_place(rules: LimitRules, limits: Limits, place: _Place) -> Iterator[AppliedLimit]:
    shadow = rules.shadow or limits.shadow
    queue = None if shadow else limits.queue or rules.queue
    if queue is not None and not queue.length:
        queue = None
    for name, measure in MEASURES.items():
        amount: int | None = getattr(limits, name)
        if amount is not None:
            limit = _limit(measure, place.path, amount, limits.burst.get(name, amount))
            yield AppliedLimit(limit, measure, place.scope, place.owner, place.model, shadow, queue)


def _limit(measure: Measure, path: str, amount: int, burst: int) -> Limit:
    """The amount is not in the key: what is used stays used when the amount changes."""
    if measure.period:
        return Limit("meter", f"{path}/{measure.unit}/{measure.period}", amount, measure.period, burst)
    return Limit("lease", f"{path}/{measure.unit}", amount)
