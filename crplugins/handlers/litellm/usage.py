"""Token counts in OpenAI's form, from any form in which a provider or litellm reports them.

The functions at the end read fields of litellm's objects and of plain JSON alike; the other modules here use them too.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from types import ModuleType
from typing import Any, Final

import msgspec

from crplugins.core.exchange import Exchange
from crplugins.core.redaction import one_line
from crplugins.core.reported_usage import ReportedUsage, WrittenDetails, read_usage
from crplugins.core.usage import MAX_TOKENS, TokenUsage
from crplugins.core.wire import AnswerFacts

logger = logging.getLogger("crplugins.upstream")

UsageObject = dict[str, Any]
"""OpenAI's `usage`: three totals, and details where the provider reported some."""

_NONE: Final[Mapping[str, Any]] = {}
_TOTALS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")
_PROMPT_DETAILS: Final = ("cached_tokens", "audio_tokens", "text_tokens", "image_tokens", "cache_write_tokens")
_COMPLETION_DETAILS: Final = (
    "reasoning_tokens",
    "audio_tokens",
    "accepted_prediction_tokens",
    "rejected_prediction_tokens",
    "text_tokens",
    "image_tokens",
    "video_tokens",
)
_OTHER_NAMES: Final[Mapping[str, Sequence[str]]] = {
    "cached_tokens": (
        "prompt_cache_hit_tokens",
        "cache_read_input_tokens",
        "cached_tokens",
    ),  # DeepSeek, Anthropic, Kimi
    "cache_write_tokens": ("cache_creation_input_tokens",),
}


def reported_usage(fields: Mapping[str, Any]) -> UsageObject | None:
    """The counts beside the choices of a chunk or a whole answer; None if it has none there.

    Where a whole answer has none, litellm writes zeros.
    """
    raw = fields.get("usage")
    counts = None if raw is None else usage_object(raw)
    if counts is None and (groq := fields.get("x_groq")):  # for a time nowhere else
        raw = fields_of(groq).get("usage")
        counts = None if raw is None else usage_object(raw)
    return counts


def usages_of_choice(choice: Any) -> Iterator[Any]:
    """Where counts stand inside a choice, as Moonshot's Kimi has them: there, or where litellm hides what it does not
    know, in the choice or in its message."""
    fields = fields_of(choice)
    yield fields.get("usage")
    for part in (fields, fields_of(fields.get("message"))):
        yield fields_of(part.get("provider_specific_fields")).get("usage")


def usage_object(raw: Any) -> UsageObject | None:
    """`raw` in OpenAI's names, without prices and timings; None if it counts no tokens.

    The totals are those that we count, so that a client is told of reasoning beside `completion_tokens` too. litellm
    and some providers have other names for cached tokens. What OpenAI has no name for and a bill depends on is under
    Anthropic's: for how long tokens are kept in a cache, and searches of the web.
    """
    raw = plain(raw)  # reading litellm's object attribute by attribute takes 140 calls
    counted = read_usage(raw).counted()
    if counted is None:
        return None
    prompt, completion = counted.input_tokens, counted.output_tokens
    usage: UsageObject = dict(zip(_TOTALS, (prompt, completion, prompt + completion), strict=True))
    fields = fields_of(raw)
    details = _prompt_details(fields)
    if counted.cached_input_tokens and "cached_tokens" not in details:
        details["cached_tokens"] = counted.cached_input_tokens
    if details:
        usage["prompt_tokens_details"] = details
    details = dict(_counts(fields.get("completion_tokens_details"), _COMPLETION_DETAILS))
    if counted.reasoning_output_tokens and "reasoning_tokens" not in details:
        details["reasoning_tokens"] = counted.reasoning_output_tokens
    if details:
        usage["completion_tokens_details"] = details
    if lifetimes := _lifetimes(fields):
        usage["cache_creation"] = lifetimes
    if counted.web_searches:
        usage["server_tool_use"] = {"web_search_requests": counted.web_searches}
    return usage


def as_usage(usage: UsageObject) -> TokenUsage:
    """The same counts as the Exchange keeps them."""
    return msgspec.convert(usage, ReportedUsage).counted() or TokenUsage()


