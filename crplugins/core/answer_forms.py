"""The two forms of one answer: a whole `chat.completion`, and the chunks of a stream.

Some providers send a document where a stream was asked for, or a stream where a document was. `stream_of` and
`document_of` make the asked form of the same facts. They keep every field, also those that OpenAI does not have. What
has another shape than OpenAI's counts as absent.
`readable_chunk` adds to a chunk or a document what OpenAI's SDKs cannot do without.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from crplugins.core.body import Body
from crplugins.core.errors import SERVER_ERROR, broken_off
from crplugins.core.finish_reasons import is_end, is_failure
from crplugins.core.lenient_json import decode_with_halves, encoded, joined, object_of, objects_of
from crplugins.core.sse import Event, done_event
from crplugins.core.usage import TokenUsage
from crplugins.core.wire import EmptyErrorFacts, UnnamedErrorFacts

_PIECES: Final = frozenset({
    "content", "refusal", "reasoning_content", "reasoning", "reasoning_text", "arguments", "data", "transcript",
    "thinking", "signature",
})  # fmt: skip
"""Texts that a stream sends in pieces. Of any other text the last one counts, and of a name or an id the first."""

_COUNT_IN_QUOTES: Final = re.compile(rb'_tokens"[ \t\r\n]*+:[ \t\r\n]*+"')
_NAMES: Final = frozenset({"id", "name", "type", "role"})
_HEAD: Final = frozenset({"id", "created", "model"})
_NOT_IN_HEAD: Final = frozenset({"object", "choices", "usage"})


def stream_of(document: bytes) -> list[Event]:
    """The events of a stream that says what a whole answer says, [DONE] included.

    Each choice becomes one chunk with all that it says and one that ends it; the usage has a chunk of its own, as
    OpenAI sends it. No events of a document without a choice. Raises what `decode_with_halves` raises.
    """
    answer = decode_with_halves(document)
    choices = objects_of(answer["choices"])
    if not choices:
        return []
    head = {key: value for key, value in answer.items() if key not in _NOT_IN_HEAD}
    head["object"] = "chat.completion.chunk"
    events: list[Event] = []
    for choice in choices:
        index = choice.get("index", 0)
        said = {key: value for key, value in choice.items() if key not in ("message", "finish_reason")}
        delta = _delta_of({"role": "assistant", **object_of(choice.get("message"))})
        end = {"index": index, "delta": {}, "finish_reason": _reason_of(choice)}
        events.append(_chunk(head, [{"index": index, **said, "delta": delta, "finish_reason": None}]))
        events.append(_chunk(head, [end]))
    if answer.get("usage") is not None:
        events.append(_chunk({**head, "usage": answer["usage"]}, []))
    return [*events, done_event()]


def _reason_of(choice: Mapping[str, Any]) -> Any:
    """Why a whole choice has ended, also where its server does not say it: a stream without it would be one that was
    cut."""
    if is_end(reason := choice.get("finish_reason")) or is_failure(reason):
        return reason
    return "tool_calls" if object_of(choice.get("message")).get("tool_calls") else "stop"


def _chunk(head: Mapping[str, Any], choices: list[Any]) -> Event:
    return Event.of(encoded({**head, "choices": choices}))


def end_of(choice: int, reason: str, chunk: Event) -> Event:
    """The chunk that ends a choice of the stream to which `chunk` belongs."""
    told = object_of(decode_with_halves(chunk.data or b""))
    head = {key: value for key, value in told.items() if key in _HEAD} | {"object": "chat.completion.chunk"}
    return _chunk(head, [{"index": choice, "delta": {}, "finish_reason": reason}])


def document_of(events: Iterable[Event]) -> bytes:
    """The whole answer that the events of a complete stream tell. Linear in their size."""
    head: dict[str, Any] = {}
    choices: dict[int, _Joined] = {}
    for event in events:
        if event.answer is None or not event.data:
            continue
        chunk = object_of(decode_with_halves(event.data))
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


def readable_chunk(event: Event) -> Event:
    """The chunk with a list of `choices`, a `delta` in each (the `message` that stands in its place), null for a finish
    reason that is none (`"null"`), and usage in OpenAI's words, as a whole answer has it too.

    openai-python fails on a chunk without the first two, and OpenAI's SDKs take any text for an end. Nearly every chunk
    is readable, and returned as it is. An error becomes an object with a message: xAI sends its text alone, Google a
    list, for which the SDKs see no error.
    """
    answer = event.answer
    if answer is None or event.data is None:
        return event
    if event.document:
        return readable_usage(event)
    if answer.error is not None:
        return _readable_error(event, answer.error)
    if answer.__class__ is EmptyErrorFacts:
        event = named_error(event)
    if answer.choices is not None:
        for choice in answer.choices:
            if choice.delta is None or (choice.finish_reason and _is_filler(choice.finish_reason)):
                break
        else:
            return event if answer.usage is None else readable_usage(event)
    chunk = decode_with_halves(event.data or b"")
    if not isinstance(chunk, dict):
        return event
    chunk["choices"] = [_readable_choice(choice) for choice in objects_of(chunk.get("choices"))]
    return readable_usage(event.with_data(encoded(chunk)))


def named_error(event: Event) -> Event:
    """The event with an error where clients look for one, and without one that says nothing."""
    answer = event.answer
    if answer.__class__ is UnnamedErrorFacts and answer is not None:
        return event.with_data(encoded({"error": answer.error}))
    if answer.__class__ is not EmptyErrorFacts or event.data is None or _is_listed(event.data):
        return event
    body = Body.of_answer(event.data)
    body.remove("error")
    return event.with_data(body.raw)


def readable_usage(event: Event) -> Event:
    """The chunk or document with its usage in OpenAI's words, where its provider has others (mlx-vlm: `input_tokens`),
    or writes the numbers as texts. Clients read no other, and the AI SDK fails on texts."""
    usage = None if event.answer is None else event.answer.usage
    if usage is None or event.data is None:
        return event
    named = usage.prompt_tokens is not None and usage.completion_tokens is not None
    if (named and _COUNT_IN_QUOTES.search(event.data) is None) or _is_listed(event.data):
        return event
    counted, body = usage.counted(), Body.of_answer(event.data)
    if counted is None:
        return event
    body.set("usage", {**object_of(body.get("usage")), **counts_object(counted)})
    return event.with_data(body.raw)


def _is_listed(data: bytes) -> bool:
    """Whether it stands in a list, as Google sends errors. It is read, and no client understands more than an error."""
    return data.lstrip().startswith(b"[")


def counts_object(usage: TokenUsage) -> dict[str, int]:
    """The three counts that every usage of OpenAI's has."""
    prompt, completion = usage.input_tokens, usage.output_tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _readable_error(event: Event, error: Any) -> Event:
    elsewhere = isinstance(event.answer, UnnamedErrorFacts) or _is_listed(event.data or b"")
    fields = error if isinstance(error, dict) else {"message": error}
    if isinstance(fields.get("message"), str):
        if fields is error and not elsewhere:
            return event
    else:
        fields = {**fields, "message": broken_off().error.message}
    told = {key: value for key, value in fields.items() if value is not None}
    return event.with_data(encoded({"error": {"type": SERVER_ERROR, "param": None, "code": None, **told}}))


