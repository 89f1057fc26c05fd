"""A recorded stream as the plain answer its provider would have given for the same work."""

import json
from typing import Any

from crplugins.testing import Cassette

Document = dict[str, Any]

_TEXTS = ("content", "reasoning", "reasoning_content", "refusal")


def can_be_joined(cassette: Cassette) -> bool:
    """A stream that broke has no plain form: its provider would have answered with an error."""
    return cassette.is_stream and cassette.expect.error is None


def joined(cassette: Cassette) -> Document:
    """In the provider's own form: OpenAI's, or for the recording of Anthropic a message of its Messages API."""
    events = _events(cassette.data)
    if cassette.id.startswith("anthropic"):
        return _message(events)
    named = next(event for event in events if event.get("id")) if any(e.get("id") for e in events) else events[-1]
    document: Document = {name: named.get(name) for name in ("id", "created", "model")}
    document |= {"object": "chat.completion", "choices": _choices(events)}
    for event in events:
        if event.get("x_groq"):
            document |= {"x_groq": event["x_groq"], "service_tier": "on_demand"}  # litellm fails without the latter
        usage = event.get("usage") or (event.get("x_groq") or {}).get("usage")
        if usage:  # a plain answer has it here, wherever the stream had it
            document["usage"] = usage
    return document


def _choices(events: list[Document]) -> list[Document]:
    choices: dict[int, Document] = {}
    for event in events:
        for chunk in event["choices"]:
            fresh = {"index": chunk["index"], "message": {"role": "assistant", "content": None}, "finish_reason": None}
            choice = choices.setdefault(chunk["index"], fresh)
            _say(choice["message"], chunk.get("delta") or {})
            choice["finish_reason"] = chunk.get("finish_reason") or choice["finish_reason"]
    for choice in choices.values():
        choice["finish_reason"] = choice["finish_reason"] or "stop"  # Snowflake's stream tells none
    return list(choices.values())


def _say(message: Document, delta: Document) -> None:
    for name in _TEXTS:
        if delta.get(name):
            message[name] = _joined_content(message.get(name), delta[name])
    for fragment in delta.get("tool_calls") or ():
        calls = message.setdefault("tool_calls", [])
        if fragment["index"] >= len(calls):
            calls.append({"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
        call = calls[fragment["index"]]
        call["id"] = fragment.get("id") or call["id"]
        for part in ("name", "arguments"):
            call["function"][part] += fragment["function"].get(part) or ""


def _joined_content(before: Any, piece: Any) -> Any:
    """Text, or Mistral's list of parts, of which the thoughts come before the text."""
    if before is None or type(before) is type(piece):
        return piece if before is None else before + piece
    parts = [{"type": "text", "text": part} if isinstance(part, str) else part for part in (before, piece) if part]
    return [inner for part in parts for inner in (part if isinstance(part, list) else [part])]


def _message(events: list[Document]) -> Document:
    message: Document = next(event for event in events if event["type"] == "message_start")["message"]
    blocks: dict[int, Document] = {}
    for event in events:
        if event["type"] == "content_block_start":
            blocks[event["index"]] = dict(event["content_block"])
        elif event["type"] == "content_block_delta" and event["delta"].get("type") == "text_delta":
            blocks[event["index"]]["text"] += event["delta"]["text"]
        elif event["type"] == "content_block_delta":  # Anthropic's own summary of a conversation
            blocks[event["index"]] |= {k: v for k, v in event["delta"].items() if k != "type"}
        elif event["type"] == "message_delta":
            message = {**message, **event["delta"], "usage": event["usage"]}
    return {**message, "content": list(blocks.values())}


def _events(recording: bytes) -> list[Document]:
    lines = [line[5:].strip() for line in recording.decode().split("\n") if line.startswith("data:")]
    return [json.loads(line) for line in lines if line != "[DONE]"]
