"""Upstream: the provider and the address of a deployment. Resolved once, at start-up.

OpenAI itself, vLLM and every `openai/` model with an `api_base` are resolved here. For the other providers litellm's
tables decide, which costs its import (2.5 s, 170 MB); hence `resolve` runs in a thread and never on a request. Where it
is certain that litellm will decide, and fail nobody, it may do so when the gateway listens already: `can_wait`.
"""

import dataclasses
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from crplugins.core.final_newline import without_final_newline
from crplugins.core.network import Networks, has_host
from crplugins.handlers.demo_models import is_demo
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.litellm.providers import PROVIDERS
from crplugins.handlers.litellm.sign_in import SIGN_IN_PROVIDERS, sign_in_model, why_not_signed_in
from crplugins.metering.listed_prices import installed_prices
from crplugins.metering.price_table import PriceTable

LONGEST_NAME: Final = 200
"""So much of a model's name is looked at by patterns."""

HandlerKind = Literal["auto", "direct", "litellm"]

_OPENAI_BASE: Final = "https://api.openai.com/v1"
# Whose models litellm knows by their bare names, each of those in its list.
_WELL_KNOWN: Final = frozenset({"openai", "anthropic"})

ANTHROPIC: Final = "anthropic"
"""The provider whose upstreams speak Messages: Anthropic itself, and with an `api_base` any server that does."""

ANTHROPIC_HOST: Final = "api.anthropic.com"
_ANTHROPIC_PATH: Final = "/messages"

_SELF_HOSTED: Final = frozenset({"openai", "custom_openai", "openai_like", "hosted_vllm"})

RESPONSES_MARK: Final = "responses/"
"""What stands in LiteLLM before the name of a model that is asked in Responses."""

_RESPONSES_MODELS: Final = re.compile(
    r"^(?:o\d|gpt-[\d.]+)-pro(?:-[\d-]+)?$|^gpt-[\d.]+-codex(?:-\w+)?$|-deep-research(?:-[\d-]+)?$|^gpt-daybreak-"
)
"""OpenAI's own models that it serves in Responses and not in chat completions."""

_OPENAIS_HOSTS: Final = (".api.openai.com", ".openai.azure.com")

# In litellm's list of OpenAI-compatible providers, but with sign-in flows or routes of their own.
_NOT_PLAIN: Final = frozenset({"azure_ai", "clarifai", "ragflow"}) | SIGN_IN_PROVIDERS

# `litellm_params` that only litellm understands: with one of them, `auto` cannot mean the direct handler.
_LITELLM_ONLY: Final = frozenset({"api_version", "azure_ad_token", "custom_llm_provider", "mock_response"})


GATEWAY_EXTRA: Final = "pip install 'crplugins[gateway]'"


class UpstreamUnknown(ValueError):
    """A deployment that no handler can serve, or reach. The message names the model and what is missing."""


class ProviderUnknown(UpstreamUnknown):
    """A deployment whose provider litellm does not know, such as a model for pictures."""


class LitellmMissing(ProviderUnknown):
    """A deployment that litellm would serve, where it is not installed. Its requests are refused; others are served.

    Attributes:
        advice: what is missing, and the command that brings it, for clients too.
    """

    def __init__(self, deployment: Deployment) -> None:
        self.advice = f"needs litellm, which is not installed: {GATEWAY_EXTRA}"
        openai = "one that speaks OpenAI's wire needs none as openai/MODEL with its api_base"
        super().__init__(f"model '{deployment.name}': '{deployment.model}' {self.advice}; {openai}")


def is_left_out(error: UpstreamUnknown, *, in_litellms_file: bool) -> bool:
    """Whether the other deployments are served without this one. A mistake in a file of ours stops everything; in a
    file of LiteLLM's alone nothing stops more than the entry in which it stands, as in LiteLLM."""
    return in_litellms_file or isinstance(error, ProviderUnknown)


class Upstream(msgspec.Struct, frozen=True):
    """An endpoint that is asked in its own wire: OpenAI's, or that of Anthropic's Messages.

    `base_url` stands before the path of a dialect, without a slash at its end; `model` is what the upstream calls it.
    """

    provider: str
    model: str
    base_url: str
    api_key: str | None = None

    def __repr__(self) -> str:
        """Without its credential."""
        return f"Upstream(provider={self.provider!r}, model={self.model!r}, base_url={self.base_url!r})"


def resolve(
    deployment: Deployment,
    kind: HandlerKind,
    environ: Mapping[str, str] = os.environ,
    networks: Networks | None = None,
) -> Upstream | None:
    """The OpenAI-compatible endpoint of a deployment, or None if litellm must translate, or it is the demo model.

    `networks` are those of all deployments that are resolved together.

    Raises `UpstreamUnknown` for `handler: direct` without a known base URL, and `ProviderUnknown` for a model whose
    provider litellm does not know, or `LitellmMissing` for one that it alone may know.
    """
    _check_network(deployment, networks or Networks(environ))
    if is_demo(deployment):
        return None
    translated = _must_translate(deployment, kind)
    provider, _, model = deployment.model.partition("/")
    if _translates_chats(deployment, kind, environ):
        return None
    if provider in _SELF_HOSTED and model and not translated:
        return _self_hosted(deployment, provider, model, environ)
    if provider == ANTHROPIC and model and kind == "direct":
        return _anthropic(deployment, model, environ)
    if not litellm_is_installed():
        if kind == "direct" and deployment.api_base and model:
            return Upstream(provider, model, deployment.api_base.rstrip("/"), deployment.api_key)
        raise LitellmMissing(deployment)
    if not translated:
        return _from_litellm(deployment, kind, environ)
    if not _is_certain(deployment) and "*" not in deployment.model:  # whose models a request names
        _ask_litellm(deployment, environ)
    return None


