"""What providers say beyond OpenAI's format and want back in the next turn, or what clients show: kept both ways.

A model that thinks signs its thoughts: without them it refuses the turn after a tool call, or thinks anew. LiteLLM's
parsers know these fields under other names, or hide them in `provider_specific_fields`. They go to the client under the
names that the provider or LiteLLM documents, and OpenAI's SDKs pass them through.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from crplugins.handlers.litellm.usage import fields_of, plain, text_of

Extras = dict[str, Any]

DOCUMENT_EXTRAS: Final = frozenset({"citations", "search_results", "related_questions", "images", "videos"})
"""Beside `choices`: Perplexity's and xAI's sources."""

MESSAGE_EXTRAS: Final = ("annotations", "audio", "images", "reasoning_details")
"""In a delta or a message: OpenAI's annotations and audio, OpenRouter's images and signed reasoning."""


def document_extras(fields: Mapping[str, Any]) -> Extras:
    """The extras beside the choices of a chunk or a whole answer."""
    return {name: plain(fields[name]) for name in DOCUMENT_EXTRAS & fields.keys() if fields[name]}


def message_extras(fields: Mapping[str, Any]) -> Extras:
    """The extras in a delta or a message, without thinking blocks."""
    hidden = fields_of(fields.get("provider_specific_fields"))
    found: Extras = {}
    for name in MESSAGE_EXTRAS:
        if value := fields.get(name) or hidden.get(name):
            found[name] = plain(value)
    return found


def thinking_blocks_of(raw: Any) -> list[dict[str, Any]]:
    """The blocks of a whole message that a provider accepts back: signed, or encrypted."""
    return [block for block in _blocks(raw) if _is_signed(block)]


class ThinkingBlocks:
    """The thinking blocks of one choice of a stream, each given out once it is whole.

    litellm sends their text in pieces, and the signature last, beside which older releases repeat the whole text. The
    text of a thought streams as `reasoning_content` meanwhile. A block has an `index`, without which the accumulator
    of OpenAI's SDK fails on the second one.
    """

    __slots__ = ("_given", "_text")

    def __init__(self) -> None:
        self._given = 0
        self._text: list[str] = []

    def whole(self, raw: Any) -> list[dict[str, Any]]:
        """Those that the pieces of one delta complete."""
        done = []
        for piece in _blocks(raw):
            if piece.get("type") == "thinking":
                self._add(text_of(piece.get("thinking")) or "", ends=_is_signed(piece))
            if _is_signed(piece):
                done.append(self._block(piece))
        return done

    def _add(self, text: str, *, ends: bool) -> None:
        """Anthropic refuses a signature under a text of which a part stands twice."""
        if not (ends and self._text and text == "".join(self._text)):
            self._text.append(text)

    def _block(self, piece: Mapping[str, Any]) -> dict[str, Any]:
        block = {"index": self._given, **piece}
        if piece.get("type") == "thinking":
            block["thinking"] = "".join(self._text)
            self._text.clear()
        self._given += 1
        return block


def _blocks(raw: Any) -> Iterable[dict[str, Any]]:
    pieces = [plain(fields_of(piece)) for piece in raw] if isinstance(raw, list | tuple) else []
    return [{k: v for k, v in piece.items() if k != "index" and v is not None} for piece in pieces]


def _is_signed(block: Mapping[str, Any]) -> bool:
    return bool(text_of(block.get("signature")) or text_of(block.get("data")))


def history_of(messages: list[Any]) -> list[Any]:
    """The messages as providers take them: what a stream of ours added to a thinking block is taken off again."""
    return [_without_indexes(message) if message.get("thinking_blocks") else message for message in messages]


def _without_indexes(message: Mapping[str, Any]) -> dict[str, Any]:
    blocks = message["thinking_blocks"]
    return {**message, "thinking_blocks": list(_blocks(blocks))} if isinstance(blocks, list) else dict(message)


def lacks_thinking(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the turn under way has tool calls and no thinking block before them.

    Claude then refuses to think on: its turn has to begin with the block, which most clients of OpenAI's format do not
    send back.
    """
    asked = max((number for number, message in enumerate(messages) if message.get("role") == "user"), default=0)
    turn = [message for message in messages[asked:] if message.get("role") == "assistant"]
    return any(message.get("tool_calls") for message in turn) and not any(map(_thinks, turn))


def _thinks(message: Mapping[str, Any]) -> bool:
    content = message.get("content")
    return bool(thinking_blocks_of([*_listed(message.get("thinking_blocks")), *_listed(content)]))


def _listed(value: Any) -> list[Any]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def stop_thinking(messages: list[Any], arguments: dict[str, Any]) -> list[Any]:
    """The request without thinking. Blocks of earlier turns go too: without thinking, a message may have none.

    Adaptive thinking needs no block and stays.
    """
    thinking = arguments.get("thinking")
    if isinstance(thinking, dict) and thinking.get("type") == "adaptive":
        return messages
    arguments.pop("thinking", None)
    arguments.pop("reasoning_effort", None)
    return [{k: v for k, v in message.items() if k != "thinking_blocks"} for message in messages]
