"""The two forms of one response: the whole, and the events of a stream.

Some servers send one where the other was asked for. Every field is kept, also those that are not known here.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from crplugins.core.dialects.dialect import TYPED, typed_frame
from crplugins.core.lenient_json import NOT_JSON, decode_with_halves, encoded, object_of, objects_of
from crplugins.core.sse import Event
from crplugins.core.usage import TokenUsage

_LAST: Final = ("completed", "incomplete", "failed", "cancelled")
_UNSAID: Final[dict[str, Any]] = {"output": [], "usage": None, "status": "in_progress"}
"""What a response is that has begun."""


def stream_of(document: bytes) -> bytes | None:
    """The stream that says what a whole response says; None for one that has not ended, which says nothing yet.

    Raises what `decode_with_halves` raises.
    """
    response = object_of(decode_with_halves(document))
    if response.get("status") not in _LAST:
        return None
    frames = (typed_frame({**event, "sequence_number": number}) for number, event in enumerate(_events_of(response)))
    return b"".join(frames)


def _events_of(response: dict[str, Any]) -> Iterator[dict[str, Any]]:
    begun = {**response, **_UNSAID}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(objects_of(response.get("output"))):
        yield from _events_of_item(index, item)
    yield {"type": f"response.{response['status']}", "response": response}


def _events_of_item(index: int, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Its texts and arguments are told in one piece each, for clients that read nothing else."""
    place = {"item_id": item.get("id"), "output_index": index}
    kind = item.get("type")
    unsaid: dict[str, Any] = {"status": "in_progress"} if "status" in item else {}
    told: list[dict[str, Any]] = []
    if kind == "message":
        unsaid["content"] = []
        for number, part in enumerate(objects_of(item.get("content"))):
            told += _events_of_part(part, {**place, "content_index": number})
    elif kind == "reasoning":
        unsaid["summary"] = []
        for number, part in enumerate(objects_of(item.get("summary"))):
            at = {**place, "summary_index": number}
            told.append({"type": "response.reasoning_summary_part.added", **at, "part": {**part, "text": ""}})
            told += _pieces("response.reasoning_summary_text", at, "text", part.get("text"))
            told.append({"type": "response.reasoning_summary_part.done", **at, "part": part})
    elif (stem := _IN_PIECES.get(str(kind))) is not None:
        name = stem[1]
        unsaid[name] = ""
        told += _pieces(stem[0], place, name, item.get(name))
    yield {"type": "response.output_item.added", "output_index": index, "item": {**item, **unsaid}}
    yield from told
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


_IN_PIECES: Final = {
    "function_call": ("response.function_call_arguments", "arguments"),
    "mcp_call": ("response.mcp_call_arguments", "arguments"),
    "custom_tool_call": ("response.custom_tool_call_input", "input"),
    "code_interpreter_call": ("response.code_interpreter_call_code", "code"),
}


def _events_of_part(part: dict[str, Any], at: dict[str, Any]) -> list[dict[str, Any]]:
    name = "refusal" if part.get("type") == "refusal" else "text"
    stem = "response.refusal" if name == "refusal" else "response.output_text"
    begun = {**part, name: "", **({"annotations": []} if "annotations" in part else {})}
    notes = enumerate(objects_of(part.get("annotations")))
    added = "response.output_text.annotation.added"
    return [
        {"type": "response.content_part.added", **at, "part": begun},
        *_pieces(stem, at, name, part.get(name), part.get("logprobs") or [] if name == "text" else None),
        *({"type": added, **at, "annotation_index": number, "annotation": note} for number, note in notes),
        {"type": "response.content_part.done", **at, "part": part},
    ]


def _pieces(
    stem: str, at: dict[str, Any], name: str, text: Any, logprobs: list[Any] | None = None
) -> list[dict[str, Any]]:
    if not isinstance(text, str):
        return []
    more = {} if logprobs is None else {"logprobs": logprobs}
    return [
        {"type": f"{stem}.delta", **at, "delta": text, **more},
        {"type": f"{stem}.done", **at, name: text, **more},
    ]


def document_of(events: Iterable[Event]) -> bytes | None:
    """The whole response that a complete stream tells: its last event has it."""
    for event in reversed([*events]):
        if event.answer is not None and event.answer.ends:
            told = object_of(decode_with_halves(event.data or b""))
            response = told.get("response")
            if isinstance(response, dict):
                return encoded({"object": "response", **response})
    return None


def with_usage(event: Event, usage: dict[str, Any], web_searches: int) -> bytes:
    """The data of an event, or a document, that counts a response, with `usage` in the place of its own."""
    told = object_of(decode_with_halves(event.data or b""))
    response = told if event.document or not isinstance(told.get("response"), dict) else told["response"]
    response["usage"] = usage
    if isinstance(tools := response.get("tool_usage"), dict):
        tools["web_search"] = {"num_requests": web_searches}
    return encoded(told)


def usage_object(usage: TokenUsage) -> dict[str, Any]:
    """OpenAI's `usage` of these counts."""
    written: dict[str, Any] = {"cache_write_tokens": usage.cache_write_input_tokens}
    if usage.long_cache_write_input_tokens:
        short = usage.cache_write_input_tokens - usage.long_cache_write_input_tokens
        kept = {"ttl_30m_tokens": short, "ttl_12h_tokens": usage.long_cache_write_input_tokens}
        written["cache_write_tokens_details"] = kept
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_input_tokens, **written},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_output_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


class _Numbered(msgspec.Struct):
    sequence_number: int | None = None


_numbered: Final = msgspec.json.Decoder(_Numbered)
_PLAIN: Final = (b'{"type":"', b'{"type": "')


def following(failure: bytes, last: Event | None) -> bytes | None:
    """The data of an event of ours with the number that follows that of `last`; None where that has none."""
    try:
        number = None if last is None else _numbered.decode(last.data or b"").sequence_number
    except NOT_JSON:
        return None
    if number is None:
        return None
    return encoded({**msgspec.json.decode(failure), "sequence_number": number + 1})


def readable_event(event: Event) -> Event:
    """The event with its type in its data, where OpenAI's SDKs and Codex read it; some servers name it beside the data
    alone. Nearly every event is readable, and returned as it is."""
    data = event.data
    if not event.name or data is None or data.startswith(_PLAIN) or event.answer is None:
        return event
    try:
        if TYPED.decode(data).type is not None:
            return event
        told = decode_with_halves(data)
    except NOT_JSON:
        return event
    if not isinstance(told, dict):
        return event
    named = encoded({"type": event.name.decode("latin-1"), **told})
    return event.with_data(named, event.answer)
