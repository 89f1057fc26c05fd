"""LitellmParams: where a model is served, and what its provider is sent, in LiteLLM's own format."""

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import AfterValidator, AliasChoices, ConfigDict, Field, SecretStr, model_validator

from crplugins.config.answers import AnswerKeys
from crplugins.config.litellm.table import key_table
from crplugins.config.on_break import OnBreakKeys
from crplugins.config.routing import DeploymentKeys
from crplugins.core.final_newline import without_final_newline
from crplugins.core.network import SslVerify, has_host
from crplugins.handlers.deployment import NO_PARAMETERS
from crplugins.handlers.litellm_settings import DROPPED, HEADERS, header_texts, headers_in, is_parameter, is_setting
from crplugins.keys.policy import QueueSection
from crplugins.settings.building import Deferred
from crplugins.settings.secret_text import Sendable
from crplugins.settings.section import Count, Flag, Section, Whole, refusal


def _base_url(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise refusal("must begin with http:// or https://")
    if not has_host(value):
        raise refusal("must be a URL with a host, such as https://llm.example.com/v1")
    return value.rstrip("/")


_SECRETS: Final = ("key", "token", "secret", "password", "credential", "base", "url", "endpoint", "headers")

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.1

_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@lru_cache(1024)  # the same few names stand in each of many entries
def is_secret(name: str) -> bool:
    """Whether a parameter of a deployment is a credential, an address or the headers, by its name."""
    return any(word in name for word in _SECRETS)


def _whole(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _whole(item) for key, item in value.items()}
    return without_final_newline(value) if isinstance(value, str) else value


class QuotaKeys(Section):
    """What the provider lets a deployment use, in LiteLLM's words."""

    rpm: Count | None = Field(default=None, examples=[500])
    """Requests in a minute that the provider allows. One more goes to the next deployment."""

    tpm: Count | None = Field(default=None, examples=[200000])
    """Tokens in a minute that the provider allows, of prompts and answers together."""

    max_parallel_requests: Count | None = Field(default=None, examples=[32])
    """Requests at once that the provider allows."""

    adaptive_concurrency: Flag = Field(default=False, examples=[True])
    """Whether the answers decide how many requests the deployment is sent at once, up to `max_parallel_requests`, or
    256: a 429, a time-out or late first tokens lower the number, answers in time raise it."""

    queue: Deferred[QueueSection] | None = Field(default=None, examples=[{"seconds": 10, "length": 100}])
    """How requests wait that no deployment of the name may be sent now; without it they are refused at once."""

    def quota(self) -> dict[str, Any]:
        """What is given, as keywords of `principal.Limits`."""
        given = {
            "requests_per_minute": self.rpm,
            "tokens_per_minute": self.tpm,
            "max_parallel_requests": self.max_parallel_requests,
            "queue": None if self.queue is None else self.queue.queue(),
        }
        return {name: amount for name, amount in given.items() if amount is not None}


class LitellmParams(QuotaKeys, DeploymentKeys, AnswerKeys, OnBreakKeys):
    """Where a model is served. Other keys are parameters of the request or settings of the provider, as in LiteLLM."""

    model_config = ConfigDict(extra="allow")

    extras: ClassVar[frozenset[str]] = frozenset(
        (
            *("api_version", "organization", "custom_llm_provider", "drop_params", "extra_body", "extra_headers"),
            *("temperature", "top_p", "top_k", "seed", "stop", "max_tokens", "max_completion_tokens"),
            *("presence_penalty", "frequency_penalty", "reasoning_effort"),
        )
    )
    likeness: ClassVar[float] = 0.8

    @classmethod
    def knows(cls, key: str) -> bool:
        return super().knows(key) or is_parameter(key) or key_table().find("litellm_params", key) is not None

    model: Annotated[str, Field(min_length=1)] = Field(examples=["openai/gpt-4o-mini"])
    """The name in LiteLLM's notation, `provider/model`."""

    api_base: Annotated[str, AfterValidator(_base_url)] | None = Field(
        default=None, validation_alias=AliasChoices("api_base", "base_url"), examples=["https://llm.example.com/v1"]
    )
    """The base URL of the upstream, also spelt `base_url`; by default the provider's own."""

    api_key: Annotated[SecretStr, Sendable] | None = Field(default=None, examples=["${OPENAI_API_KEY}"])
    """The gateway's own key at the provider; by default what litellm finds in the environment."""

    ssl_verify: SslVerify = Field(default=None, examples=["/etc/ssl/company-ca.pem"])
    """Whether the upstream's certificate is judged, or a file of certificates that judges it; by default as
    `SSL_VERIFY`, `SSL_CERT_FILE` and `REQUESTS_CA_BUNDLE` in the environment say."""

    ssl_certificate: Annotated[str, Field(min_length=1)] | None = Field(default=None, examples=["/etc/ssl/client.pem"])
    """The file of a certificate of the gateway's, with its key, for an upstream that asks for one; by default as
    `SSL_CERTIFICATE` in the environment says."""

    ssl_key: Annotated[str, Field(min_length=1)] | None = Field(default=None, examples=["/etc/ssl/client.key"])
    """The file of the key of `ssl_certificate`, if that is not in the same file."""

    max_retries: Annotated[Whole, Field(ge=0)] | None = Field(default=None, examples=[0])
    """How often the provider's client in litellm tries again."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """All in one: a call for each of many entries takes as long as what it looks at."""
        others = self.model_extra
        if others and "base_url" in others:
            raise refusal("api_base and base_url are the same; give one of them")
        if self.ssl_key is not None and self.ssl_certificate is None:
            raise refusal("is the key of a certificate: write ssl_certificate too", "ssl_key")
        if others:
            _require_sendable(others)
        return self

    @model_validator(mode="before")
    @classmethod
    def _whole_secrets(cls, value: Any) -> Any:
        """Without the final newlines of what providers take as a credential, an address or a header."""
        if not isinstance(value, Mapping):
            return value
        return {key: _whole(item) if is_secret(str(key)) else item for key, item in value.items()}

    def parameters(self) -> Mapping[str, Any]:
        """What is sent, or sets litellm up; without the prices LiteLLM also reads here, which never go upstream."""
        if not self.model_extra and self.max_retries is None and self.ssl_verify is None:
            return NO_PARAMETERS
        kept = {key: value for key, value in self.others.items() if not is_price(key) and _is_used(key)}
        if DROPPED in kept:
            from crplugins.handlers.dropped_parameters import dropped_names  # not needed by most

            kept[DROPPED] = dropped_names(kept[DROPPED])
        kept |= {word: header_texts(kept[word]) for word in HEADERS if isinstance(kept.get(word), Mapping)}
        own = {"max_retries": self.max_retries, "ssl_verify": self.ssl_verify}  # litellm hands them to some SDKs
        return MappingProxyType({**kept, **{name: value for name, value in own.items() if value is not None}})


def _require_sendable(others: Mapping[str, Any]) -> None:
    """LiteLLM makes a deployment for each of a list of organizations, and so does the reader of a file."""
    if isinstance(others.get("organization"), list | tuple):
        raise refusal("must be one organization; write an entry for each", "organization")
    for name, value in headers_in(others).items():
        if _HEADER_NAME.fullmatch(name) is None or _CONTROL.search(value) is not None:
            raise refusal("must be a header: a name, and a text without control characters", "extra_headers", name)


def _is_used(key: str) -> bool:
    return is_parameter(key) or is_setting(key)


def is_price(key: str) -> bool:
    """Whether a key is a price, which LiteLLM reads beside the parameters too."""
    return "cost_per_" in key or "token_cost" in key or key == "tiered_pricing"
