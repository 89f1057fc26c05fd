"""Policy: what a caller may do, as every source of keys and the configuration say it, and as a Principal.

The sections here are the one description: the configuration reads its limits and budgets with them, the sources their
keys, and the OpenAPI document of the admin API is made from them.
"""

import sys
from collections.abc import Collection, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Annotated, Any, Final, Self

import msgspec
from pydantic import AfterValidator, Field, model_validator

from crplugins.core import principal
from crplugins.core.principal import (
    DEFAULT_PRIORITY,
    MissingUsagePolicy,
    OnDisconnect,
    Period,
    Principal,
    Priority,
)
from crplugins.core.usage import micro_usd_of, usd
from crplugins.keys.aliases import aliases_to_dict
from crplugins.keys.values import Name, NullIsNothing, Tags, Text, Texts, Usd, read_aliases
from crplugins.settings.building import Deferred
from crplugins.settings.section import Count, Flag, Number, Section, Whole, refusal


class Burst(NullIsNothing):
    """How much of a limit may be used at once, after a pause; the limit itself where nothing is said."""

    requests_per_minute: Count | None = Field(default=None, examples=[60])
    """Requests in a minute."""

    requests_per_hour: Count | None = Field(default=None, examples=[1000])
    """Requests in an hour."""

    requests_per_day: Count | None = Field(default=None, examples=[5000])
    """Requests in a day."""

    tokens_per_minute: Count | None = Field(default=None, examples=[100000])
    """Tokens, of prompts and answers together, in a minute."""

    tokens_per_hour: Count | None = Field(default=None, examples=[2000000])
    """Tokens, of prompts and answers together, in an hour."""

    tokens_per_day: Count | None = Field(default=None, examples=[20000000])
    """Tokens, of prompts and answers together, in a day."""

    output_tokens_per_minute: Count | None = Field(default=None, examples=[20000])
    """Tokens of answers in a minute."""

    output_tokens_per_hour: Count | None = Field(default=None, examples=[400000])
    """Tokens of answers in an hour."""

    output_tokens_per_day: Count | None = Field(default=None, examples=[4000000])
    """Tokens of answers in a day."""


_QUEUE: Final = principal.Queue()


class QueueSection(NullIsNothing):
    """How requests wait that a limit would refuse now."""

    seconds: Annotated[Number, Field(gt=0, le=3600)] = Field(default=_QUEUE.seconds, examples=[30])
    """How long a request waits at most. One that would have to wait longer is refused at once."""

    length: Annotated[Whole, Field(ge=0, le=10_000)] = Field(default=_QUEUE.length, examples=[500])
    """How many requests wait at most, for each limit and in each process; 0 for none. One more is refused, of the key
    of which most wait."""

    def queue(self) -> principal.Queue:
        return principal.Queue(self.seconds, self.length)


_NO_AMOUNTS: Final = frozenset({"burst", "shadow", "queue"})


class Amounts(Burst):
    """Limits of one key, team, model or address. What is not given is not limited."""

    max_parallel_requests: Count | None = Field(default=None, examples=[8])
    """Requests that may run at the same time."""

    burst: Deferred[Burst] = Field(default=Burst.without_keys(), examples=[{"requests_per_minute": 10}])
    """How much of a limit may be used at once, by the limit's name."""

    shadow: Flag = Field(default=False, examples=[True])
    """Whether what these limits would refuse is only counted and logged, and let through."""

    queue: Deferred[QueueSection] | None = Field(default=None, examples=[{"seconds": 10, "length": 100}])
    """How requests wait that these limits would refuse now; by default as `limits.queue` says."""

    @model_validator(mode="after")
    def _bursts_have_limits(self) -> Self:
        for name in self.burst.model_fields_set:
            if name not in self.model_fields_set:
                raise refusal("is the burst of a limit that is not given", "burst", name)
        return self

    def limits(self) -> principal.Limits:
        queue = None if self.queue is None else self.queue.queue()
        return _limits_of(_set_in(self, _AMOUNTS), _set_in(self.burst, BURST_KEYS), shadow=self.shadow, queue=queue)

    def amounts(self) -> dict[str, Any]:
        """The keywords of `principal.Limits`."""
        given = Amounts.model_fields.keys() & self.model_fields_set - _NO_AMOUNTS
        burst = {name: getattr(self.burst, name) for name in self.burst.model_fields_set}
        return {
            **{name: getattr(self, name) for name in given},
            "burst": MappingProxyType(burst),
            "shadow": self.shadow,
            "queue": None if self.queue is None else self.queue.queue(),
        }


class BudgetSection(NullIsNothing):
    """How much may be spent in each period."""

    usd: Usd = Field(examples=[500])
    """The amount in US dollars."""

    period: Period = Field(examples=["month"])
    """A calendar day of UTC, a week from Monday, a calendar month, or all time."""

    shadow: Flag = Field(default=False, examples=[True])
    """Whether what this budget would refuse is only counted and logged, and let through."""

    def budget(self) -> principal.Budget:
        return principal.Budget(micro_usd_of(self.usd), self.period, self.shadow)


