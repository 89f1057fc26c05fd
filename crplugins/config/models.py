"""ModelEntry: one entry of `model_list`, in LiteLLM's own format. Where it is served is in `litellm_params`."""

from collections.abc import Mapping
from functools import cached_property, reduce
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Self
from urllib.parse import urlsplit

import msgspec
from pydantic import ConfigDict, Field, model_validator

from crplugins.config.answers import AnswerKeys
from crplugins.config.litellm_params import LitellmParams, QuotaKeys, is_price
from crplugins.config.on_break import NO_ON_BREAK, OnBreakKeys, on_break_of
from crplugins.config.routing import NOTHING_SAID, DeploymentKeys, GroupKeys, RoutingKeys, routing_settings
from crplugins.core.network import NO_CERTIFICATE, Certificate
from crplugins.core.principal import Limits
from crplugins.core.usage import Price
from crplugins.handlers.deadlines import NO_DEADLINES, Deadlines
from crplugins.handlers.demo_models import LITELLM_DEMO, LITELLM_DEMO_MODEL, LITELLM_DEMO_PARAMETERS
from crplugins.handlers.deployment import Deployment, is_limited
from crplugins.handlers.protocols import answers_in_responses, protocols_in
from crplugins.handlers.routing.on_break import OnBreak
from crplugins.handlers.routing.settings import RoutingSettings
from crplugins.handlers.upstream import HandlerKind
from crplugins.metering.fallback import or_fallback
from crplugins.metering.listed_prices import ListedPrices
from crplugins.metering.price_table import Prices, listed_for
from crplugins.metering.prices import price_of
from crplugins.plugins.rate_limits.rules import NO_LIMITS
from crplugins.settings.section import Number, Section, refusal


class ModelInfo(Section):
    """What is known about a model. Prices in US dollars per token; other keys of LiteLLM's are kept."""

    model_config = ConfigDict(extra="allow")

    likeness: ClassVar[float] = 0.93

    input_cost_per_token: Annotated[Number, Field(ge=0, allow_inf_nan=False)] | None = Field(
        default=None, examples=[0.00000015]
    )
    """US dollars for a token of a prompt; by default the list of prices."""

    output_cost_per_token: Annotated[Number, Field(ge=0, allow_inf_nan=False)] | None = Field(
        default=None, examples=[0.0000006]
    )
    """US dollars for a token of an answer; by default the list of prices."""

    def known(self) -> dict[str, Any]:
        """All that is given, under LiteLLM's names."""
        own = {"input_cost_per_token": self.input_cost_per_token, "output_cost_per_token": self.output_cost_per_token}
        return {**self.others, **{name: price for name, price in own.items() if price is not None}}

    @cached_property
    def price(self) -> Price | None:
        """What is given as a price; None where the list of prices has to say the rest."""
        return price_of(self.known())

    @model_validator(mode="after")
    def _priced(self) -> Self:
        try:
            self.price  # noqa: B018 - it is kept
        except ValueError as error:
            raise refusal(str(error)) from None
        return self


