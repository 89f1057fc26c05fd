"""How the fake model counts tokens: rules short enough to be worked out by hand in a test.

* Completion: a token is up to eight characters with the white space before them, so "Hello there" is `["Hello",
  " there"]` (`handlers.wires.completion.pieces`). A stream sends one token per chunk unless a chunk size is given.
* Prompt: 4 tokens per message, one per four bytes of UTF-8 text (rounded up, all text of a message together), 85 per
  image, sound or file, and one per four bytes of the JSON of `tools`, `functions` and `response_format`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

PER_MESSAGE = 4
PER_ATTACHMENT = 85
_SCHEMAS = ("tools", "functions", "response_format")


def prompt_tokens(request: Mapping[str, Any]) -> int:
    """What the request costs before anything is generated."""
    messages = sum(_message_tokens(message) for message in request["messages"])
    return messages + sum(_quarter(msgspec.json.encode(request[key])) for key in _SCHEMAS if request.get(key))


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a message: its string content, or its text parts joined by a space."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in parts_of(message) if isinstance(part.get("text"), str))


def parts_of(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The content parts of a message; none for string or null content."""
    content = message.get("content")
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def attachments(message: Mapping[str, Any]) -> int:
    """How many images, sounds and files a message carries."""
    return sum(1 for part in parts_of(message) if part.get("type") in {"image_url", "input_audio", "file"})


def _message_tokens(message: Mapping[str, Any]) -> int:
    text = text_of(message).encode("utf-8", "surrogatepass")
    calls = msgspec.json.encode(message["tool_calls"]) if message.get("tool_calls") else b""
    return PER_MESSAGE + _quarter(text + calls) + PER_ATTACHMENT * attachments(message)


def _quarter(data: bytes) -> int:
    return -(-len(data) // 4)
