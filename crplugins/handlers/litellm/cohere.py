"""Cohere's v2 stream as chunks of OpenAI's. litellm's own reader takes `event:` lines for JSON, and drops thinking."""

from collections.abc import Mapping
from typing import Any

from crplugins.handlers.litellm.usage import fields_of


def chunk_of(event: Mapping[str, Any]) -> dict[str, Any] | None:
    """The chunk for an event of `POST /v2/chat`; None for one that says nothing."""
    kind = event.get("type")
    told = fields_of(event.get("delta"))
    message = fields_of(told.get("message"))
    if kind in ("content-start", "content-delta"):
        content = fields_of(message.get("content"))
        return _chunk({"content": content.get("text"), "reasoning_content": content.get("thinking")})
    if kind in ("tool-call-start", "tool-call-delta"):
        return _chunk({"tool_calls": [{"index": event.get("index") or 0, **fields_of(message.get("tool_calls"))}]})
    if kind == "message-end":
        return _end(told)
    return {"error": event["error"]} if event.get("error") else None


def _chunk(delta: dict[str, Any]) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def _end(told: Mapping[str, Any]) -> dict[str, Any]:
    usage = fields_of(told.get("usage"))
    tokens = fields_of(usage.get("tokens")) or fields_of(usage.get("billed_units"))
    counts = {"prompt_tokens": tokens.get("input_tokens"), "completion_tokens": tokens.get("output_tokens")}
    finish = told.get("finish_reason") or "COMPLETE"
    if error := told.get("error"):
        return {"error": error, "usage": counts}
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}], "usage": counts}
