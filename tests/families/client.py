"""What a client reads of an answer, as strictly as the strictest SDK: every event is a chunk, an error or [DONE]."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Seen:
    """An answer as the client has put it together.

    Attributes:
        usages: each `usage` it was shown.
        problems: what a client would trip over.
    """

    status: int
    text: str = ""
    reasoning: str = ""
    names: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    finishes: list[str] = field(default_factory=list)
    usages: list[Mapping[str, Any]] = field(default_factory=list)
    error: Any = None
    done: bool = False
    problems: list[str] = field(default_factory=list)

    @property
    def calls(self) -> tuple[tuple[str, Any], ...]:
        """Name and arguments of each call; arguments that are no JSON stay text."""
        return tuple(zip(self.names, map(_decoded, self.arguments), strict=True))


def read_answer(status: int, body: bytes, *, streamed: bool) -> Seen:
    seen = Seen(status)
    if streamed and status == 200:
        _read_stream(body, seen)
    else:
        _read_object(json.loads(body), seen)
    return seen


def _read_stream(body: bytes, seen: Seen) -> None:
    *events, rest = body.split(b"\n\n")
    if rest:
        seen.problems.append(f"half an event: {rest[:60]!r}")
    for event in events:
        if event.startswith(b":"):
            continue
        named, _, data = event.rpartition(b"data: ")
        if named not in (b"", b"event: error\n") or b"\n" in data:
            seen.problems.append(f"an event of another kind: {event[:60]!r}")
        elif seen.done:
            seen.problems.append(f"an event behind [DONE]: {event[:60]!r}")
        elif data == b"[DONE]":
            seen.done = True
        else:
            _read_object(json.loads(data), seen)


def _read_object(answer: Any, seen: Seen) -> None:
    if not isinstance(answer, dict):
        seen.problems.append(f"no object: {str(answer)[:80]}")
        return
    if answer.get("error") is not None:
        seen.error = answer["error"]
        if not isinstance(seen.error, dict) or not isinstance(seen.error.get("message"), str):
            seen.problems.append(f"an error of another shape: {seen.error!r}")
    elif not isinstance(answer.get("choices"), list):
        seen.problems.append(f"no choices: {str(answer)[:80]}")
    if answer.get("usage") is not None:
        seen.usages.append(answer["usage"])
    for choice in answer.get("choices") or ():
        _read_said(choice.get("delta") or choice.get("message") or {}, seen)
        if choice.get("finish_reason"):
            seen.finishes.append(choice["finish_reason"])


def _read_said(said: Mapping[str, Any], seen: Seen) -> None:
    content = said.get("content")
    for part in content if isinstance(content, list) else [{"type": "text", "text": content or ""}]:
        if part["type"] == "text":
            seen.text += part["text"]
        else:  # Mistral's thinking, where its bytes pass through
            seen.reasoning += "".join(thought["text"] for thought in part["thinking"])
    seen.reasoning += said.get("reasoning_content") or said.get("reasoning") or ""
    for position, call in enumerate(said.get("tool_calls") or ()):
        _read_call(call, call.get("index", position), seen)


def _read_call(call: Mapping[str, Any], index: int, seen: Seen) -> None:
    function = call.get("function") or {}
    if index == len(seen.names):
        seen.names.append("")
        seen.arguments.append("")
        seen.ids.append("")
    if index > len(seen.names) - 1:
        seen.problems.append(f"a call with the index {index} behind {len(seen.names)} calls")
        return
    if call.get("id") and seen.ids[index] not in ("", call["id"]):
        seen.problems.append(f"a second id for call {index}: {call['id']}")
    seen.ids[index] = call.get("id") or seen.ids[index]
    seen.names[index] += function.get("name") or ""
    seen.arguments[index] += function.get("arguments") or ""


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