def native_upstream(
    deployment: Deployment, kind: HandlerKind, environ: Mapping[str, str] = os.environ
) -> Upstream | None:
    """Where a deployment that litellm translates for is asked in Messages or Responses, which its provider speaks.

    None where it does not, and with `handler: litellm`. Raises `UpstreamUnknown`.
    """
    if _translates_chats(deployment, kind, environ):
        return _in_responses_alone(deployment, environ)
    provider, _, model = deployment.model.partition("/")
    speaks = provider == ANTHROPIC and bool(model) and kind == "auto" and not _must_translate(deployment, kind)
    return _anthropic(deployment, model, environ) if speaks else None


def can_wait(
    deployment: Deployment,
    kind: HandlerKind,
    environ: Mapping[str, str] = os.environ,
    networks: Networks | None = None,
) -> bool:
    """Whether litellm has to be imported for this deployment, and may be when the gateway listens already.

    It may where litellm is installed and knows the provider, so that no mistake in the configuration is found late.
    Raises `UpstreamUnknown`.
    """
    _check_network(deployment, networks or Networks(environ))
    provider, _, model = deployment.model.partition("/")
    if is_demo(deployment):
        return False
    if _translates_chats(deployment, kind, environ):
        return True
    if provider in _SELF_HOSTED and model and not _must_translate(deployment, kind):
        return False
    if kind == "direct" and (provider == ANTHROPIC or not deployment.api_base):
        return False
    if not litellm_is_installed():
        return False
    return _is_certain(deployment)


def _is_certain(deployment: Deployment) -> bool:
    """Whether litellm knows the provider, found out without its import. Blocks: a list of prices is read."""
    if "custom_llm_provider" in deployment.parameters:
        return False
    provider, _, model = deployment.model.partition("/")
    return provider in PROVIDERS if model else _is_well_known(deployment.model)


def _is_well_known(name: str) -> bool:
    """Whether litellm is certain to know the provider of a name without one, such as `gpt-4o`. Blocks: see there."""
    listed = installed_prices()
    return isinstance(listed, PriceTable) and ":" not in name and listed.provider(name) in _WELL_KNOWN


def litellm_is_installed() -> bool:
    """It is not with the extra `slim`. Imports nothing."""
    global _litellm_is_found  # each of many models asks; what is missing may be there at the next reload
    _litellm_is_found = _litellm_is_found or find_spec("litellm") is not None
    return _litellm_is_found


_litellm_is_found = False


def _check_network(deployment: Deployment, networks: Networks) -> None:
    try:
        network = networks.network(deployment.ssl_verify, deployment.certificate)
        network.ready(deployment.api_base or "https:")
    except ValueError as error:
        raise UpstreamUnknown(f"model '{deployment.name}': {error}") from None


def _must_translate(deployment: Deployment, kind: HandlerKind) -> bool:
    return kind == "litellm" or (kind == "auto" and not _LITELLM_ONLY.isdisjoint(deployment.parameters))


def in_responses(deployment: Deployment) -> Deployment:
    """The same deployment under the name by which litellm asks its model in Responses, whatever a client speaks."""
    model = _model_of(deployment).removeprefix(RESPONSES_MARK)
    return dataclasses.replace(deployment, model=f"{deployment.provider}/{RESPONSES_MARK}{model}")


def is_openai(upstream: Upstream) -> bool:
    """OpenAI itself, or Azure."""
    return _is_openais(upstream.base_url)


@lru_cache(1024)
def _is_openais(base_url: str) -> bool:
    host = urlsplit(base_url).hostname or ""
    return f".{host}".endswith(_OPENAIS_HOSTS)


def _translates_chats(deployment: Deployment, kind: HandlerKind, environ: Mapping[str, str]) -> bool:
    """Whether litellm has to write chat completions as Responses, as the model is served in nothing else."""
    return (
        kind == "auto"
        and not _must_translate(deployment, kind)
        and _in_responses_alone(deployment, environ) is not None
        and litellm_is_installed()
    )


def _in_responses_alone(deployment: Deployment, environ: Mapping[str, str]) -> Upstream | None:
    """Where a model is that its provider serves in Responses and not in chat completions; None for any other.

    LiteLLM's mark in its name says so, or `mode: responses`, or the name of one that OpenAI itself serves.
    """
    model = _model_of(deployment)
    if deployment.provider not in _SELF_HOSTED:
        return None
    is_said = model.startswith(RESPONSES_MARK) or deployment.only_responses
    if not is_said and (deployment.protocols is not None or not is_responses_alone(model)):
        return None
    upstream = _self_hosted(deployment, deployment.provider, model, environ)
    return upstream if is_said or is_openai(upstream) else None


