"""What spans say: the attributes of OpenTelemetry's conventions for generative AI, and our own. Never content."""

from collections.abc import Iterator, Mapping
from typing import Final

from crplugins.core.exchange import Attempt, Exchange
from crplugins.metering.record import UsageRecord

Attribute = str | bool | int | float | list[str]

OPERATION: Final = "chat"

_PROVIDERS: Final[Mapping[str, str]] = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "cohere_chat": "cohere",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
"""The conventions' names of LiteLLM's providers, where they differ."""

_TOKENS: Final[Mapping[str, str]] = {
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cached_input_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cache_write_input_tokens": "gen_ai.usage.cache_creation.input_tokens",  # cache_write, among the metrics
    "reasoning_output_tokens": "gen_ai.usage.reasoning.output_tokens",
}


def of_request(exchange: Exchange) -> dict[str, Attribute]:
    """For the span around the whole request, at its beginning: what a sampler may decide by."""
    return {"http.request.method": exchange.method, "url.path": exchange.path}


def of_end(record: UsageRecord) -> Iterator[tuple[str, Attribute]]:
    """For the same span at its end."""
    yield "http.response.status_code", record.status
    if record.error_type:
        yield "error.type", record.error_type


def of_caller(exchange: Exchange) -> Iterator[tuple[str, Attribute]]:
    """What nobody but the gateway knows when the answer begins, for the span around the request whoever made it."""
    yield "crplugins.request_id", exchange.id
    if exchange.principal is not None:
        yield "crplugins.key_id", exchange.principal.key_id
    if exchange.requested_model is not None:
        yield "crplugins.model", exchange.requested_model


def of_gateway(exchange: Exchange, record: UsageRecord) -> Iterator[tuple[str, Attribute]]:
    """The same at the end, when it is known what the answer cost."""
    yield from of_caller(exchange)
    if record.cost_micro_usd is not None:
        yield "crplugins.cost_usd", record.cost_micro_usd / 1e6


def of_attempt(attempt: Attempt, record: UsageRecord) -> Iterator[tuple[str, Attribute]]:
    """For the call of a provider, before its answer."""
    yield "gen_ai.operation.name", OPERATION
    yield "gen_ai.provider.name", _PROVIDERS.get(attempt.provider, attempt.provider)
    yield "gen_ai.request.model", model_of(record)
    yield "gen_ai.request.stream", record.stream
    if attempt.error_type:
        yield "error.type", attempt.error_type


def model_of(record: UsageRecord) -> str:
    """As the provider calls it; clients have names of their own for it."""
    return record.served_model or record.requested_model or "unknown"


def of_answer(exchange: Exchange, attempt: Attempt, record: UsageRecord) -> Iterator[tuple[str, Attribute]]:
    """For the call of the provider that answered."""
    if record.served_model is not None:
        yield "gen_ai.response.model", record.served_model
    if record.finish_reason is not None:
        yield "gen_ai.response.finish_reasons", [record.finish_reason]
    if record.stream and exchange.timings.first_token is not None:
        yield "gen_ai.response.time_to_first_chunk", exchange.timings.first_token - attempt.started
    if record.usage_source == "provider":  # what nobody reported is left out rather than guessed
        for field, name in _TOKENS.items():
            yield name, getattr(record.usage, field)
