"""The demo model `demo/echo`: a litellm provider without a network.

It repeats the user's message, a word at a time, with true token counts, so that a gateway can be tried before there is
a key of any provider.
"""

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

GREETING: Final = "You said: "
NOTHING_SAID: Final = "Hello! Say something and I will say it back."
WORD_SECONDS: Final = 0.02

_TOKEN: Final = re.compile(r"\s*+\S{1,6}|\s++")  # the second: else a search would begin anew at each space


@dataclass(frozen=True, slots=True)
class Echo:
    """What the model answers to one request. A token is at most six characters of a word and the space before it."""

    pieces: Sequence[str]
    finish_reason: str
    prompt_tokens: int

    @property
    def usage(self) -> dict[str, int]:
        completion = len(self.pieces)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
        }


def echo(messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]) -> Echo:
    """The answer to `messages`, cut by `max_tokens` (or `max_completion_tokens`) and at a `stop` sequence."""
    said = next((_text(m.get("content")) for m in reversed(messages) if m.get("role") == "user"), "")
    answer = GREETING + said if said.strip() else NOTHING_SAID
    stops = parameters.get("stop") or []
    for stop in [stops] if isinstance(stops, str) else stops:
        answer = answer.partition(stop)[0] if stop else answer
    pieces = tokens(answer)
    limit = parameters.get("max_completion_tokens") or parameters.get("max_tokens")
    cut = isinstance(limit, int) and len(pieces) > limit
    prompt_tokens = sum(len(tokens(_text(message.get("content")))) for message in messages)
    return Echo(pieces[:limit] if cut else pieces, "length" if cut else "stop", prompt_tokens)


def tokens(text: str) -> list[str]:
    """`text` cut into tokens; joined they are `text`, white space at its end included."""
    return _TOKEN.findall(text)


class EchoProvider:
    """What litellm calls for models `demo/...`: the async half of its `CustomLLM`, by name rather than inheritance."""

    def __init__(self, word_seconds: float = WORD_SECONDS) -> None:
        self._pause = word_seconds

    async def acompletion(
        self, *, messages: list[Any], model_response: Any, optional_params: Mapping[str, Any], **_: Any
    ) -> Any:
        answer = echo(messages, optional_params)
        await asyncio.sleep(self._pause)
        model_response.id = f"chatcmpl-demo{uuid.uuid4().hex}"
        model_response.created = int(time.time())
        model_response.model = "echo"
        model_response.choices[0].message.content = "".join(answer.pieces)
        model_response.choices[0].finish_reason = answer.finish_reason
        model_response.usage = answer.usage
        return model_response

    async def astreaming(
        self, *, messages: list[Any], optional_params: Mapping[str, Any], **_: Any
    ) -> AsyncIterator[dict[str, Any]]:
        answer = echo(messages, optional_params)
        for piece in answer.pieces:
            await asyncio.sleep(self._pause)
            yield _chunk(piece)
        yield _chunk("", finish_reason=answer.finish_reason, usage=answer.usage)


def register_demo(litellm: Any, word_seconds: float = WORD_SECONDS) -> None:
    """Make litellm know the provider `demo`. `word_seconds` is the pause before each token."""
    base: Any = litellm.llms.custom_llm.CustomLLM

    class Echo(EchoProvider, base):  # type: ignore[misc]  # newer releases call nothing else
        pass

    others = [entry for entry in litellm.custom_provider_map if entry["provider"] != "demo"]
    litellm.custom_provider_map = [*others, {"provider": "demo", "custom_handler": Echo(word_seconds)}]
    litellm.utils.custom_llm_setup()


def _chunk(text: str, finish_reason: str = "", usage: Mapping[str, int] | None = None) -> dict[str, Any]:
    """litellm's generic chunk."""
    return {
        "text": text,
        "is_finished": bool(finish_reason),
        "finish_reason": finish_reason,
        "usage": usage,
        "index": 0,
        "tool_use": None,
    }


def _text(content: Any) -> str:
    """The words of a message: a string, or the text parts of an array."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))