def is_responses_alone(model: str) -> bool:
    """Whether OpenAI serves its model of this name in Responses and not in chat completions."""
    return _RESPONSES_MODELS.search(model[:LONGEST_NAME]) is not None


def may_be_responses_alone(deployment: Deployment, upstream: Upstream, kind: HandlerKind) -> bool:
    """Whether it is for each request to say, as it names the model of OpenAI's, and litellm is there to translate."""
    is_any = kind == "auto" and "*" in deployment.model and deployment.protocols is None
    return is_any and is_openai(upstream) and litellm_is_installed()


def _model_of(deployment: Deployment) -> str:
    """The name without its provider; one that has none is OpenAI's."""
    return deployment.model.removeprefix(deployment.provider + "/")


def _anthropic(deployment: Deployment, model: str, environ: Mapping[str, str]) -> Upstream:
    """With LiteLLM's spellings of an address: with or without `/v1`, and with `/v1/messages`."""
    base = deployment.api_base or _first(environ, "ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL")
    base = (base or f"https://{ANTHROPIC_HOST}").rstrip("/").removesuffix(_ANTHROPIC_PATH)
    if not has_host(base):
        raise UpstreamUnknown(f"model '{deployment.name}': the address in the environment is no URL with a host")
    key = deployment.api_key or _first(environ, "ANTHROPIC_API_KEY")
    return Upstream(ANTHROPIC, model, base if base.endswith("/v1") else base + "/v1", key or None)


def _first(environ: Mapping[str, str], *names: str) -> str:
    """The first of the variables that is set."""
    values = [without_final_newline(environ.get(name, "")) for name in names]
    return next(filter(None, values), "")


def _self_hosted(deployment: Deployment, provider: str, model: str, environ: Mapping[str, str]) -> Upstream:
    def variable(name: str) -> str:
        return without_final_newline(environ.get(name, ""))

    base = deployment.api_base
    key = deployment.api_key
    if provider == "openai":
        base = base or variable("OPENAI_BASE_URL") or variable("OPENAI_API_BASE") or _OPENAI_BASE
        key = key or variable("OPENAI_API_KEY") or None
    if provider == "hosted_vllm":
        base = base or variable("HOSTED_VLLM_API_BASE")
        key = key or variable("HOSTED_VLLM_API_KEY") or None
    if not base:
        raise UpstreamUnknown(f"model '{deployment.name}': '{deployment.model}' needs an api_base")
    if not (deployment.api_base or has_host(base)):  # that of the environment, which the configuration has not read
        raise UpstreamUnknown(f"model '{deployment.name}': the address in the environment is no URL with a host")
    return Upstream(provider, model.removeprefix(RESPONSES_MARK), base.rstrip("/"), key)


def _from_litellm(deployment: Deployment, kind: HandlerKind, environ: Mapping[str, str]) -> Upstream | None:
    model, provider, key, base = _ask_litellm(deployment, environ)
    base = base or deployment.api_base or (_OPENAI_BASE if provider == "openai" else None)
    if kind == "direct" and not base:
        raise UpstreamUnknown(f"model '{deployment.name}': handler 'direct' needs an api_base for '{provider}'")
    if base and (kind == "direct" or _is_plain(provider)):
        return Upstream(provider, model, base.rstrip("/"), deployment.api_key or key)
    return None


def _ask_litellm(deployment: Deployment, environ: Mapping[str, str]) -> tuple[str, str, str | None, str | None]:
    """The model, provider, key and address of a deployment. Raises `ProviderUnknown`. Imports litellm."""
    if signed := sign_in_model(deployment.model, deployment.parameters.get("custom_llm_provider")):
        if (why := why_not_signed_in(signed[1], environ)) is not None:
            raise ProviderUnknown(f"model '{deployment.name}': {why}")
        return *signed, None, None
    from crplugins.handlers.litellm.loading import load_litellm, quiet

    litellm = load_litellm()
    try:
        with quiet():  # for some providers it imports more of itself
            model, provider, key, base = litellm.get_llm_provider(
                deployment.model,
                custom_llm_provider=deployment.parameters.get("custom_llm_provider"),
                api_base=deployment.api_base,
                api_key=deployment.api_key,
            )
    except Exception as error:
        raise ProviderUnknown(
            f"model '{deployment.name}': litellm knows no provider for '{deployment.model}'"
        ) from error
    return model, provider, key, base


def _is_plain(provider: str) -> bool:
    """Whether the provider takes OpenAI's parameters unchanged."""
    from litellm.constants import openai_compatible_providers
    from litellm.llms.openai_like.json_loader import JSONProviderRegistry

    entry = JSONProviderRegistry.get(provider)
    if entry is not None and (entry.param_mappings or entry.special_handling):
        return False
    return provider == "openai" or (provider in openai_compatible_providers and provider not in _NOT_PLAIN)
