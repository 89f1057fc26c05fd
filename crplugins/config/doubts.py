"""What a configuration may say and hardly means. Each is a warning and no mistake, because it can be right."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Final

from crplugins.config.litellm_params import LitellmParams, is_secret
from crplugins.config.models import ModelEntry, ModelInfo
from crplugins.config.schema import Config

_ROUTES: Final = ("/chat/completions", "/completions", "/embeddings", "/responses")

_DEAR: Final = 0.01
"""US dollars for a token. The most expensive models took 0.0006."""

_VARIABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
    "cerebras": ("CEREBRAS_API_KEY",),
    "cohere": ("COHERE_API_KEY", "CO_API_KEY"),
    "cohere_chat": ("COHERE_API_KEY", "CO_API_KEY"),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "groq": ("GROQ_API_KEY",),
    "mistral": ("MISTRAL_API_KEY",),
    "openai": ("OPENAI_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY", "OR_API_KEY"),
    "perplexity": ("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
    "xai": ("XAI_API_KEY",),
}
"""Of providers that take a key and nothing else: where litellm and the direct handler look for it."""

_ENTRA: Final = frozenset({"tenant_id", "client_id", "client_secret"})
"""With these litellm signs in to Microsoft's Entra for an Azure model."""


def doubts(config: Config, environ: Mapping[str, str], places: Sequence[int]) -> Iterator[str]:
    """One sentence each; none shows a value. `places` are those of the models in the file's `model_list`."""
    for index, entry in zip(places, config.model_list, strict=False):  # the demo model has no place
        where = f"model_list[{index}].litellm_params"
        if _is_route(entry):
            yield f"{where}.api_base ends in a route, which is added to it: write it up to the version, such as /v1"
        for name in _dear(entry.model_info):
            price = f"model_list[{index}].model_info.{name}"
            yield f"{price} is above $10,000 for a million tokens: it is what one token costs, in US dollars"
        variables = _missing(entry.litellm_params, environ)
        if variables:
            yield f"{where} has no api_key, and {' or '.join(variables)} is not set in the environment"
        if (packages := _not_installed(entry.litellm_params)) is not None:
            yield f"{where}: litellm signs in to its provider with what `pip install {packages}` brings: it is missing"


def _is_route(entry: ModelEntry) -> bool:
    """Azure's models are given by whole addresses."""
    params = entry.litellm_params
    return not params.model.startswith("azure") and (params.api_base or "").endswith(_ROUTES)


def _dear(info: ModelInfo | None) -> Iterator[str]:
    """The prices that look like those of a million tokens."""
    if info is not None:
        rates = {"input_cost_per_token": info.input_cost_per_token, "output_cost_per_token": info.output_cost_per_token}
        yield from (name for name, rate in rates.items() if rate is not None and rate > _DEAR)


def _missing(params: LitellmParams, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The variables of which one should be set. A server at another address may need no key."""
    provider, slash, _ = params.model.partition("/")
    variables = _VARIABLES.get(provider, ()) if slash else ()
    if params.api_key is not None or params.api_base is not None or any(map(is_secret, params.others)):
        return ()
    return () if any(environ.get(name, "").strip() for name in variables) else variables


def _not_installed(params: LitellmParams) -> str | None:
    """What litellm imports for the provider's sign-in, and does not bring: each request fails without it."""
    provider, slash, _ = params.model.partition("/")
    if slash and provider in ("vertex_ai", "vertex_ai_beta"):
        return None if _is_installed("google.auth") else "google-auth requests"
    if slash and provider == "azure" and params.others.keys() >= _ENTRA:
        return None if _is_installed("azure.identity") else "azure-identity"
    return None


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # what it stands in
        return False
