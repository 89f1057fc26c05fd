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
    """How much may be used in a time, besides what each key says of itself.

    Attributes:
        store: `memory`, for one process; `sqlite:///limits.db`, for the workers of one machine; `redis://host:6379/0`.
        on_store_error: when the store does not answer: each process limits for itself, all passes, or nothing does.
        global: of all requests together.
        per_team, per_model: by name; a model by the one in `model_list`.
        per_key: of each key without limits of its own.
        per_key_and_model: of each key, by model.
        per_client_address: of each address, for gateways that anybody may use.
        trusted_proxies: networks whose `x-forwarded-for` is believed.
        estimated_output_tokens: how long an answer is taken to be where the client sets no bound.
        shadow: what any limit would refuse is noted, and let through.
    """

    store: Annotated[str, Field(min_length=1, repr=False)] = "memory"
    on_store_error: OnStoreError = "local"
    overall: Amounts = Field(default=Amounts(), validation_alias="global")
    per_team: Mapping[str, Amounts] = Field(default_factory=dict)
    per_model: Mapping[str, Amounts] = Field(default_factory=dict)
    per_key: Amounts = Amounts()
    per_key_and_model: Mapping[str, Amounts] = Field(default_factory=dict)
    per_client_address: Amounts = Amounts()
    trusted_proxies: tuple[Annotated[str, AfterValidator(_network)], ...] = ()
    estimated_output_tokens: Count = ESTIMATED_OUTPUT_TOKENS
    shadow: bool = False

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
    """How much may be spent, besides what each key says of itself.

    Attributes:
        per_team: of the keys of a team together.
        per_key: of each key without a budget of its own.
        warn_at: share of a budget from which on it is logged, once in its period.
    """

    per_team: Mapping[str, Budget] = Field(default_factory=dict)
    per_key: Budget | None = None
    warn_at: Annotated[Number, Field(gt=0, le=1)] = WARN_AT

    def teams(self) -> Mapping[str, principal.Budget]:
        """As the plugin takes them."""
        return MappingProxyType({team: budget.budget() for team, budget in self.per_team.items()})

    def key(self) -> principal.Budget | None:
        return None if self.per_key is None else self.per_key.budget()