class ModelEntry(QuotaKeys, DeploymentKeys, AnswerKeys, OnBreakKeys, GroupKeys):
    """A name clients ask for and where its answers come from.

    Entries with the same name take turns, and fail over to one another.
    """

    model_name: Annotated[str, Field(min_length=1)] = Field(examples=["gpt-4o-mini"])
    """What clients ask for; `openai/*` serves every name that fits. Entries with one name fail over to one another."""

    litellm_params: LitellmParams
    """Where the model is served."""

    model_info: ModelInfo = ModelInfo.without_keys()
    """What is known about the model: its prices."""

    handler: HandlerKind = Field(default="auto", examples=["direct"])
    """What answers: `direct` passes OpenAI's wire through, `litellm` translates, `auto` takes whichever fits."""

    forward_trace: bool = Field(default=False, examples=[True])
    """Whether the upstream is sent the trace context, for one that takes part in your traces."""

    @model_validator(mode="before")
    @classmethod
    def _prices_beside_params(cls, value: Any) -> Any:
        """LiteLLM reads prices from `litellm_params` too; `model_info` comes first."""
        params = value.get("litellm_params") if isinstance(value, Mapping) else None
        info = value.get("model_info", {}) if isinstance(value, Mapping) else None
        if not isinstance(params, Mapping) or not isinstance(info, Mapping):
            return value
        prices = {key: price for key, price in params.items() if key not in _PARAMS and is_price(str(key))}
        return {**value, "model_info": prices | dict(info)} if prices else value

    def is_limited(self, quota: Limits) -> bool:
        """Whether its deployment has a limit, where `quota` holds if the entry says nothing."""
        return is_limited(self._within(quota), adaptive=self._is_adaptive)

    @property
    def _is_adaptive(self) -> bool:
        return self.adaptive_concurrency or self.litellm_params.adaptive_concurrency

    def _within(self, quota: Limits) -> Limits:
        if _QUOTA.isdisjoint(self.model_fields_set) and _QUOTA.isdisjoint(self.litellm_params.model_fields_set):
            return quota
        given = {**self.litellm_params.quota(), **self.quota()}
        return msgspec.structs.replace(quota, **given) if given else quota

    def _prices(self, listed: ListedPrices) -> Prices:
        info, own = self.model_info, self.model_info.price
        if own is not None:
            return lambda _model: own
        return listed_for(info.known(), listed, region=region_of(self.litellm_params), watch=listed.watch)

    def deployment(self, general: "General | None" = None) -> Deployment:
        """The entry as handlers take it, with what holds in `general` where it says nothing."""
        general = general or General()
        params, info = self.litellm_params, self.model_info.model_extra or _NOTHING
        demo = params.model == LITELLM_DEMO
        said = self.model_fields_set | params.model_fields_set  # most entries say nothing of all this
        return Deployment(
            name=self.model_name,
            model=LITELLM_DEMO_MODEL if demo else params.model,
            api_base=params.api_base,
            provider=provider_of(params.model),
            prices=or_fallback(self._prices(general.listed), general.fallback),
            forwards_trace=self.forward_trace,
            api_key=params.api_key.get_secret_value() if params.api_key else None,
            parameters=params.parameters() if not demo else {**params.parameters(), **LITELLM_DEMO_PARAMETERS},
            deadlines=general.deadlines if said.isdisjoint(_ANSWER) else self._deadlines(general),
            skip_malformed=general.skip_malformed if said.isdisjoint(_ANSWER) else self._skip_malformed(general),
            quota=self._within(general.quota),
            adaptive=self._is_adaptive,
            ssl_verify=params.ssl_verify,
            certificate=_certificate(params),
            routing=general.routing if said.isdisjoint(_ROUTING) else self._routing(general),
            on_break=general.on_break if said.isdisjoint(_ON_BREAK) else self._on_break(general),
            takes_prefill=_said(info.get("supports_assistant_prefill")),
            protocols=protocols_in(info),
            only_responses=answers_in_responses(info),
            reasons=_said(info.get("supports_reasoning")),
        )

    def _deadlines(self, general: "General") -> Deadlines:
        return reduce(Deadlines.or_else, (self.deadlines(), self.litellm_params.deadlines(), general.deadlines))

    def _skip_malformed(self, general: "General") -> int:
        given = (self.skip_malformed, self.litellm_params.skip_malformed)
        return next((number for number in given if number is not None), general.skip_malformed)

    def _routing(self, general: "General") -> RoutingSettings:
        return routing_settings(general.routing_keys, self.litellm_params, self)

    def _on_break(self, general: "General") -> OnBreak:
        return on_break_of(self, self.litellm_params, general.on_break_keys)


class General:
    """What holds for each entry of `model_list` that says nothing else, worked out once for all of them.

    Args:
        listed: the list of prices, by default the installed one.
        fallback: the price of a model whose own is unknown.
    """

    def __init__(
        self,
        listed: ListedPrices | None = None,
        fallback: Price | None = None,
        quota: Limits = NO_LIMITS,
        answers: AnswerKeys | None = None,
        routing: RoutingKeys = NOTHING_SAID,
        on_break: OnBreakKeys = NO_ON_BREAK,
    ) -> None:
        self.listed: Final = listed or ListedPrices()
        self.fallback: Final = fallback
        self.quota: Final = quota
        self.deadlines: Final = NO_DEADLINES if answers is None else answers.deadlines()
        skipped = None if answers is None else answers.skip_malformed
        self.skip_malformed: Final = 1 if skipped is None else skipped
        self.routing_keys, self.routing = routing, routing_settings(routing)
        self.on_break_keys, self.on_break = on_break, on_break_of(on_break)


_PARAMS: Final = LitellmParams.known_keys()
_ANSWER: Final = frozenset(AnswerKeys.model_fields)
_QUOTA: Final = frozenset(QuotaKeys.model_fields)
_ROUTING: Final = frozenset(DeploymentKeys.model_fields)
_ON_BREAK: Final = frozenset(OnBreakKeys.model_fields)

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


def _certificate(params: LitellmParams) -> Certificate:
    given = params.ssl_certificate is not None
    return Certificate(params.ssl_certificate, params.ssl_key) if given else NO_CERTIFICATE


def provider_of(model: str) -> str:
    """The provider in LiteLLM's notation of a model; a bare name is OpenAI's."""
    provider, slash, _ = model.partition("/")
    return provider if slash else "openai"


def _said(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


_OPENAI_REGIONS: Final[Mapping[str, str]] = {
    "eu.api.openai.com": "eu",
    "us.api.openai.com": "us",
    "gov.api.openai.com": "fedramp",
}


def region_of(params: LitellmParams) -> str | None:
    """The region of a deployment in which the same model costs more: one of OpenAI's, or one of Vertex AI's.

    https://developers.openai.com/api/docs/guides/your-data, https://cloud.google.com/vertex-ai/generative-ai/pricing
    """
    location = params.others.get("vertex_location")
    if provider_of(params.model).startswith("vertex_ai"):
        return "regional" if isinstance(location, str) and location.lower() != "global" else None
    return _OPENAI_REGIONS.get(urlsplit(params.api_base).hostname or "") if params.api_base else None
