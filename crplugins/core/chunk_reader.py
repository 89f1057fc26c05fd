"""The chunks of one stream in their order: each as clients can read it, and all of them as the whole answer they tell.

What a chunk lacks, or says once more, only those before it tell.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from crplugins.core.answer_forms import CHUNK, readable_chunk
from crplugins.core.call_numbers import RepairedCalls, index_of
from crplugins.core.delta import THOUGHTS
from crplugins.core.finish_reasons import is_end
from crplugins.core.lenient_json import NOT_JSON, decode_with_halves, encoded, joined, object_of, objects_of
from crplugins.core.sse import Event
from crplugins.core.wire import Choice

_PIECES: Final = frozenset({"content", "refusal", *THOUGHTS, "arguments", "data", "transcript", "signature"})
"""Texts that a stream sends in pieces. Of any other text the last one counts, and of a name or an id the first."""

_CALLED: Final = frozenset({"function", "custom"})
_NAMES: Final = frozenset({"id", "name", "type", "role"})


class ChunkReader:
    """Makes the chunks of one stream readable, in their order, so that no client hears anything twice or takes two
    calls for one.

    Attributes:
        spoke: the answer has said something; for who knows it of chunks that this has not read.
        looks_at_each: also those that are text alone have to be read, as the first one was not numbered or named as
            OpenAI's are; None before the first.
    """

    __slots__ = ("_called", "_calls", "_first", "_in_messages", "looks_at_each", "spoke")

    def __init__(self) -> None:
        self.spoke = False
        self.looks_at_each: bool | None = None
        self._called: frozenset[int] = frozenset()  # the choices that have ended with calls
        self._in_messages: bool | None = None  # the answer is told in messages, not in deltas
        self._calls: RepairedCalls | None = None
        self._first: bytes | None = None  # the first chunk with a choice

    def read(self, event: Event) -> Event:
        """The chunk as clients can read it; nearly always the same object."""
        answer = event.answer
        if answer is None or not answer.choices:
            event, data = readable_chunk(event), event.data
            if self._first is None or not data or answer is None or answer.usage is None:
                return event
            return event if b'"id"' in data and b'"created"' in data else _named_as(self._first, event)
        if self.looks_at_each is None:
            self._first = event.data
            self.looks_at_each = _with_head(event) is not event
        if self.looks_at_each:
            event = _with_head(event)
        if event.text is not None:
            self.spoke = True
            return event
        if self._calls is not None and len(answer.choices) == 1 and self._calls.continues(answer):
            return event
        if any(choice.delta is None and choice.message is not None for choice in answer.choices):
            if self._in_messages is None:
                self._in_messages = not self.spoke
            if not self._in_messages:  # some servers tell the whole answer after it
                event = _without_messages(event)
        event = readable_chunk(event)
        choices = () if event.answer is None else event.answer.choices or ()
        return self._with_calls(self._with_one_end(event, choices), choices)

    def _with_one_end(self, event: Event, choices: Iterable[Choice]) -> Event:
        """Some servers say `stop` once more after `tool_calls`. Clients that believe the last word call no tool."""
        again = False
        for choice in choices:
            if choice.finish_reason == "tool_calls":
                self._called |= {choice.index}
            again = again or (choice.finish_reason == "stop" and choice.index in self._called)
        if not again:
            return event
        chunk = object_of(decode_with_halves(event.data or b""))
        for told, choice in zip(objects_of(chunk.get("choices")), choices, strict=True):
            if choice.index in self._called:
                told["finish_reason"] = "tool_calls"
        return event.with_data(encoded(chunk))

    def _with_calls(self, event: Event, choices: Iterable[Choice]) -> Event:
        calls = False
        for choice in choices:
            if choice.delta is not None and choice.delta.says():
                self.spoke = True
                calls = calls or bool(choice.delta.tool_calls)
        if not calls:
            return event
        if self._calls is None:
            self._calls = RepairedCalls()
        return self._calls.in_chunk(event)


def _with_head(event: Event) -> Event:
    """The chunk with an index for each choice (Snowflake has none), without an empty role (MiniMax), and named as a
    chunk of chat completions where it is named as something else: OpenAI's helpers fail on the first, clients with
    closed lists of roles on the second, and the third is passed over."""
    try:
        chunk = object_of(decode_with_halves(event.data or b""))
    except NOT_JSON:  # only we can read it
        return event
    choices = objects_of(chunk.get("choices"))
    if chunk.get("object", CHUNK) == CHUNK and all(map(_is_usual, choices)):
        return event
    chunk["choices"] = [{"index": 0, **choice} for choice in choices]
    for delta in (object_of(choice.get("delta")) for choice in choices):
        if delta.get("role") == "":
            del delta["role"]
    chunk["object"] = CHUNK
    return event.with_data(encoded(chunk))


def _is_usual(choice: Mapping[str, Any]) -> bool:
    return "index" in choice and object_of(choice.get("delta")).get("role") != ""


_HEAD: Final = ("id", "object", "created", "model")


def _named_as(first: bytes, event: Event) -> Event:
    """A count of tokens with the head of the chunks before it, which some servers leave out where nothing is said.
    OpenAI's SDK for Java fails on a chunk without one."""
    try:
        known, chunk = (object_of(decode_with_halves(data)) for data in (first, event.data or b""))
    except NOT_JSON:
        return event
    head = {name: known[name] for name in _HEAD if chunk.get(name) is None and known.get(name) is not None}
    if not head:
        return event
    whole = head | {name: value for name, value in chunk.items() if name not in head}
    return event.with_data(encoded(whole))


