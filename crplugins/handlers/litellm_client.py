"""LitellmClient: the only place that calls litellm.

What it needs of a model is looked up once: which provider it is, which parameters litellm translates for it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Final

from crplugins.core.body import Body
from crplugins.handlers import litellm_ollama
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.litellm_loader import quiet
from crplugins.handlers.litellm_raw import RawStream
from crplugins.handlers.litellm_request import ArgumentMap, Arguments
from crplugins.handlers.litellm_warmup import import_late_parts, load_tokenizers
from crplugins.handlers.upstream import UpstreamUnknown

_REMEMBERED: Final = 256  # a wildcard deployment has many models

# Providers of OpenAI's wire that litellm does not list among those compatible with OpenAI.
_OPENAI_WIRE: Final = frozenset({
    "aiohttp_openai", "amazon_nova", "azure", "charity_engine", "compactifai", "custom_openai", "databricks",
    "datarobot", "gradient_ai", "heroku", "hosted_vllm", "huggingface", "maritalk", "mistral", "nadir", "neosantara",
    "openai", "openai_like", "openrouter", "ovhcloud", "sagemaker_chat", "scaleway", "snowflake", "xiaomi_mimo",
})  # fmt: skip

# Where litellm would send `extra_body` as a field of that name: parameters known to be the provider's own, by name.
_ANTHROPIC: Final = frozenset({
    "cache_control", "container", "context_management", "inference_geo", "mcp_servers", "output_config", "thinking",
    "top_k",
})  # fmt: skip
_EXTRAS: Final[Mapping[str, frozenset[str]]] = {
    "anthropic": _ANTHROPIC,
    "bedrock": frozenset({"thinking", "top_k"}),
    "bedrock_converse": frozenset({"thinking", "top_k"}),
    "sagemaker": frozenset(),
}


class LitellmClient:
    """Calls one deployment's models.

    Raises whatever litellm raises; `UpstreamUnknown` for a model whose provider litellm does not know.
    """

    def __init__(self, litellm: ModuleType, deployment: Deployment) -> None:
        import httpx  # a part of litellm's import, which has happened by now

        self._litellm: Any = litellm
        self._deployment = deployment
        self._timeout = httpx.Timeout(deployment.timeout, connect=deployment.connect_timeout)
        self._always = {
            "api_base": deployment.api_base,
            "api_key": deployment.api_key,
            "timeout": self._timeout,
            "max_retries": 0,  # the client retries, and knows how long it can wait
            "no-log": True,
            "_skip_mcp_handler": True,  # else a client's `tools` can make the gateway call MCP servers
        }
        self._mocked = "mock_response" in deployment.parameters
        self._maps: dict[str, ArgumentMap] = {}

    async def arguments(self, model: str, body: Body) -> Arguments:
        """The client's parameters for `complete`. Raises `GatewayError` 400."""
        known = self._maps.get(model)
        if known is None:  # one of a wildcard's; its provider may be new to litellm, which then imports modules
            known = await asyncio.to_thread(self.learn, model)
        return known.arguments(body)

    def learn(self, model: str) -> ArgumentMap:
        """What is to be known of `model`, looked up once. Blocks: litellm imports what it has for its provider."""
        known = self._maps.get(model)
        if known is None:
            self._list(model)
            with quiet():
                known = self._argument_map(model)
                if len(self._maps) >= _REMEMBERED:
                    del self._maps[next(iter(self._maps))]
                self._maps[model] = known
        return known

    def _list(self, model: str) -> None:
        provider, _, name = model.partition("/")
        if provider in litellm_ollama.PROVIDERS:
            litellm_ollama.list_ollama_model(self._litellm, name, self._deployment.api_base)

    async def complete(
        self, model: str, messages: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any], *, stream: bool
    ) -> Any:
        """A `ModelResponse`, or a `RawStream` whose first item has not been read."""
        answer = await self._litellm.acompletion(
            **{**arguments, **self._always, "model": model, "messages": messages, "stream": stream}
        )
        return RawStream(answer, ends_silently=self._mocked) if stream else answer

    def _argument_map(self, model: str) -> ArgumentMap:
        litellm = self._litellm
        name, provider = self._place(model)
        import_late_parts(provider)
        load_tokenizers(litellm, model, name)
        return ArgumentMap(
            self._deployment.parameters,
            supported=litellm.get_supported_openai_params(model=name, custom_llm_provider=provider) or (),
            speaks_openai=_speaks_openai(litellm, provider),
            extras=_ANTHROPIC if provider == "vertex_ai" and "claude" in name else _EXTRAS.get(provider),
            owned=litellm.types.utils.all_litellm_params,
        )

    def _place(self, model: str) -> tuple[str, str]:
        try:
            name, provider, _, _ = self._litellm.get_llm_provider(
                model,
                custom_llm_provider=self._deployment.parameters.get("custom_llm_provider"),
                api_base=self._deployment.api_base,
            )
        except Exception as error:
            known = f"model '{self._deployment.name}': litellm knows no provider for '{model}'"
            raise UpstreamUnknown(known) from error
        return str(name), str(provider)


def _speaks_openai(litellm: Any, provider: str) -> bool:
    """Providers of OpenAI's wire, and handlers written for litellm in Python, which take what they like."""
    registered = {entry["provider"] for entry in litellm.custom_provider_map}
    return provider in _OPENAI_WIRE | registered or provider in litellm.openai_compatible_providers
