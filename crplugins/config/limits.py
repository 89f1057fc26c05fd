"""The sections about what may be used: limits, budgets."""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_network
from types import MappingProxyType
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from crplugins.config.identity import IdentitySection, SessionAmounts, SessionBudget, UserBudget
from crplugins.core import principal
from crplugins.core.patterns import Pattern
from crplugins.core.usage import Price
from crplugins.keys.policy import Amounts, BudgetSection, QueueSection
from crplugins.limits.fallback import OnStoreError
from crplugins.limits.opening import open_limit_store
from crplugins.limits.store import DEBT
from crplugins.metering.estimate import ESTIMATED_OUTPUT_TOKENS
from crplugins.metering.prices import price_of
from crplugins.plugins.budgets.plugin import WARN_AT
from crplugins.plugins.rate_limits.rules import LimitRules
from crplugins.settings.building import Deferred
from crplugins.settings.errors import Problem
from crplugins.settings.secret_text import OneLine
from crplugins.settings.section import Count, Number, Section, refusal


def _network(value: str) -> str:
    try:
        ip_network(value)
    except ValueError:
        raise refusal("must be a network such as 10.0.0.0/8, or an address") from None
    return value


class LimitsSection(Section):
    """How much may be used in a time, besides what each key says of itself."""

    store: Annotated[str, Field(min_length=1, repr=False), OneLine] = Field(
        default="memory", examples=["sqlite:///limits.db"]
    )
    """Where use is counted: `memory`, `sqlite:///limits.db` for one machine, `redis://host:6379/0` for several,
    also `redis+sentinel://` and `redis+cluster://`."""

    on_store_error: OnStoreError = Field(default="local", examples=["closed"])
    """When the store is unavailable: each process allows its share of the limits, every request passes, or every one
    gets 503."""

    local_share: Annotated[Number, Field(gt=0, le=1)] | None = Field(default=None, examples=[0.25])
    """What part of each limit a process allows with `on_store_error: local`; by default an equal share, among as many
    processes as have used the store."""

    overall: Deferred[Amounts] = Field(
        default=Amounts.without_keys(), validation_alias="global", examples=[{"requests_per_minute": 5000}]
    )
    """Limits of all requests together."""

    per_team: Mapping[str, Deferred[Amounts]] = Field(
        default_factory=dict, examples=[{"search": {"tokens_per_minute": 500000}}]
    )
    """Limits of all keys of a team together, by the team's name."""

    per_model: Mapping[str, Deferred[Amounts]] = Field(
        default_factory=dict, examples=[{"gpt-4o-mini": {"max_parallel_requests": 200}}]
    )
    """Limits of all requests to a model, by its name in `model_list`. A name with a `*`, such as `openai/*`, is for all
    models that fit it together."""

    per_key: Deferred[Amounts] = Field(
        default=Amounts.without_keys(), examples=[{"requests_per_minute": 60, "burst": {"requests_per_minute": 10}}]
    )
    """Limits of each key that has none of its own."""

    per_key_and_model: Mapping[str, Deferred[Amounts]] = Field(
        default_factory=dict, examples=[{"gpt-4o-mini": {"tokens_per_minute": 50000}}]
    )
    """Limits of each key's requests to a model, by the model's name in `model_list`, or to all that fit a name with a
    `*` together."""

    per_client_address: Deferred[Amounts] = Field(
        default=Amounts.without_keys(), examples=[{"requests_per_minute": 20}]
    )
    """Limits of each client address, for a gateway that anybody may use."""

    per_user: Deferred[Amounts] = Field(
        default=Amounts.without_keys(), examples=[{"requests_per_minute": 20, "tokens_per_day": 200000}]
    )
    """Limits of each end user of a key. Where requests name their user stands in `identity`."""

    per_session: Deferred[SessionAmounts] = Field(
        default=SessionAmounts.without_keys(), examples=[{"requests": 200, "tokens": 1000000}]
    )
    """Limits of each session of a key, such as one run of an agent. Where requests name it stands in `identity`."""

    per_deployment: Deferred[Amounts] = Field(default=Amounts.without_keys(), examples=[{"max_parallel_requests": 32}])
    """What a provider lets each entry of `model_list` use, besides its own `rpm`, `tpm` and `max_parallel_requests`. A
    request for which nothing of it is left goes to the next deployment. For crplugins' own gateway."""

    identity: Deferred[IdentitySection] = IdentitySection.without_keys()
    """Where requests name their end user and their session, and what happens to those that do not."""

    trusted_proxies: tuple[Annotated[str, AfterValidator(_network)], ...] = Field(default=(), examples=[["10.0.0.0/8"]])
    """Networks of proxies whose `x-forwarded-for` or `forwarded` is believed."""

    estimated_output_tokens: Count = Field(default=ESTIMATED_OUTPUT_TOKENS, examples=[512])
    """How many tokens are reserved for an answer to which the client sets no bound."""

    max_debt: Annotated[Number, Field(ge=0, allow_inf_nan=False)] = Field(default=DEBT, examples=[5])
    """How many times its amount a limit may be overdrawn by answers that took more than was reserved for them, to be
    repaid from the following time; what goes beyond is forgiven."""

    shadow: bool = Field(default=False, examples=[True])
    """Whether what any of these limits would refuse is only counted and logged, and let through."""

    queue: Deferred[QueueSection] | None = Field(default=None, examples=[{"seconds": 10, "length": 100}])
    """How requests wait that a limit would refuse now: every limit by time and of requests at once, also those of keys,
    that says nothing else itself. Without it they are refused at once."""

    def rules(self) -> LimitRules:
        """As RateLimits takes them."""
        return LimitRules(
            overall=self.overall.limits(),
            per_team=_by_name(self.per_team),
            per_model=_by_name(self.per_model),
            per_key=self.per_key.limits(),
            per_key_and_model=_by_name(self.per_key_and_model),
            per_client_address=self.per_client_address.limits(),
            per_user=self.per_user.limits(),
            per_session=self.per_session.session_limits(),
            shadow=self.shadow,
            queue=None if self.queue is None else self.queue.queue(),
        )

    def problems(self, served: Iterable[str]) -> Iterator[Problem]:
        """A store that cannot be, and limits of models that nothing in `model_list` (`served`) ever is."""
        try:
            open_limit_store(self.store)
        except (ValueError, ImportError) as error:
            yield Problem(("limits", "store"), str(error))
        listed = [Pattern.of(name) for name in served]
        for section, models in (("per_model", self.per_model), ("per_key_and_model", self.per_key_and_model)):
            for model in models:
                if not any(each.meets(Pattern.of(model)) for each in listed):
                    yield Problem(("limits", section, model), _NOT_SERVED)


