"""LitellmClient: the only place that calls litellm's completion, or asks a provider as litellm would.

What it needs to know of a model is looked up once: its provider, which parameters litellm translates for it, and which
requests for it can be made without `acompletion`, see `rehearsal`.

Models of Ollama are entered in litellm's list of models first. For a model that is not listed, litellm asks Ollama's
`/api/show` with a blocking client, on the event loop and twice in every request, at OLLAMA_API_BASE and not at the
deployment's own address. For a listed model it does not.
"""

import asyncio
import os
from collections.abc import Awaitable, Container, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

from crplugins.core.bounded_map import BoundedMap
from crplugins.core.network import Network
from crplugins.handlers.deadlines import CONNECT_TIMEOUT, Overdue
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.litellm.asking import ConfiguredCalls
from crplugins.handlers.litellm.configs import ConfiguredModel
from crplugins.handlers.litellm.gemini import GOOGLES_PROVIDERS, keep_equal_calls
from crplugins.handlers.litellm.loading import import_late_parts, load_tokenizers, quiet
from crplugins.handlers.litellm.plain import PlainAnswer
from crplugins.handlers.litellm.providers import CONFIGURED
from crplugins.handlers.litellm.rehearsal import HARMLESS, Rehearsed, rehearse
from crplugins.handlers.litellm.request import ArgumentMap, Arguments
from crplugins.handlers.litellm.sign_in import sign_in_model
from crplugins.handlers.litellm.stream import RawStream
from crplugins.handlers.litellm.unchanged import are_texts
from crplugins.handlers.upstream import UpstreamUnknown

# Providers with OpenAI's wire format that litellm does not list among those compatible with OpenAI.
_OPENAI_WIRE: Final = frozenset({
    "aiohttp_openai", "amazon_nova", "azure", "charity_engine", "compactifai", "custom_openai", "databricks",
    "datarobot", "gradient_ai", "heroku", "hosted_vllm", "huggingface", "maritalk", "mistral", "nadir", "neosantara",
    "openai", "openai_like", "openrouter", "ovhcloud", "sagemaker_chat", "scaleway", "snowflake", "xiaomi_mimo",
})  # fmt: skip

# For providers to which litellm would send a field named `extra_body`: the provider's own parameters, by name.
_ANTHROPIC: Final = frozenset({
    "cache_control", "container", "context_management", "inference_geo", "mcp_servers", "output_config", "thinking",
    "top_k",
})  # fmt: skip

_EXTRAS: Final[Mapping[str, frozenset[str]]] = {
    "anthropic": _ANTHROPIC,
    "bedrock": frozenset({"output_config", "thinking", "top_k"}),
    "bedrock_converse": frozenset({"output_config", "thinking", "top_k"}),
    "sagemaker": frozenset(),
}


_MARGIN: Final = 30.0
"""Seconds that litellm waits longer than the handler, whose deadlines hold. Without a time it has one of its own."""

OLLAMA_PROVIDERS: Final = frozenset({"ollama", "ollama_chat"})
_OLLAMAS_PARTS: Final = frozenset({"text", "image_url", "file", "thinking", "redacted_thinking"})
"""Of a message with others litellm sends the rest alone, or counts its tokens in vain once the answer is there."""

_REST: Final = 9
"""Times as long as a rehearsal took, the client rehearses no other model. Behind a wildcard, where a provider answers
to any name, clients could else have each of their requests followed by one, which costs as much as fifty."""

_OLLAMA_BASE: Final = "http://localhost:11434"
_OLLAMA_TIMEOUT: Final = 5.0


@dataclass(slots=True)
class Known:
    """What is known of a model. `configured` with `rehearsed`: how, and when, it is asked without `acompletion`.

    `rehearsing` is None until its provider has answered for it.
    """

    map: ArgumentMap
    configured: ConfiguredModel | None = None
    rehearsed: Rehearsed | None = None
    rehearsing: asyncio.Task[None] | None = None


