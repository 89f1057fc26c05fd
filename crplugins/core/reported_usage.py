"""The usage that a provider reports, under each of the names that providers use, and what it makes in ours.

Field types are as lax as providers are (null where OpenAI has an object, floats beside counts), because a stricter
reader would lose the usage of a whole stream over one odd key.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from crplugins.core.lenient_json import struct_of_what_fits
from crplugins.core.usage import TokenUsage, sane_cost, sane_usage


class CachedDetails(msgspec.Struct):
    """Which of the cached tokens are audio."""

    audio_tokens: int | None = None


class WrittenDetails(msgspec.Struct):
    """For how long written tokens are kept. Anthropic has these beside the usage, OpenAI in its details."""

    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None
    ephemeral_30m_input_tokens: int | None = None  # litellm's names for OpenAI's
    ephemeral_12h_input_tokens: int | None = None
    ttl_30m_tokens: int | None = None
    ttl_12h_tokens: int | None = None

    def for_long(self) -> int:
        return max(self.ephemeral_1h_input_tokens or self.ephemeral_12h_input_tokens or self.ttl_12h_tokens or 0, 0)

    def in_all(self) -> int:
        short = self.ephemeral_5m_input_tokens or self.ephemeral_30m_input_tokens or self.ttl_30m_tokens or 0
        return max(short, 0) + self.for_long()


class TokenDetails(msgspec.Struct):
    """`prompt_tokens_details` and `completion_tokens_details`."""

    cached_tokens: int | None = None
    cached_tokens_details: CachedDetails | None = None
    cache_write_tokens: int | None = None
    cache_write_tokens_details: WrittenDetails | None = None
    cache_creation_tokens: int | None = None  # litellm's name
    cache_creation_token_details: WrittenDetails | None = None
    reasoning_tokens: int | None = None
    thinking_tokens: int | None = None  # Anthropic's name
    audio_tokens: int | None = None
    image_tokens: int | None = None
    video_tokens: int | None = None
    web_search_requests: int | None = None  # litellm's name, for Gemini's searches


class ServerToolUse(msgspec.Struct):
    """Tools that ran at the provider, for which it charges by the call."""

    web_search_requests: int | None = None  # Anthropic, OpenRouter
    web_search_calls: int | None = None  # xAI


class Iteration(msgspec.Struct):
    """One of the times that a model ran for an answer of Anthropic's."""

    type: str | None = None
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: WrittenDetails | None = None

    @property
    def is_beside(self) -> bool:
        """Whether the usage around it leaves out what it has used."""
        return self.type in _BESIDE

    def used(self) -> TokenUsage | None:
        usage = ReportedUsage(
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cache_read_input_tokens=self.cache_read_input_tokens,
            cache_creation_input_tokens=self.cache_creation_input_tokens,
            cache_creation=self.cache_creation,
        )
        return usage.counted()


_BESIDE: Final = frozenset({"compaction", "advisor_message"})
"""Iterations whose tokens Anthropic bills and does not count in the usage around them."""

_MOST_ITERATIONS: Final = 1000
"""Of one answer that are counted."""


