"""Config: the keys of the configuration file."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, SecretStr

from crplugins.config.answers import AnswerKeys
from crplugins.config.fallbacks import FallbackKeys
from crplugins.config.limits import BudgetsSection, LimitsSection
from crplugins.config.litellm_params import LitellmParams
from crplugins.config.metering import LedgerSection, MetricsSection, PricesSection, UsageSection
from crplugins.config.models import General, ModelEntry, ModelInfo
from crplugins.config.on_break import OnBreakKeys
from crplugins.config.plugin_entry import PluginEntry
from crplugins.config.routing import GroupKeys, RoutingKeys, group_problems, group_settings
from crplugins.config.server import LogSection, Server
from crplugins.config.sinks import SinksSection
from crplugins.config.webhooks import WebhookSection
from crplugins.core.principal import MissingUsagePolicy, OnDisconnect
from crplugins.handlers.demo_models import LITELLM_DEMO
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.routing.fallbacks import FallbackNames
from crplugins.handlers.routing.settings import GroupSettings
from crplugins.handlers.upstream import GATEWAY_EXTRA, litellm_is_installed
from crplugins.keys.aliases import AliasError
from crplugins.keys.opening import open_source
from crplugins.metering.listed_prices import ListedPrices, NoPriceList
from crplugins.plugins.aliases.table import AliasTable
from crplugins.settings.building import Deferred
from crplugins.settings.errors import ConfigError, KeyPath, Problem, Source
from crplugins.settings.secret_text import Sendable
from crplugins.settings.section import Section, not_empty, switch
from crplugins.sql.url import read_database_url

DEMO_MODEL: Final = "demo/echo"
RUN_KEY_ID: Final = "run-key"


OperatorToken = Annotated[SecretStr, Field(min_length=16), Sendable]
OperatorName = Annotated[
    str, Field(min_length=1, max_length=64, pattern=r"^[\w.@-]+$")
]  # a bound in the pattern takes 6 MB


class Admin(Section):
    """The admin API under /admin/keys, behind a token of its own. It changes the file or database of `keys`."""

    token: OperatorToken = Field(examples=["${ADMIN_TOKEN}"])
    """What an operator presents as `Authorization: Bearer`; at least 16 characters. The audit log calls it `admin`."""

    tokens: Mapping[OperatorName, OperatorToken] = Field(default_factory=dict, examples=[{"ann": "${ANN_TOKEN}"}])
    """More tokens of operators, by the name under which the audit log knows each."""

    @property
    def by_name(self) -> Mapping[str, str]:
        tokens = {"admin": self.token, **self.tokens}
        return {name: token.get_secret_value() for name, token in tokens.items()}


class PageSection(Section):
    """The page at `/`, for people with a browser. `true` is the same without a contact, `false` is no page."""

    contact: Annotated[str, Field(min_length=1, max_length=300)] | None = Field(
        default=None, examples=["platform@example.com"]
    )
    """Whom to ask for a key: an e-mail address, a URL, or a sentence."""


class Guard(Section):
    """How requests are checked before they are sent on."""

    strict: bool = Field(default=False, examples=[True])
    """Whether what only OpenAI refuses (unknown parameters, tool and part types) is refused here too."""


SigningSecret = Annotated[SecretStr, Field(min_length=32)]


class ResponsesSection(Section):
    """Responses that providers keep, which clients read, go on from and delete by the ids of `/v1/responses`."""

    secret: SigningSecret | tuple[SigningSecret, ...] = Field(default=(), examples=["${RESPONSES_SECRET}"])
    """What signs these ids, so that each is its key's alone; at least 32 characters. Of a list the first signs, and
    what any has signed is read. Without it the gateway's key at the provider signs, and where that has less than 20
    characters, or an app inside keeps the responses, a secret that is another one after each start."""

    max_background: int = Field(default=200, ge=0, examples=[50])
    """Responses in the background (`background: true`) for whose end a process waits at once, to count what they have
    used. A further one is refused with 503; with 0 all are refused with 400."""

    background_seconds: float = Field(default=3600, gt=0, le=86400, examples=[7200])
    """How long a response in the background is waited for. One that has not ended by then, or when the process ends,
    is recorded with an estimate."""

    @property
    def secrets(self) -> Sequence[str]:
        secrets = self.secret if isinstance(self.secret, tuple) else (self.secret,)
        return [secret.get_secret_value() for secret in secrets]


def _demo(name: str = DEMO_MODEL) -> tuple[ModelEntry, ...]:
    free = ModelInfo(input_cost_per_token=0, output_cost_per_token=0)  # else a budget would refuse it
    return (ModelEntry(model_name=name, litellm_params=LitellmParams(model=name), model_info=free),)


class Config(FallbackKeys, RoutingKeys, AnswerKeys, OnBreakKeys, GroupKeys):
    """A whole configuration, checked. Without `model_list` it serves the demo model."""

    model_list: Annotated[tuple[ModelEntry, ...], AfterValidator(not_empty)] = Field(default_factory=_demo)
    """The models, in LiteLLM's own format; without it the demo model `demo/echo`."""

    keys: Any = Field(default=(), repr=False, examples=[{"file": "keys.yaml"}])
    """A list of keys, or where they are: `{file: ...}`, `{sql: ...}`, `{jwt: {...}}`."""

    aliases: Mapping[str, Any] = Field(
        default_factory=dict,
        examples=[
            {
                "fast": "gpt-4o-mini",
                "gpt-3.5*": "gpt-4o-mini",
                "canary": [{"model": "gpt-4o-mini", "weight": 9}, {"model": "gpt-4.1-mini", "weight": 1}],
            }
        ],
    )
    """Other names for models, one `*` standing for any text: a name, or a list of `{model, weight}`."""

    team_aliases: Mapping[str, Mapping[str, Any]] = Field(
        default_factory=dict, examples=[{"search": {"fast": "gpt-4o"}}]
    )
    """Aliases for the keys of one team; they come before `aliases`."""

    response_model: Literal["requested", "served"] = Field(default="requested", examples=["served"])
    """Whether answers name the model as it was asked for, or as the provider names it."""

    hidden_model_status: Literal[404, 403] = Field(default=404, examples=[403])
    """How a model that the key may not call is refused: with 404, as if it did not exist, or with 403."""

    models_shadow: bool = Field(default=False, examples=[True])
    """Whether a request for a name that is not in its key's `models` is only counted and logged, and let through."""

    limits: Deferred[LimitsSection] = LimitsSection.without_keys()
    """How much may be used in a time, besides what each key says of itself."""

    budgets: Deferred[BudgetsSection] = BudgetsSection.without_keys()
    """How much may be spent, besides what each key says of itself."""

    on_disconnect: OnDisconnect = Field(default="cancel", examples=["drain"])
    """When a client disconnects: end the upstream call at once, or read on to the provider's usage."""

    missing_usage: MissingUsagePolicy = Field(default="estimate", examples=["refuse"])
    """When a provider reports no usage: estimate it, let the request fail, or count nothing."""

    usage: Deferred[UsageSection] = UsageSection.without_keys()
    """How tokens are counted."""

    prices: Deferred[PricesSection] | None = None
    """A list of prices of your own; without it that of the installed litellm counts, else that of genai-prices."""

    ledger: Deferred[LedgerSection] | None = None
    """Where the record of every request is kept; without it no records are kept."""

    sinks: Deferred[SinksSection] = SinksSection.without_keys()
    """Brokers that the record of every request is published to, besides the ledger or in its place."""

    metrics: Deferred[MetricsSection] | None = None
    """Where Prometheus finds the metrics; without it nothing is counted."""

    tracing: bool = Field(default=False, examples=[True])
    """Whether spans are made, through whatever OpenTelemetry SDK the process has set up; needs the extra `otel`."""

    log: Deferred[LogSection] = LogSection.without_keys()
    """The log of `crplugins serve` on stderr."""

    server: Deferred[Server] = Server.without_keys()
    """Where and how `crplugins serve` listens."""

    guard: Deferred[Guard] = Guard.without_keys()
    """How requests are checked before they are sent on."""

    responses: Deferred[ResponsesSection] = ResponsesSection.without_keys()
    """The ids of responses that providers keep."""

    admin: Deferred[Admin] | None = None
    """The admin API; without it there is none."""

    webhooks: tuple[Deferred[WebhookSection], ...] = ()
    """Who is told when a budget is nearly spent, and when a key is about to expire."""

    page: Annotated[Deferred[PageSection] | None, BeforeValidator(switch)] = PageSection.without_keys()
    """The page at `/`, for people with a browser; `false` for none."""

    plugins: tuple[PluginEntry, ...] = ()
    """Plugins of your own, each a name, a dotted path, or a mapping with options."""

    _source: Source = PrivateAttr(default_factory=Source)
    _warnings: tuple[str, ...] = PrivateAttr(default=())
    _variables: Mapping[str, str] = PrivateAttr(default_factory=dict)
    _is_litellms: bool = PrivateAttr(default=False)
    _places: Sequence[int] = PrivateAttr(default=())

    @property
    def source(self) -> Source:
        """Where it was read; `config.source.error([Problem(path, message)])` names the line of a later finding."""
        return self._source

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence for each key that was ignored, or says what is hardly meant."""
        return self._warnings

    @cached_property
    def listed_prices(self) -> ListedPrices:
        """The list of prices that counts where `model_info` has none; the same one for all who ask."""
        return ListedPrices() if self.prices is None else self.prices.listed()

    def keep_prices_of(self, previous: Self) -> None:
        """The same list goes on to count where `prices` is the same: handlers that are kept look prices up in it."""
        if self.prices == previous.prices:
            vars(self)["listed_prices"] = previous.listed_prices
            vars(self).pop("_deployments", None)  # they would look them up in another one

    @property
    def variables(self) -> Mapping[str, str]:
        """Variables of the environment that LiteLLM's file sets, for whoever starts a process with it."""
        return self._variables

    @property
    def is_litellms(self) -> bool:
        """Whether it was a file of LiteLLM's alone, in which an entry that cannot be used is left out."""
        return self._is_litellms

    def place_of(self, index: int) -> KeyPath:
        """Where an entry of `model_list` stands in the file, in which others may have been left out before it."""
        return ("model_list", self._places[index] if index < len(self._places) else index)

    def read_from(
        self,
        source: Source,
        warnings: tuple[str, ...],
        variables: Mapping[str, str] | None = None,
        *,
        is_litellms: bool = False,
        places: Sequence[int] = (),
    ) -> Self:
        """The same configuration, knowing where it stands; `places` are those of its entries in `model_list`."""
        copy = self.model_copy()
        copy._source, copy._warnings, copy._is_litellms, copy._places = source, warnings, is_litellms, places
        copy._variables = self._variables if variables is None else variables
        return copy

    def with_litellm_demo(self) -> Self:
        """The same with `demo/litellm` where litellm is installed, for who sees the gateway for the first time."""
        more = _demo(LITELLM_DEMO) if litellm_is_installed() else ()
        copy = self.model_copy(update={"model_list": (*self.model_list, *more)})
        vars(copy).pop("_deployments", None)
        return copy

    def with_run_key(self, secret: str) -> Self:
        """The same configuration with one key, made for this run."""
        return self.model_copy(update={"keys": ({"id": RUN_KEY_ID, "secret": secret},)})

    def with_limit_store(self, url: str) -> Self:
        """The same configuration with another `limits.store`, made for this run."""
        return self.model_copy(update={"limits": self.limits.model_copy(update={"store": url})})

    def with_server(self, settings: Mapping[str, Any]) -> Self:
        """The same configuration with other settings of `server`, which are not checked again."""
        return self.model_copy(update={"server": self.server.model_copy(update=dict(settings))})

    def key_ids(self) -> list[str]:
        """The ids of the keys that stand in the configuration itself."""
        return [str(key.get("id")) for key in self.keys] if isinstance(self.keys, list | tuple) else []

    def deployments(self) -> Sequence[Deployment]:
        """`model_list` as handlers take it, in its order; the choice of handler stands in `model_list[i].handler`.

        Made when they are asked for first: several ask one after the other.
        """
        return self._deployments

    @cached_property
    def _deployments(self) -> Sequence[Deployment]:
        quota = self.limits.per_deployment.limits()
        general = General(self.listed_prices, self.budgets.fallback(), quota, self, self, self)
        return tuple([entry.deployment(general) for entry in self.model_list])

    def has_limited_deployment(self) -> bool:
        """Whether a deployment has a limit. Makes none of them: there may be thousands."""
        quota = self.limits.per_deployment.limits()
        return any(entry.is_limited(quota) for entry in self.model_list)

    def groups(self) -> dict[str, GroupSettings]:
        """By model name, how one of its deployments is chosen. What one entry of a name says counts for all."""
        by_name: dict[str, list[ModelEntry]] = {}
        for entry in self.model_list:
            by_name.setdefault(entry.model_name, []).append(entry)
        return {name: group_settings(self, *entries) for name, entries in by_name.items()}

    def fallback_table(self) -> FallbackNames:
        """Which model names answer in the place of others."""
        return self.fallback_names(self._own_fallbacks())

    def _own_fallbacks(self) -> dict[str, list[str]]:
        """Those that entries of `model_list` have, by their names."""
        own: dict[str, list[str]] = {}
        for entry in self.model_list:
            if names := [*entry.fallbacks, *entry.litellm_params.fallbacks]:
                own.setdefault(entry.model_name, []).extend(names)
        return own

    def conflicts(self) -> Iterator[Problem]:
        """Keys of which one would hide the other, and aliases that lead nowhere."""
        yield from self._alias_problems()
        served = [entry.model_name for entry in self.model_list]
        yield from self.limits.problems(served)
        yield from self.fallback_problems(self._own_fallbacks(), served)
        yield from group_problems((entry.model_name, entry) for entry in self.model_list)
        if self.ledger is not None:
            yield from url_problems(self.ledger.url)
        yield from self.sinks.problems()
        if self.usage.estimator == "litellm" and not litellm_is_installed():
            yield Problem(("usage", "estimator"), f"'litellm' is not installed: {GATEWAY_EXTRA}")
        if self.prices is not None and self.prices.file is not None:
            yield from self._price_problems()
        yield from key_problems(self.keys)

    def _price_problems(self) -> Iterator[Problem]:
        try:
            self.listed_prices()
        except NoPriceList as error:
            yield Problem(("prices", "file"), f"cannot be read as a list of prices: {error}")

    def _alias_problems(self) -> Iterator[Problem]:
        try:
            AliasTable.parse(self.aliases, {})
        except AliasError as error:
            yield Problem(("aliases", error.alias), str(error))
            return
        for team, aliases in self.team_aliases.items():
            try:
                AliasTable.parse(self.aliases, {team: aliases})
            except AliasError as error:
                yield Problem(("team_aliases", team, error.alias), str(error))


def url_problems(url: str) -> Iterator[Problem]:
    """What is wrong with the URL of the ledger."""
    try:
        read_database_url(url).import_driver()
    except (ValueError, ImportError) as error:
        yield Problem(("ledger", "url"), str(error))


def key_problems(keys: Any) -> Iterator[Problem]:
    """What is wrong with the value of `keys`."""
    if keys in ([], {}):
        yield Problem(("keys",), "must not be empty")
        return
    try:
        open_source(keys)
    except ConfigError as error:
        yield from error.problems
    except ImportError as error:
        yield Problem(("keys",), str(error))
