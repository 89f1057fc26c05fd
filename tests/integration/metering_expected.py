"""What a client must read of a recording, worked out from the recording alone: no code of ours takes part.

Python's own JSON scanner finds where a member begins and ends in the text, and the member is cut out there. Whatever
stands beside it keeps its bytes: spelling of numbers, escapes, order, padding.
"""

import json
import re
from collections.abc import Iterator, Sequence

DONE = "data: [DONE]\n\n"
_SPACE = re.compile(r"[ \t\r\n]*")
_scan = json.JSONDecoder().raw_decode

EMPTY_BUT = {"hf-novita-text": {"sla_metrics"}}
"""Usage chunks of the recordings that tell something else too, and stay without their usage."""


def without_errors(stream: bytes) -> bytes:
    """A stream without its errors, which a handler of ours builds anew."""
    return "".join(frame for frame in _frames(stream.decode()) if not _is_error(frame)).encode()


def _is_error(frame: str) -> bool:
    data = frame.removeprefix("event: error\n").removeprefix("data: ")
    return data.startswith("{") and "error" in json.loads(data)


def with_a_reason(recording: bytes) -> bytes:
    """The recording as a handler of ours ends it, in OpenAI's order: Snowflake names no reason before its usage."""
    *frames, last = _frames(recording.decode().removesuffix(DONE))
    chunks = [json.loads(frame[6:]) for frame in (*frames, last) if frame.startswith("data: {")]
    choices = [choice for chunk in chunks for choice in chunk.get("choices") or ()]
    if not choices or any(choice.get("finish_reason") for choice in choices):
        return recording
    head = {name: value for name, value in chunks[-1].items() if name in ("id", "created", "model")}
    end = {**head, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    assert chunks[-1]["choices"] == []
    return "".join((*frames, f"data: {json.dumps(end, separators=(',', ':'))}\n\n", last, DONE)).encode()


def shown_to_who_asked(recording: bytes) -> bytes:
    """The provider's own bytes, ended as every stream of ours ends."""
    frames = [frame for frame in _frames(recording.decode()) if frame != DONE]
    return "".join([*frames, *_usage_of_groq(frames), DONE]).encode()


def _usage_of_groq(frames: Sequence[str]) -> Iterator[str]:
    """The usage that OpenAI's clients look for, where a stream tells it in a member of Groq's alone."""
    chunks = [json.loads(frame[6:]) for frame in frames if frame.startswith("data: {")]
    told = [chunk for chunk in chunks if "usage" in (chunk.get("x_groq") or {})]
    if told and not any(chunk.get("usage") for chunk in chunks):
        names = ("id", "object", "created", "model", "system_fingerprint")
        chunk = {**{name: told[-1][name] for name in names}, "choices": [], "usage": told[-1]["x_groq"]["usage"]}
        yield f"data: {json.dumps(chunk, separators=(',', ':'))}\n\n"


def shown_to_who_did_not_ask(recording: bytes, recording_id: str) -> bytes:
    """The same without usage of any spelling, and without the chunk that is nothing else."""
    frames = [_without_usage(frame, recording_id) for frame in _frames(shown_to_who_asked(recording).decode())]
    return "".join(frame for frame in frames if frame is not None).encode()


def _frames(text: str) -> Iterator[str]:
    *whole, rest = text.split("\n\n")
    assert rest == "", "a recording ends inside an event"
    for frame in whole:
        yield frame + "\n\n"


def _without_usage(frame: str, recording_id: str) -> str | None:
    prefix, data, end = "data: ", frame.removeprefix("data: ").removesuffix("\n\n"), "\n\n"
    if not frame.startswith(prefix + "{"):
        return frame
    chunk = json.loads(data)
    if isinstance(chunk.get("usage"), dict) and chunk["choices"] == [] and recording_id not in EMPTY_BUT:
        return None
    if "usage" in chunk:
        data = without(data, "usage")
    if "usage" in (chunk.get("x_groq") or {}):
        begin, stop = _value(data, "x_groq")
        data = data[:begin] + without(data[begin:stop], "usage") + data[stop:]
    return prefix + data + end


def without(document: str, name: str) -> str:
    """A JSON object's text without one member and the comma that belongs to it."""
    members = list(_members(document))
    [index] = [number for number, (key, *_) in enumerate(members) if key == name]
    if index:
        return document[: members[index - 1][3]] + document[members[index][3] :]
    rest = members[1][1] if len(members) > 1 else members[0][3]
    return document[: members[0][1]] + document[rest:]


def _value(document: str, name: str) -> tuple[int, int]:
    [(_, _, begin, stop)] = [member for member in _members(document) if member[0] == name]
    return begin, stop


def _members(document: str) -> Iterator[tuple[str, int, int, int]]:
    """Name, start of the name, start and end of the value."""
    position = document.index("{") + 1
    while True:
        start = _skip(document, position)
        if document[start] == "}":
            return
        name, after = _scan(document, start)
        colon = _skip(document, after)
        begin = _skip(document, colon + 1)
        _, stop = _scan(document, begin)
        yield name, start, begin, stop
        position = _skip(document, stop)
        if document[position] == ",":
            position += 1


def _skip(document: str, position: int) -> int:
    found = _SPACE.match(document, position)
    assert found is not None
    return found.end()