def _without_messages(event: Event) -> Event:
    """The chunk without what stands in a `message` in place of a `delta`, because it was said already."""
    chunk = object_of(decode_with_halves(event.data or b""))
    for choice in objects_of(chunk.get("choices")):
        if choice.get("delta") is None:
            choice.pop("message", None)
    return event.with_data(encoded(chunk))


def document_of(events: Iterable[Event]) -> bytes:
    """The whole answer that the events of a complete stream tell. Linear in their size."""
    head: dict[str, Any] = {}
    choices: dict[int, _Joined] = {}
    reader = ChunkReader()
    for event in events:
        if event.answer is None or not event.data:
            continue
        chunk = object_of(decode_with_halves(reader.read(event).data or b""))
        head |= {key: value for key, value in chunk.items() if key != "choices" and value is not None}
        for choice in objects_of(chunk.get("choices")):
            index = choice.get("index")
            choices.setdefault(index if isinstance(index, int) else 0, _Joined()).add(choice)
    whole = [_whole_choice(index, choice.value()) for index, choice in sorted(choices.items())]
    return encoded({**head, "object": "chat.completion", "choices": whole})


def _whole_choice(index: int, choice: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": None, **object_of(choice.pop("delta", None))}
    for call in objects_of(message.get("tool_calls")):
        call.pop("index", None)
    return {"index": index, "message": message, "finish_reason": None} | choice


class _Joined:
    """One object that came in pieces: texts are joined, lists grow, objects are joined field by field."""

    __slots__ = ("_calls", "_fields", "_is_called", "_lists", "_objects", "_texts")

    def __init__(self, *, is_called: bool = False) -> None:
        self._is_called = is_called  # the function of a call, whose name may come in pieces
        self._fields: dict[str, Any] = {}
        self._texts: dict[str, list[str]] = {}
        self._lists: dict[str, list[Any]] = {}
        self._objects: dict[str, _Joined] = {}
        self._calls: dict[int, _Joined] = {}

    def add(self, piece: Mapping[str, Any]) -> None:
        for key, value in piece.items():
            if value is None:
                continue
            if key == "tool_calls" and isinstance(value, list):
                self._add_calls(value)
            elif isinstance(value, str) and (key in _PIECES or (self._is_called and key == "name")):
                self._texts.setdefault(key, []).append(value)
            elif isinstance(value, list):
                self._lists.setdefault(key, []).extend(value)
            elif isinstance(value, dict):
                self._objects.setdefault(key, _Joined(is_called=key in _CALLED)).add(value)
            elif key == "finish_reason":
                self._end(value)
            elif key not in _NAMES or not self._fields.get(key):
                self._fields[key] = value

    def _end(self, reason: Any) -> None:
        if is_end(reason):
            self._fields["finish_reason"] = reason

    def _add_calls(self, calls: list[Any]) -> None:
        for call in objects_of(calls):
            self._calls.setdefault(index_of(call, len(self._calls)), _Joined()).add(call)

    def value(self) -> dict[str, Any]:
        whole: dict[str, Any] = {**self._fields, **self._lists}
        whole |= {key: joined(pieces) for key, pieces in self._texts.items()}
        whole |= {key: inner.value() for key, inner in self._objects.items()}
        if self._calls:
            whole["tool_calls"] = [call.value() for _, call in sorted(self._calls.items())]
        return whole