def note_provider(exchange: Exchange, answer: Any) -> None:
    """Keep what an answer or a chunk of litellm's says of model, tier, region and the provider's own cost."""
    fields = fields_of(answer)
    own = fields_of(_hidden(answer).get("provider_specific_fields"))
    tier = text_of(fields.get("service_tier")) or text_of(own.get("traffic_type"))  # Google's
    usage = read_usage(plain(fields.get("usage")))
    exchange.note_provider(AnswerFacts(model_of(answer), service_tier=tier, usage=usage))


def model_of(answer: Any) -> str | None:
    """The model that an answer or a chunk of litellm's names. Its chunks name the one that was asked, and hide it."""
    return text_of(_hidden(answer).get("provider_response_model")) or text_of(fields_of(answer).get("model"))


def _hidden(answer: Any) -> Mapping[str, Any]:
    return fields_of(getattr(answer, "_hidden_params", None))


async def estimate(
    litellm: ModuleType, model: str, messages: Sequence[Mapping[str, Any]], tools: Any, answer: str
) -> UsageObject | None:
    """Counts of litellm's tokenizer, for an answer without usage. In a thread: a long prompt takes 0.1 s."""

    def count() -> UsageObject:
        # Without a default litellm downloads the pictures of a conversation to measure them.
        prompt = litellm.token_counter(
            model=model, messages=list(messages), tools=tools or None, use_default_image_token_count=True
        )
        completion = litellm.token_counter(model=model, text=answer) if answer else 0
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    try:
        return await asyncio.to_thread(count)
    except Exception as error:  # metering never fails an answer that was served
        logger.warning("cannot estimate the tokens of %s: %s", one_line(model), type(error).__name__)
        return None


def _lifetimes(fields: Mapping[str, Any]) -> dict[str, int]:
    """How many of the tokens written to a cache are kept for how long."""
    details = fields_of(fields.get("prompt_tokens_details"))
    lifetimes = fields.get("cache_creation") or details.get("cache_creation_token_details")
    return _counts(lifetimes or details.get("cache_write_tokens_details"), WrittenDetails.__struct_fields__)


def _prompt_details(fields: Mapping[str, Any]) -> dict[str, Any]:
    details: dict[str, Any] = dict(_counts(fields.get("prompt_tokens_details"), _PROMPT_DETAILS))
    cached = fields_of(fields.get("prompt_tokens_details")).get("cached_tokens_details")
    if kinds := _counts(cached, ("audio_tokens",)):
        details["cached_tokens_details"] = kinds
    for name, other_names in _OTHER_NAMES.items():
        for other in other_names:
            if name not in details and (count := number_of(fields.get(other))) is not None:
                details[name] = count
    return details


def _counts(raw: Any, names: Sequence[str]) -> dict[str, int]:
    fields = fields_of(raw)
    return {n: count for n in names if n in fields and (count := number_of(fields[n])) is not None} if fields else {}


def number_of(value: Any) -> int | None:
    """`value` if it is a number of tokens. Some providers write it as a float."""
    if value.__class__ is not int and (value.__class__ is not float or not isfinite(value)):
        return None
    return int(value) if abs(value) <= MAX_TOKENS else None  # more fits no integer of ours


def fields_of(value: Any) -> Mapping[str, Any]:
    """The fields of a JSON object or of a pydantic model, unknown ones included; empty for anything else.

    Reads pydantic's own storage: `model_dump` copies the whole tree, which costs more than all that is done with it.
    """
    if isinstance(value, dict):
        return value
    declared: Mapping[str, Any] = getattr(value, "__dict__", _NONE)
    extra = getattr(value, "__pydantic_extra__", None)
    return {**declared, **extra} if extra else declared


_SCALARS: Final = frozenset({bool, float, int, str, type(None)})


def plain(value: Any) -> Any:
    """`value` as JSON data."""
    if value.__class__ in _SCALARS:
        return value
    if isinstance(value, dict):
        return {k: v if v.__class__ in _SCALARS else plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    dump = getattr(value, "model_dump", None)
    return dump() if callable(dump) else value  # the dump of a model has no models


def text_of(value: Any) -> str | None:
    """`value` if it is a string and not empty."""
    return value if isinstance(value, str) and value else None
