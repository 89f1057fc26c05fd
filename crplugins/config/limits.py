"""The sections about what may be used: limits, budgets."""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_network
from types import MappingProxyType
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from crplugins.core import principal
from crplugins.core.patterns import name_set
from crplugins.keys.policy import Amounts, Budget
from crplugins.limits.fallback import OnStoreError
from crplugins.limits.opening import open_limit_store
from crplugins.metering.estimate import ESTIMATED_OUTPUT_TOKENS
from crplugins.plugins.budgets.plugin import WARN_AT
from crplugins.plugins.rate_limits.rules import LimitRules
from crplugins.settings.errors import Problem
from crplugins.settings.section import Count, Number, Section, refusal


def _network(value: str) -> str:
    try:
        ip_network(value)
    except ValueError:
        raise refusal("must be a network such as 10.0.0.0/8, or an address") from None
    return value


class Limits(Section):
    """How much may be used in a time, besides what each key says of itself."""

    store: Annotated[str, Field(min_length=1, repr=False)] = Field(default="memory", examples=["sqlite:///limits.db"])
    """Where use is counted: `memory`, `sqlite:///limits.db` for one machine, `redis://host:6379/0` for several."""

    on_store_error: OnStoreError = Field(default="local", examples=["closed"])
    """When the store is unavailable: each process limits by itself, every request passes, or every request gets 503."""

    overall: Amounts = Field(default=Amounts(), validation_alias="global", examples=[{"requests_per_minute": 5000}])
    """Limits of all requests together."""

    per_team: Mapping[str, Amounts] = Field(default_factory=dict, examples=[{"search": {"tokens_per_minute": 500000}}])
    """Limits of all keys of a team together, by the team's name."""

    per_model: Mapping[str, Amounts] = Field(
        default_factory=dict, examples=[{"gpt-4o-mini": {"max_parallel_requests": 200}}]
    )
    """Limits of all requests to a model, by its name in `model_list`."""

    per_key: Amounts = Field(
        default=Amounts(), examples=[{"requests_per_minute": 60, "burst": {"requests_per_minute": 10}}]
    )
    """Limits of each key that has none of its own."""

    per_key_and_model: Mapping[str, Amounts] = Field(
        default_factory=dict, examples=[{"gpt-4o-mini": {"tokens_per_minute": 50000}}]
    )
    """Limits of each key's requests to a model, by the model's name in `model_list`."""

    per_client_address: Amounts = Field(default=Amounts(), examples=[{"requests_per_minute": 20}])
    """Limits of each client address, for a gateway that anybody may use."""

    trusted_proxies: tuple[Annotated[str, AfterValidator(_network)], ...] = Field(default=(), examples=[["10.0.0.0/8"]])
    """Networks of proxies whose `x-forwarded-for` is believed."""

    estimated_output_tokens: Count = Field(default=ESTIMATED_OUTPUT_TOKENS, examples=[512])
    """How many tokens are reserved for an answer to which the client sets no bound."""

    shadow: bool = Field(default=False, examples=[True])
    """Whether what any of these limits would refuse is only counted and logged, and let through."""

    def rules(self) -> LimitRules:
        """As RateLimits takes them."""
        return LimitRules(
            overall=self.overall.limits(),
            per_team=_by_name(self.per_team),
            per_model=_by_name(self.per_model),
            per_key=self.per_key.limits(),
            per_key_and_model=_by_name(self.per_key_and_model),
            per_client_address=self.per_client_address.limits(),
            shadow=self.shadow,
        )

    def problems(self, served: Iterable[str]) -> Iterator[Problem]:
        """A store that cannot be, and limits of models that nothing in `model_list` (`served`) ever is."""
        try:
            open_limit_store(self.store)
        except (ValueError, ImportError) as error:
            yield Problem(("limits", "store"), str(error))
        names = name_set(tuple(served))
        for section, models in (("per_model", self.per_model), ("per_key_and_model", self.per_key_and_model)):
            yield from (Problem(("limits", section, model), _NOT_SERVED) for model in models if model not in names)


_NOT_SERVED: Final = "is no model in model_list; a request for an alias counts for the model behind it"


def _by_name(amounts: Mapping[str, Amounts]) -> Mapping[str, principal.Limits]:
    return MappingProxyType({name: each.limits() for name, each in amounts.items()})


class Budgets(Section):
    """How much may be spent, besides what each key says of itself."""

    per_team: Mapping[str, Budget] = Field(default_factory=dict, examples=[{"search": {"usd": 500, "period": "month"}}])
    """The budget of all keys of a team together, by the team's name."""

    per_key: Budget | None = Field(default=None, examples=[{"usd": 20, "period": "week"}])
    """The budget of each key that has none of its own."""

    warn_at: Annotated[Number, Field(gt=0, le=1)] = Field(default=WARN_AT, examples=[0.9])
    """The share of a budget from which on a warning is logged, once in its period."""

    def teams(self) -> Mapping[str, principal.Budget]:
        """As the plugin takes them."""
        return MappingProxyType({team: budget.budget() for team, budget in self.per_team.items()})

    def key(self) -> principal.Budget | None:
        return None if self.per_key is None else self.per_key.budget()
