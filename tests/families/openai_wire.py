"""Chunks and documents of the families that speak OpenAI's wire, each in its own envelope."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from tests.families.story import Json, Plain, document, sse

DONE = sse("[DONE]")


class Wire:
    """`wire({"content": "Hi"})` is a chunk of a family whose chunks all have these fields."""

    def __init__(self, **envelope: Any) -> None:
        self._envelope = {"created": 1790000000, **envelope}

    def __call__(
        self, delta: Json | None, finish: str | None = None, choice: Json = MappingProxyType({}), **beside: Any
    ) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish, **choice}]
        return sse({"object": "chat.completion.chunk", **self._envelope, "choices": choices, **beside})

    def usage(self, usage: Json, **beside: Any) -> bytes:
        """The chunk that has usage and, unless `beside` says otherwise, no choice."""
        return sse({"object": "chat.completion.chunk", **self._envelope, "choices": [], "usage": usage, **beside})

    def document(
        self, message: Json, finish: str, usage: Json, choice: Json = MappingProxyType({}), **beside: Any
    ) -> Plain:
        choices = [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, **choice}]
        return document({"object": "chat.completion", **self._envelope, "choices": choices, "usage": usage, **beside})


def call(index: int, id_: str | None, name: str | None, arguments: str, **beside: Any) -> Json:
    """A fragment of a tool call: its beginning has an id and a name, a later one has neither."""
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    begun = {} if id_ is None else {"id": id_, "type": "function"}
    return {"index": index, **begun, "function": function, **beside}


def calls(*fragments: Json) -> Json:
    """A delta."""
    return {"tool_calls": list(fragments)}


def whole_calls(*made: tuple[str, str, str], **beside: Any) -> Sequence[Json]:
    """(id, name, arguments) as `tool_calls` of a message."""
    return [
        {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}, **beside}
        for id_, name, arguments in made
    ]
