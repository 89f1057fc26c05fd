"""A whole answer of litellm's, repaired to the document that OpenAI would have sent."""

import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from crplugins.core.finish_reasons import openais_reason
from crplugins.handlers.litellm.extras import document_extras, message_extras, thinking_blocks_of
from crplugins.handlers.litellm.finish import ProviderFailed, failed
from crplugins.handlers.litellm.tool_calls import complete_calls
from crplugins.handlers.litellm.usage import (
    UsageObject,
    fields_of,
    plain,
    reported_usage,
    text_of,
    usage_object,
    usages_of_choice,
)
from crplugins.handlers.litellm.words import content_of, refusal_of

Document = dict[str, Any]


def answer_document(response: Any, model: str) -> Document | None:
    """The document for a `ModelResponse`, with `usage` only if the provider reported it; None if it has no choice.

    `model` is the name in the document if the response has none. Raises `ProviderFailed` where the model failed.
    """
    fields = fields_of(response)
    choices = fields.get("choices")
    if not choices:
        return None
    document: Document = {
        "id": text_of(fields.get("id")) or f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(fields.get("created") or time.time()),
        "model": text_of(fields.get("model")) or model,
        "choices": [_choice(index, fields_of(choice)) for index, choice in enumerate(choices)],
    }
    if (usage := reported_usage(fields) or _usage_in(choices)) is not None:
        document["usage"] = usage
    document |= document_extras(fields)
    for name in ("service_tier", "system_fingerprint"):
        if value := text_of(fields.get(name)):
            document[name] = value
    return document


def _usage_in(choices: Iterable[Any]) -> UsageObject | None:
    counts = (usage_object(raw) for choice in choices for raw in usages_of_choice(choice))
    return next(filter(None, counts), None)


def _choice(position: int, fields: Mapping[str, Any]) -> Document:
    if failed(fields):
        raise ProviderFailed("the model failed")
    message = _message(fields_of(fields.get("message")))
    index = fields.get("index")
    logprobs = plain(fields.get("logprobs"))
    return {
        "index": index if isinstance(index, int) else position,
        "message": message,
        "logprobs": {"refusal": None, **logprobs} if isinstance(logprobs, dict) else None,
        "finish_reason": finish_reason_of(fields.get("finish_reason"), calls="tool_calls" in message),
    }


def finish_reason_of(told: Any, *, calls: bool) -> str:
    """OpenAI's reason for what a provider has told, of a message with tool calls or without."""
    finish = openais_reason(told) or "stop"
    return "tool_calls" if calls and finish == "stop" else finish


def _message(fields: Mapping[str, Any]) -> Document:
    content, (text, reasoning) = fields.get("content"), content_of(fields)
    content = content if isinstance(content, str) else text or None
    message: Document = {"role": "assistant", "content": content, "refusal": refusal_of(fields)}
    if reasoning:
        message["reasoning_content"] = reasoning
    if calls := complete_calls(fields.get("tool_calls")):
        message["tool_calls"] = calls
    if call := fields.get("function_call"):
        message["function_call"] = {k: v for k, v in fields_of(call).items() if v is not None}
    if blocks := thinking_blocks_of(fields.get("thinking_blocks")):
        message["thinking_blocks"] = blocks
    return message | message_extras(fields)