class ReportedUsage(msgspec.Struct):
    """Token counts as providers report them, under each of the names they use."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: TokenDetails | None = None
    completion_tokens_details: TokenDetails | None = None
    input_tokens: int | None = None  # Anthropic, which leaves cached input out; OpenAI's Responses, which do not
    output_tokens: int | None = None
    input_tokens_details: TokenDetails | None = None
    input_token_details: TokenDetails | None = None  # OpenAI's transcriptions
    output_tokens_details: TokenDetails | None = None
    cached_tokens: int | None = None  # Moonshot
    reasoning_tokens: int | None = None  # SGLang, Perplexity
    prompt_cache_hit_tokens: int | None = None  # DeepSeek
    cache_read_input_tokens: int | None = None  # Anthropic, through gateways that keep its names
    cache_creation_input_tokens: int | None = None
    cache_write_tokens: int | None = None  # OpenRouter
    cache_creation: WrittenDetails | None = None  # Anthropic
    server_tool_use: ServerToolUse | None = None  # Anthropic, OpenRouter
    server_side_tool_usage_details: ServerToolUse | None = None  # xAI
    num_search_queries: int | None = None  # Perplexity
    search_context_size: str | None = None  # Perplexity
    service_tier: str | None = None  # Anthropic; OpenAI has it beside `usage`
    speed: str | None = None  # Anthropic
    inference_geo: str | None = None  # Anthropic
    iterations: list[Iteration] | None = None  # Anthropic
    cost: Any = None  # OpenRouter; Perplexity has an object of costs
    cost_details: Any = None
    is_byok: Any = None
    estimated_cost: Any = None  # DeepInfra
    cost_in_usd_ticks: Any = None  # xAI

    def counted(self) -> TokenUsage | None:
        """In our names, and made sense of; None if it counts nothing."""
        inputs = self.input_tokens_details or self.input_token_details
        more = self.prompt_tokens_details or inputs or _NO_DETAILS
        out = self.completion_tokens_details or self.output_tokens_details or _NO_DETAILS
        read = self.cache_read_input_tokens
        cached = more.cached_tokens or self.prompt_cache_hit_tokens or read or self.cached_tokens
        written = more.cache_write_tokens or self.cache_write_tokens or self.cache_creation_input_tokens
        written = written or more.cache_creation_tokens
        lifetimes = self.cache_creation or more.cache_write_tokens_details or more.cache_creation_token_details
        prompt = self.prompt_tokens
        if not prompt and self.input_tokens is not None:
            prompt = self.input_tokens
            if inputs is None:
                created = self.cache_creation_input_tokens
                if not created and self.cache_creation is not None:
                    created = self.cache_creation.in_all()
                prompt += max(read or 0, 0) + max(created or 0, 0)
        counted = sane_usage(
            prompt,
            self.completion_tokens or self.output_tokens,
            self.total_tokens,
            cached=cached,
            cache_write=lifetimes.in_all() if lifetimes is not None and not written else written,
            reasoning=out.reasoning_tokens or out.thinking_tokens or self.reasoning_tokens,
            audio_input=more.audio_tokens,
            audio_output=out.audio_tokens,
            long_cache_write=None if lifetimes is None else lifetimes.for_long(),
            cached_audio=None if more.cached_tokens_details is None else more.cached_tokens_details.audio_tokens,
            image_input=more.image_tokens,
            image_output=out.image_tokens,
            video_output=out.video_tokens,
            web_searches=self._web_searches(more),
        )
        if self.iterations is None or counted is None or self.prompt_tokens:  # litellm's sums have them already
            return counted
        beside = [each.used() for each in self.iterations[:_MOST_ITERATIONS] if each.is_beside]
        return sum([usage for usage in beside if usage is not None], counted)

    def by_model(self) -> tuple[tuple[str, TokenUsage], ...]:
        """Which models the answer says that it was made by, and what each of them has used: parts of what is counted.

        Empty where it names none. A model that another one has asked for advice, or that answers in the place of one
        that refuses, is charged at its own price.
        """
        if self.iterations is None or self.prompt_tokens:
            return ()
        named = [(each.model, each.used()) for each in self.iterations[:_MOST_ITERATIONS]]
        return tuple((model, usage) for model, usage in named if model and usage is not None)

    def _web_searches(self, details: TokenDetails) -> int | None:
        if details.web_search_requests:
            return details.web_search_requests
        tools = self.server_tool_use or self.server_side_tool_usage_details
        if tools is not None:
            return tools.web_search_requests or tools.web_search_calls
        # Perplexity searches for every answer, and only its deep research says how often.
        return self.num_search_queries or (1 if self.search_context_size else None)

    @property
    def tier(self) -> str | None:
        """The processing tier; Anthropic's fast mode is one, which it does not call so."""
        return self.speed if self.speed == "fast" else self.service_tier

    def cost_micro_usd(self) -> int | None:
        """What the provider itself says the answer cost, in millionths of a US dollar; None if it says nothing."""
        cost = self.cost
        if cost is None:
            if self.cost_in_usd_ticks is not None:
                return sane_cost(_usd_of(self.cost_in_usd_ticks))
            return None if self.estimated_cost is None else sane_cost(self.estimated_cost)
        told = sane_cost(cost.get("total_cost") if isinstance(cost, dict) else cost)
        if told is not None and self.is_byok is True and isinstance(self.cost_details, dict):
            # With the operator's own key at the provider behind it, OpenRouter's cost is its fee alone.
            told += sane_cost(self.cost_details.get("upstream_inference_cost")) or 0
        return told


def _usd_of(ticks: object) -> float | None:
    return ticks / _TICKS_PER_USD if isinstance(ticks, int | float) and not isinstance(ticks, bool) else None


_TICKS_PER_USD: Final = 10**10
_NO_DETAILS: Final = TokenDetails()


def read_usage(value: Any) -> ReportedUsage:
    """A usage object that is decoded already: JSON data, or an object with such attributes. Empty for None."""
    if value is None:
        return ReportedUsage()
    try:
        return msgspec.convert(value, ReportedUsage, strict=False, from_attributes=True)
    except msgspec.ValidationError:
        named = value if isinstance(value, dict) else {name: getattr(value, name, None) for name in _USAGE_NAMES}
        return struct_of_what_fits(named, ReportedUsage) or ReportedUsage()


def changed_counts(usage: Mapping[str, Any]) -> dict[str, Any]:
    """The counts of an event of a stream of Anthropic's, which has those that have changed since the event before it.

    Which these are differs by server: the output alone, all of them, or null and 0 for what has been counted before.
    """
    return {name: value for name, value in usage.items() if value}


_USAGE_NAMES: Final = ReportedUsage.__struct_fields__