class LitellmClient:
    """Calls one deployment's models.

    Raises whatever litellm raises; `UpstreamUnknown` for a model whose provider litellm does not know.

    Args:
        calls: sends the requests that need no `acompletion`; None to send all of them through it.
        candidates: the providers of which a model may be asked without it.
    """

    def __init__(
        self,
        litellm: ModuleType,
        deployment: Deployment,
        network: Network,
        calls: ConfiguredCalls | None = None,
        candidates: Container[str] = CONFIGURED,
    ) -> None:
        import httpx  # a part of litellm's import, which has happened by now

        self._litellm: Any = litellm
        self._deployment, self._network = deployment, network
        self._timeout = httpx.Timeout(deployment.deadlines.longest + _MARGIN, connect=CONNECT_TIMEOUT)
        self._anywhere = {
            "api_base": deployment.api_base,
            "api_key": deployment.api_key,
            "timeout": self._timeout,
            "max_retries": 0,  # the client retries, and knows how long it can wait
            "no-log": True,
        }
        # Else a client's `tools` can make the gateway call MCP servers.
        self._always = {**self._anywhere, "_skip_mcp_handler": True}
        self._mocked = "mock_response" in deployment.parameters
        self._calls, self._candidates = calls, candidates
        self._closing = False
        self._rehearses = False
        self._rests_until = 0.0
        self._models: Final[BoundedMap[str, Known]] = BoundedMap(256)  # a wildcard deployment has many models

    async def arguments_for(self, model: str) -> ArgumentMap:
        """Makes the arguments of `complete` of requests for `model`."""
        known = self._models.get(model)
        if known is None:  # a model of a wildcard; litellm may have to import modules for its provider
            known = await asyncio.to_thread(self.learn, model)
        return known.map

    def learn(self, model: str) -> Known:
        """How to call `model`, looked up once. Blocks: litellm imports its modules for the provider."""
        known = self._models.get(model)
        if known is None:
            self._list_ollama(model)
            with quiet():
                known = self._models[model] = self._known(model)
        return known

    def _list_ollama(self, model: str) -> None:
        provider, _, name = model.partition("/")
        if provider in OLLAMA_PROVIDERS:
            list_ollama_model(self._litellm, name, self._deployment.api_base, self._network)

    async def complete(
        self, model: str, messages: list[Any], arguments: Arguments, answer: PlainAnswer | None, seconds: float
    ) -> Any:
        """A `ModelResponse` for the plain `answer`, or the bytes that a client is told where litellm need not read it;
        without one a `RawItems` of which nothing has been read. Raises `Overdue` after so many `seconds`."""
        known = self._models.get(model)
        if known is None or known.configured is None or self._litellm.callbacks:
            return await self._answered(model, messages, arguments, answer, seconds)
        texts = are_texts(messages)
        if known.rehearsed is not None and known.rehearsed.allows(messages, arguments, texts=texts):
            assert self._calls is not None
            request = known.configured.request(messages, arguments, stream=answer is None, texts=texts)
            if answer is None:
                return await self._calls.stream(known.configured, request, seconds)
            return await self._calls.plain(known.configured, request, messages, answer, seconds)
        answered = await self._answered(model, messages, arguments, answer, seconds)
        if known.rehearsing is None and self._may_rehearse():  # it has answered: the name is not made up, for most
            self._rehearses = True
            known.rehearsing = asyncio.create_task(self._rehearse(model, known))
        return answered

    def _may_rehearse(self) -> bool:
        """Now; else it is for one of the next requests for the model."""
        return not self._rehearses and asyncio.get_running_loop().time() >= self._rests_until

    async def embed(self, model: str, arguments: Arguments, answer: PlainAnswer, seconds: float) -> Any:
        """An `EmbeddingResponse`. Raises `Overdue` after so many `seconds`."""
        with answer.reading():
            return await _within(seconds, self._litellm.aembedding(**{**arguments, **self._anywhere, "model": model}))

    async def _answered(
        self, model: str, messages: list[Any], arguments: Arguments, answer: PlainAnswer | None, seconds: float
    ) -> Any:
        """By `acompletion`."""
        if answer is None:
            wrapper = await _within(seconds, self._acompletion(model, messages, arguments, stream=True))
            return RawStream(wrapper, ends_silently=self._mocked)
        with answer.reading():
            return await _within(seconds, self._acompletion(model, messages, arguments, stream=False))

    async def rehearsed(self, model: str) -> Rehearsed | None:
        """What requests for a model that has been learnt take the fast path, from now on; None if there are none."""
        known = self._models.get(model)
        if known is None or known.configured is None:
            return None
        known.rehearsing = known.rehearsing or asyncio.create_task(self._rehearse(model, known))
        await known.rehearsing
        return known.rehearsed

    async def close(self) -> None:
        """Ends the rehearsals that go on, after the step that they are in: litellm must not be cancelled within one."""
        self._closing = True
        await asyncio.gather(*(known.rehearsing for known in self._models.values() if known.rehearsing is not None))

    async def _rehearse(self, model: str, known: Known) -> None:
        """A third of a second of CPU, in steps that are no longer than a request of litellm's."""
        assert known.configured is not None

        async def ask(messages: list[Any], arguments: Arguments, stream: bool) -> Any:  # noqa: FBT001
            await asyncio.sleep(0)  # requests go on between two steps
            if self._closing:
                raise asyncio.CancelledError
            return await self._acompletion(model, messages, arguments, stream=stream)

        clock = asyncio.get_running_loop().time
        began = clock()
        with suppress(Exception, asyncio.CancelledError):  # whatever a release does: its requests take the slow path
            known.rehearsed = await rehearse(known.configured, known.map.arguments, known.map.takes, ask)
        self._rehearses, now = False, clock()
        self._rests_until = now + _REST * (now - began)

    async def _acompletion(self, model: str, messages: list[Any], arguments: Arguments, *, stream: bool) -> Any:
        return await self._litellm.acompletion(
            **{**arguments, **self._always, "model": model, "messages": messages, "stream": stream}
        )

    def _known(self, model: str) -> Known:
        name, provider = self._name_and_provider(model)
        known = self._argument_map(model, name, provider)
        if (
            self._calls is None
            or provider not in self._candidates
            or not HARMLESS.issuperset(self._deployment.parameters)
        ):
            return Known(known)
        try:
            configured = ConfiguredModel(self._litellm, self._deployment, name, provider)
        except Exception:  # NotConfigured, or a release with another idea of it
            return Known(known)
        return Known(known, configured)

    def _argument_map(self, model: str, name: str, provider: str) -> ArgumentMap:
        litellm = self._litellm
        import_late_parts(provider)
        if provider in GOOGLES_PROVIDERS:
            keep_equal_calls()
        load_tokenizers(litellm, model, name)
        return ArgumentMap(
            self._deployment.parameters,
            supported=litellm.get_supported_openai_params(model=name, custom_llm_provider=provider) or (),
            speaks_openai=_speaks_openai(litellm, provider),
            extras=_ANTHROPIC if provider == "vertex_ai" and "claude" in name else _EXTRAS.get(provider),
            owned=litellm.types.utils.all_litellm_params,
            wants_thinking_back=_wants_thinking_back(litellm, name, provider),
            parts=_OLLAMAS_PARTS if provider in OLLAMA_PROVIDERS else None,
            allows_tools=_allows_tools(provider),
        )

    def _name_and_provider(self, model: str) -> tuple[str, str]:
        said = self._deployment.parameters.get("custom_llm_provider")
        if signed := sign_in_model(model, said):
            return signed
        try:
            name, provider, _, _ = self._litellm.get_llm_provider(
                model,
                custom_llm_provider=said,
                api_base=self._deployment.api_base,
            )
        except Exception as error:
            problem = f"model '{self._deployment.name}': litellm knows no provider for '{model}'"
            raise UpstreamUnknown(problem) from error
        return str(name), str(provider)