_NOT_SERVED: Final = "is no model in model_list; a request for an alias counts for the model behind it"


def _by_name(amounts: Mapping[str, Amounts]) -> Mapping[str, principal.Limits]:
    return MappingProxyType({name: each.limits() for name, each in amounts.items()})


class FallbackPrice(Section):
    """What a token costs of a model whose own price is unknown. Other keys are prices too, as in `model_info`."""

    model_config = ConfigDict(extra="allow")

    likeness: ClassVar[float] = 0.93

    input_cost_per_token: Annotated[Number, Field(ge=0, allow_inf_nan=False)] = Field(examples=[0.000005])
    """US dollars for a token of a prompt."""

    output_cost_per_token: Annotated[Number, Field(ge=0, allow_inf_nan=False)] = Field(examples=[0.000025])
    """US dollars for a token of an answer."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        try:
            price = self.price()
        except ValueError as error:
            raise refusal(str(error)) from None
        if price is None:
            raise refusal("is no price by tokens")
        return self

    def price(self) -> Price | None:
        own = {"input_cost_per_token": self.input_cost_per_token, "output_cost_per_token": self.output_cost_per_token}
        return price_of({**self.others, **own})


class BudgetsSection(Section):
    """How much may be spent, besides what each key says of itself."""

    per_team: Mapping[str, Deferred[BudgetSection]] = Field(
        default_factory=dict, examples=[{"search": {"usd": 500, "period": "month"}}]
    )
    """The budget of all keys of a team together, by the team's name."""

    per_key: Deferred[BudgetSection] | None = Field(default=None, examples=[{"usd": 20, "period": "week"}])
    """The budget of each key that has none of its own."""

    per_user: Deferred[UserBudget] | None = Field(default=None, examples=[{"usd": 5, "period": "month"}])
    """The budget of each end user of a key. Where requests name their user stands in `limits.identity`."""

    per_session: Deferred[SessionBudget] | None = Field(default=None, examples=[{"usd": 2}])
    """The budget of each session of a key, such as one run of an agent. Where requests name it stands in
    `limits.identity`."""

    warn_at: Annotated[Number, Field(gt=0, le=1)] = Field(default=WARN_AT, examples=[0.9])
    """The share of a budget from which on a warning is logged, once in its period."""

    unknown_price: Literal["refuse", "allow", "price"] = Field(default="refuse", examples=["price"])
    """A request under a budget for a model whose price is unknown: `refuse` answers 400, `allow` lets it through though
    no budget can count it, `price` counts it at `fallback_price`."""

    fallback_price: Deferred[FallbackPrice] | None = Field(
        default=None, examples=[{"input_cost_per_token": 0.000005, "output_cost_per_token": 0.000025}]
    )
    """What such a model costs, in records and metrics too. Given alone it means `unknown_price: price`."""

    shadow: bool = Field(default=False, examples=[True])
    """Whether what any of these budgets would refuse is only counted and logged, and let through."""

    @model_validator(mode="after")
    def _fallback_price_is_used(self) -> Self:
        if self.unknown_price == "price" and self.fallback_price is None:
            raise refusal("is missing, and unknown_price: price needs it", "fallback_price")
        if (
            self.fallback_price is not None
            and "unknown_price" in self.model_fields_set
            and self.unknown_price != "price"
        ):
            raise refusal(f"is not used with unknown_price: {self.unknown_price}", "fallback_price")
        return self

    @property
    def refuses_unknown_price(self) -> bool:
        return self.unknown_price == "refuse" and self.fallback_price is None

    def fallback(self) -> Price | None:
        """What a model costs whose own price is unknown; None where it stays unknown."""
        return None if self.fallback_price is None else self.fallback_price.price()

    def teams(self) -> Mapping[str, principal.Budget]:
        """As the plugin takes them."""
        return MappingProxyType({team: budget.budget() for team, budget in self.per_team.items()})

    def key(self) -> principal.Budget | None:
        return None if self.per_key is None else self.per_key.budget()

    def user(self) -> principal.Budget | None:
        return None if self.per_user is None else self.per_user.budget()

    def session(self) -> principal.Budget | None:
        return None if self.per_session is None else self.per_session.budget()

    def all(self) -> list[principal.Budget]:
        """Whatever a key brings besides."""
        found = [*self.teams().values(), self.key(), self.user(), self.session()]
        return [budget for budget in found if budget is not None]