class PolicySection(NullIsNothing):
    """Who a caller is and what that caller may do."""

    id: Name = Field(examples=["team-a"])
    """The key's name in records, metrics and limits, which cannot be changed."""

    team: Name | None = Field(default=None, examples=["search"])
    """The team it belongs to."""

    owner: Text | None = Field(default=None, examples=["ann"])
    """Who is responsible for it."""

    tags: Tags = Field(default_factory=dict, examples=[{"env": "prod"}])
    """Labels of yours, which records carry."""

    models: Texts | None = Field(default=None, examples=[["gpt-4o-mini", "fast"]])
    """Names it may call, wildcards allowed; null: every model."""

    models_shadow: Flag = Field(default=False, examples=[True])
    """Whether a request for another name is only counted and logged, and let through."""

    weight: Annotated[Count, Field(le=1000)] = Field(default=1, examples=[3])
    """The key's share of a limit for which requests of several keys wait: with 3 it is served three times as much as a
    key with 1."""

    admin: Flag = Field(default=False, examples=[True])
    """Whether the key is an operator's: it opens the routes of LiteLLM's proxy and of vLLM that clients may not use."""

    aliases: Annotated[Mapping[str, Any], AfterValidator(read_aliases)] = Field(
        default_factory=dict, examples=[{"fast": "gpt-4o-mini"}]
    )
    """Names of its own for models: a name, or a list of {model, weight}."""

    limits: Amounts = Field(default=Amounts.without_keys(), examples=[{"requests_per_minute": 60}])
    """How much it may use in a time."""

    budget: BudgetSection | None = Field(default=None, examples=[{"usd": 50, "period": "month"}])
    """How much it may spend."""

    on_disconnect: OnDisconnect | None = Field(default=None, examples=["drain"])
    """When its client leaves: end the work at once, or read on to the provider's usage."""

    missing_usage: MissingUsagePolicy | None = Field(default=None, examples=["refuse"])
    """When a provider tells no usage: estimate it, let the request fail, or count nothing."""

    priority: Priority = Field(default=DEFAULT_PRIORITY, examples=["high"])
    """Whose requests are refused first when the gateway is full: low, then normal, then high."""

    def principal(self) -> Principal:
        """What equal policies have in common is the same object: of many keys most say the same."""
        return Principal(
            self.id,
            team=None if self.team is None else sys.intern(self.team),
            owner=None if self.owner is None else sys.intern(self.owner),
            tags=MappingProxyType(dict(self.tags)) if self.tags else _NOTHING,
            models=None if self.models is None else _one_of_equal(self.models),
            aliases=MappingProxyType(dict(self.aliases)) if self.aliases else _NOTHING,
            limits=self.limits.limits() if self.limits.model_fields_set else _NO_LIMITS,
            budget=None if self.budget is None else self.budget.budget(),
            on_disconnect=self.on_disconnect,
            missing_usage=self.missing_usage,
            models_shadow=self.models_shadow,
            admin=self.admin,
            priority=self.priority,
            weight=self.weight,
        )


_NO_LIMITS: Final = principal.Limits()
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@lru_cache(4096)
def _one_of_equal(texts: tuple[str, ...]) -> tuple[str, ...]:
    return texts


_Given = tuple[tuple[str, int], ...]


@lru_cache(4096)
def _limits_of(given: _Given, burst: _Given, *, shadow: bool, queue: principal.Queue | None) -> principal.Limits:
    amounts: dict[str, Any] = dict(given)
    return principal.Limits(**amounts, burst=MappingProxyType(dict(burst)), shadow=shadow, queue=queue)


POLICY_KEYS: Final = tuple(PolicySection.model_fields)
LIMIT_KEYS: Final = tuple(name for name in Amounts.model_fields if name not in _NO_AMOUNTS)
"""The limits themselves; `burst`, `shadow` and `queue` stand beside them."""

_AMOUNTS: Final = frozenset(LIMIT_KEYS)


def _set_in(section: Section, names: Collection[str]) -> _Given:
    return tuple([(name, getattr(section, name)) for name in sorted(section.model_fields_set) if name in names])


BURST_KEYS: Final = tuple(Burst.model_fields)
"""Those that go by time. How many requests run in parallel does not."""


def policy_to_dict(principal: Principal) -> dict[str, Any]:
    """As `Policy` reads it, without what is not set; plain data that JSON and YAML can write."""
    words = {
        "id": principal.key_id,
        "team": principal.team,
        "owner": principal.owner,
        "tags": dict(principal.tags) or None,
        "models": None if principal.models is None else list(principal.models),
        "models_shadow": principal.models_shadow or None,
        "weight": principal.weight if principal.weight != 1 else None,
        "admin": principal.admin or None,
        "aliases": aliases_to_dict(principal.aliases) or None,
        "limits": limits_to_dict(principal.limits) or None,
        "budget": principal.budget and budget_to_dict(principal.budget),
        "on_disconnect": principal.on_disconnect,
        "missing_usage": principal.missing_usage,
        "priority": principal.priority if principal.priority != DEFAULT_PRIORITY else None,
    }
    return {name: value for name, value in words.items() if value is not None}


def limits_to_dict(limits: principal.Limits) -> dict[str, Any]:
    """What is set."""
    words: dict[str, Any] = msgspec.structs.asdict(limits)
    words |= {"burst": dict(limits.burst) or None, "shadow": limits.shadow or None}
    words["queue"] = None if limits.queue is None else msgspec.structs.asdict(limits.queue)
    return {name: value for name, value in words.items() if value is not None}


def budget_to_dict(budget: principal.Budget) -> dict[str, Any]:
    amount = usd(budget.micro_usd)
    words: dict[str, Any] = {"usd": int(amount) if amount.is_integer() else amount, "period": budget.period}
    return words | {"shadow": True} if budget.shadow else words
