"""The two forms of one answer: a whole `chat.completion`, and the chunks of a stream.

Some providers send a document where a stream was asked for, or a stream where a document was. `stream_of` and
`document_of` make the asked form of the same facts. They keep every field, also those that OpenAI does not have. What
has another shape than OpenAI's counts as absent.
`readable_chunk` adds to a chunk or a document what OpenAI's SDKs cannot do without; what of that only earlier chunks
tell, `chunk_reader.py` adds. `document_of` is there too.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from crplugins.core.body import Body
from crplugins.core.call_numbers import whole_calls
from crplugins.core.errors import SERVER_ERROR, broken_off
from crplugins.core.finish_reasons import is_end, is_failure, reason_in
from crplugins.core.lenient_json import decode_with_halves, encoded, object_of, objects_of
from crplugins.core.sse import Event, done_event
from crplugins.core.usage import TokenUsage
from crplugins.core.wire import Choice, EmptyErrorFacts, OddFacts, UnnamedErrorFacts

CHUNK: Final = "chat.completion.chunk"
_COUNT_IN_QUOTES: Final = re.compile(rb'_tokens"[ \t\r\n]*+:[ \t\r\n]*+"')
_HEAD: Final = frozenset({"id", "created", "model"})
_TOLD_AS_DELTA: Final = frozenset({"message", "text"})
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
    head["object"] = CHUNK
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
    head = {key: value for key, value in told.items() if key in _HEAD} | {"object": CHUNK}
    return _chunk(head, [{"index": choice, "delta": {}, "finish_reason": reason}])


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
        return readable_usage(readable_document(event))
    if answer.error is not None:
        return _readable_error(event, answer.error)
    if answer.__class__ is EmptyErrorFacts:
        event = named_error(event)
    if answer.choices is not None and answer.__class__ is not OddFacts:
        for choice in answer.choices:
            if choice.delta is None or (choice.finish_reason and _is_filler(choice.finish_reason)) or _has_text(choice):
                break
        else:
            return event if answer.usage is None else readable_usage(event)
    chunk = decode_with_halves(event.data or b"")
    if not isinstance(chunk, dict):
        return event
    told = zip(objects_of(chunk.get("choices")), answer.choices or (), strict=True)
    chunk["choices"] = [_readable_choice(choice, facts) for choice, facts in told]
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


def _readable_choice(choice: Mapping[str, Any], facts: Choice) -> dict[str, Any]:
    reason, delta = reason_in(choice.get("finish_reason")), choice.get("delta")
    if not isinstance(delta, dict):
        delta = _delta_of(_message_of(choice))
    elif not delta.get("content") and isinstance(text := choice.get("text"), str) and text:
        delta = {**delta, "content": text}
    told = {key: value for key, value in choice.items() if key not in _TOLD_AS_DELTA}
    if "index" in told:
        told["index"] = facts.index
    return {**told, "delta": delta, "finish_reason": None if _is_filler(reason) else reason}


def _has_text(choice: Choice) -> bool:
    """Whether it speaks as a choice of completions does, in a `text` of its own."""
    said = choice.delta or choice.message
    return isinstance(choice.text, str) and bool(choice.text) and not (said is not None and said.content)


def readable_document(event: Event) -> Event:
    """A whole answer with a message in each choice, and its calls as OpenAI tells them."""
    choices = [] if event.answer is None else event.answer.choices or []
    calls = [whole_calls(each.message.tool_calls) if each.message is not None else None for each in choices]
    if all(each is None for each in calls) and not any(each.message is None and _has_text(each) for each in choices):
        return event
    document = object_of(decode_with_halves(event.data or b""))
    for choice, repaired in zip(objects_of(document.get("choices")), calls, strict=True):
        if repaired is not None:
            choice["message"]["tool_calls"] = repaired
        elif not isinstance(choice.get("message"), dict) and (said := _message_of(choice)):
            choice["message"] = {"role": "assistant", **said}
            choice.pop("text", None)
    return event.with_data(encoded(document))


def _message_of(choice: Mapping[str, Any]) -> dict[str, Any]:
    """The message of a choice, or the text that stands in its place, as completions have it."""
    message, text = choice.get("message"), choice.get("text")
    if isinstance(message, dict):
        return message
    return {"content": text} if isinstance(text, str) and text else {}


def _delta_of(message: dict[str, Any]) -> dict[str, Any]:
    """What a message says, as a chunk says it: with an index for each call."""
    if not message.get("tool_calls"):
        return message
    calls = [{"index": number, **call} for number, call in enumerate(objects_of(message["tool_calls"]))]
    return {**message, "tool_calls": calls}


def _is_filler(finish_reason: object) -> bool:
    """A text that clients would take for an end. An empty one they do not."""
    return bool(finish_reason) and not (is_end(finish_reason) or is_failure(finish_reason))
