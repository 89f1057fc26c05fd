"""The usage of a chat completion, written: in the place of what a provider has told."""

from typing import Any

import msgspec

from crplugins.core.body import Body
from crplugins.core.reported_usage import read_usage
from crplugins.core.sse import Event
from crplugins.core.usage import TokenUsage


def with_usage(event: Event, told: TokenUsage) -> Event:
    """The chunk or document with this usage alone, wherever its provider has told one."""
    answer = event.answer
    assert answer is not None
    body = Body.of_answer(event.data or b"")
    usage = usage_object(told)
    body.set("usage", usage)
    groq = body.get("x_groq")
    if isinstance(groq, dict) and "usage" in groq:
        body.set("x_groq", {name: value for name, value in groq.items() if name != "usage"})
    choices = body.get("choices", list) or []
    if any(isinstance(choice, dict) and "usage" in choice for choice in choices):  # Kimi's
        body.set("choices", [{name: value for name, value in each.items() if name != "usage"} for each in choices])
    heard = answer.choices and [msgspec.structs.replace(choice, usage=None) for choice in answer.choices]
    facts = msgspec.structs.replace(answer, choices=heard, usage=read_usage(usage), x_groq=None)
    return event.with_data(body.raw, facts)


def usage_object(usage: TokenUsage) -> dict[str, Any]:
    """OpenAI's `usage` of these counts. What it has no name for is under the names that `read_usage` takes for it."""
    prompt_details: dict[str, Any] = {"cached_tokens": usage.cached_input_tokens}
    completion_details = {"reasoning_tokens": usage.reasoning_output_tokens}
    for details, name, tokens in (
        (prompt_details, "audio_tokens", usage.audio_input_tokens),
        (prompt_details, "image_tokens", usage.image_input_tokens),
        (prompt_details, "cache_write_tokens", usage.cache_write_input_tokens),
        (completion_details, "audio_tokens", usage.audio_output_tokens),
        (completion_details, "image_tokens", usage.image_output_tokens),
        (completion_details, "video_tokens", usage.video_output_tokens),
    ):
        if tokens:
            details[name] = tokens
    if usage.cached_audio_input_tokens:
        prompt_details["cached_tokens_details"] = {"audio_tokens": usage.cached_audio_input_tokens}
    told: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": prompt_details,
        "completion_tokens_details": completion_details,
    }
    if usage.long_cache_write_input_tokens:
        told["cache_creation"] = {"ephemeral_1h_input_tokens": usage.long_cache_write_input_tokens}
    if usage.web_searches:
        told["server_tool_use"] = {"web_search_requests": usage.web_searches}
    return told