async def _within(seconds: float, asking: Awaitable[Any]) -> Any:
    """What litellm returns. Whatever it makes of being cancelled, a deadline that has passed is `Overdue`."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await asking
    except Exception:
        if limit.expired():
            raise Overdue from None
        raise


def _speaks_openai(litellm: Any, provider: str) -> bool:
    """Whether the provider has OpenAI's wire format. Custom handlers for litellm count too: they take anything."""
    registered = {entry["provider"] for entry in litellm.custom_provider_map}
    return provider in _OPENAI_WIRE | registered or provider in litellm.openai_compatible_providers


def _allows_tools(provider: str) -> bool:
    """Whether litellm sends the provider a list of allowed tools. Releases before 1.110 send it to none."""
    try:
        from litellm.litellm_core_utils import allowed_tools_tool_choice
    except ImportError:
        return False
    return provider in allowed_tools_tool_choice.ALLOWED_TOOLS_TOOL_CHOICE_PROVIDERS


def _wants_thinking_back(litellm: Any, name: str, provider: str) -> bool:
    """Claude before its adaptive thinking, wherever it is served."""
    if provider != "anthropic" and "claude" not in name:
        return False
    adapts = getattr(litellm.llms.anthropic.common_utils.AnthropicModelInfo, "is_adaptive_thinking_model", None)
    return not (adapts is not None and adapts(name, provider))


def list_ollama_model(litellm: Any, model: str, api_base: str | None, network: Network) -> None:
    """Enters `model` in litellm's list as its server describes it, unless the server is unavailable. Blocks."""
    key = f"ollama/{model}"
    base = api_base or os.environ.get("OLLAMA_API_BASE") or _OLLAMA_BASE
    if key not in litellm.model_cost:
        with suppress(Exception):
            litellm.model_cost[key] = _list_entry(_description(base, model, network))


def _description(base: str, model: str, network: Network) -> Mapping[str, Any]:
    import httpx  # a part of litellm's import, which has happened by now

    url = f"{base.rstrip('/')}/api/show"
    answer = httpx.post(
        url,
        json={"name": model},
        timeout=_OLLAMA_TIMEOUT,
        proxy=network.proxy(url),
        verify=network.tls,
        trust_env=False,
    )
    description: dict[str, Any] = answer.raise_for_status().json()
    return description


def _list_entry(description: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of litellm's list. As in litellm, a model supports functions if its template mentions tools."""
    lengths = (value for name, value in (description.get("model_info") or {}).items() if "context_length" in name)
    context = next(lengths, None)
    return {
        "litellm_provider": "ollama",
        "mode": "chat",
        "input_cost_per_token": 0.0,
        "output_cost_per_token": 0.0,
        "max_tokens": context,
        "max_input_tokens": context,
        "max_output_tokens": context,
        "supports_function_calling": "tools" in str(description.get("template") or "").lower(),
    }