def _readable_choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    reason, delta = choice.get("finish_reason"), choice.get("delta")
    if not isinstance(delta, dict):
        delta = _delta_of(object_of(choice.get("message")))
    return {**choice, "delta": delta, "finish_reason": None if _is_filler(reason) else reason}


def _delta_of(message: dict[str, Any]) -> dict[str, Any]:
    """What a message says, as a chunk says it: with an index for each call."""
    if not message.get("tool_calls"):
        return message
    calls = [{"index": number, **call} for number, call in enumerate(objects_of(message["tool_calls"]))]
    return {**message, "tool_calls": calls}


def without_messages(event: Event) -> Event:
    """The chunk without what stands in a `message` in place of a `delta`, because it was said already."""
    chunk = object_of(decode_with_halves(event.data or b""))
    for choice in objects_of(chunk.get("choices")):
        if choice.get("delta") is None:
            choice.pop("message", None)
    return event.with_data(encoded(chunk))


def _is_filler(finish_reason: object) -> bool:
    """A text that clients would take for an end. An empty one they do not."""
    return bool(finish_reason) and not (is_end(finish_reason) or is_failure(finish_reason))


class _Joined:
    """One object that came in pieces: texts are joined, lists grow, objects are joined field by field."""

    __slots__ = ("_calls", "_fields", "_lists", "_objects", "_texts")

    def __init__(self) -> None:
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
            elif isinstance(value, str) and key in _PIECES:
                self._texts.setdefault(key, []).append(value)
            elif isinstance(value, list):
                self._lists.setdefault(key, []).extend(value)
            elif isinstance(value, dict):
                self._objects.setdefault(key, _Joined()).add(value)
            elif key == "finish_reason":
                self._end(value)
            elif key not in _NAMES or not self._fields.get(key):
                self._fields[key] = value

    def _end(self, reason: Any) -> None:
        if is_end(reason):
            self._fields["finish_reason"] = reason

    def _add_calls(self, calls: list[Any]) -> None:
        for call in objects_of(calls):
            index, last = call.get("index"), len(self._calls) - 1
            number = index if isinstance(index, int) else last if last >= 0 and not call.get("id") else last + 1
            self._calls.setdefault(number, _Joined()).add(call)

    def value(self) -> dict[str, Any]:
        whole: dict[str, Any] = {**self._fields, **self._lists}
        whole |= {key: joined(pieces) for key, pieces in self._texts.items()}
        whole |= {key: inner.value() for key, inner in self._objects.items()}
        if self._calls:
            whole["tool_calls"] = [call.value() for _, call in sorted(self._calls.items())]
        return whole
