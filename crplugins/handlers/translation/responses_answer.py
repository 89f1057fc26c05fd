"""An answer told as Responses tells it: items, each with its parts, in numbered events, and at last the whole."""

import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

from crplugins.core.dialects import RESPONSES
from crplugins.core.errors import no_completion
from crplugins.core.lenient_json import encoded
from crplugins.core.sse import Event
from crplugins.handlers.histories import THOUGHT_ID
from crplugins.handlers.protocols import Target
from crplugins.handlers.translation.blocks import Block, Blocks, BlockStep, arguments_of, choice_of
from crplugins.handlers.translation.responses_request import chat_request, sealed
from crplugins.handlers.translation.responses_tools import INPUT, OfferedTools
from crplugins.handlers.translation.shown_blocks import ShownBlocks, ShownResponse
from crplugins.handlers.translation.translation import (
    AnswerWriter,
    Fields,
    counts,
    details,
    new_id,
    number,
    text_in,
)

_ECHOED: Final[dict[str, Any]] = {
    "frequency_penalty": 0.0, "instructions": None, "max_output_tokens": None, "max_tool_calls": None, "metadata": {},
    "parallel_tool_calls": True, "presence_penalty": 0.0, "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None}, "safety_identifier": None, "temperature": 1.0,
    "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_logprobs": 0, "top_p": 1.0,
    "truncation": "disabled", "user": None,
}  # fmt: skip
"""What a response repeats of its request, and what it says where that says nothing."""

_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
_PREFIXES: Final = {"thinking": THOUGHT_ID, "text": "msg", "refusal": "msg", "call": "fc"}


class ResponsesTranslation:
    def request(self, asked: Fields, target: Target) -> Fields:
        return chat_request(asked, target)

    def writer(self, asked: Fields) -> AnswerWriter:
        return ResponsesWriter(asked)


class ResponsesWriter:
    """Tells one answer. It is not stored: `store` is false in it."""

    def __init__(self, asked: Fields) -> None:
        self._blocks = Blocks()
        self._usage: Fields = {}
        self._tools = OfferedTools(asked)
        self._number = 0
        self._read = RESPONSES.reader()
        self._ids: dict[int, str] = {}
        self._items: dict[int, Fields] = {}  # that another one has told whole
        self._head: Fields | None = None
        self._seals = "reasoning.encrypted_content" in (asked.get("include") or [])
        self._echo = {
            name: default if (value := asked.get(name)) is None else value for name, default in _ECHOED.items()
        }
        self._echo["tools"] = [*map(_whole_tool, self._echo["tools"])]

    def go_on(self, shown: ShownBlocks) -> None:
        assert isinstance(shown, ShownResponse)
        self._head, self._echo, self._number = shown.head, {}, shown.next_number
        self._ids, self._items = {**shown.ids}, {**shown.items}
        self._blocks.go_on(shown.blocks)
        for block in shown.blocks:  # heard already, and not once more where it is whole
            place = {"output_index": block.number, "content_index": 0, "summary_index": 0}
            kind = "reasoning_summary_text" if block.kind == "thinking" else "output_text"
            self._read(encoded({"type": f"response.{kind}.delta", "delta": ".", **place}), b"")

    def events(self, chunk: Fields) -> list[Event]:
        self._usage = counts(chunk.get("usage")) or self._usage
        choice = choice_of(chunk)
        if choice is None:
            return []
        events: list[Event] = []
        if self._head is None:
            self._begin(chunk)
            events += [
                self._event(kind, {"response": self._response("in_progress")})
                for kind in ("response.created", "response.in_progress")
            ]
        return [*events, *self._told(self._blocks.choice(choice))]

    def end(self) -> list[Event]:
        told = [*self._told(self._blocks.end())]
        status = self._status()
        return [*told, self._event(f"response.{status}", {"response": self._whole(status)})]

    def document(self, answer: Fields) -> bytes:
        self._usage = counts(answer.get("usage"))
        choice = choice_of(answer)
        if choice is None:
            raise no_completion()
        self._begin(answer)
        for _ in (*self._blocks.choice(choice, whole=True), *self._blocks.end()):
            pass
        return encoded(self._whole(self._status()))

    def _begin(self, answer: Fields) -> None:
        tier = text_in(answer.get("service_tier"))
        head = {"id": new_id("resp"), "object": "response", "created_at": int(time.time())}
        head |= {"model": text_in(answer.get("model")), **({"service_tier": tier} if tier else {})}
        self._head = head

    def _status(self) -> str:
        """A refusal is a whole answer, in OpenAI's words; one that a filter has cut is none."""
        return "incomplete" if self._blocks.finish in _INCOMPLETE else "completed"

    def _response(self, status: str) -> Fields:
        """The response as far as it has come."""
        ended = int(time.time()) if status == "completed" else None
        told: Fields = {"status": status, "completed_at": ended, "background": False, "error": None}
        told |= {"incomplete_details": None, "output": []}
        return (self._head or {}) | told | self._echo | {"previous_response_id": None, "store": False, "usage": None}

    def _whole(self, status: str) -> Fields:
        output = [item for block in self._blocks.told if (item := self._item(block, "completed")) is not None]
        if status == "incomplete" and output and "status" in output[-1]:
            output[-1]["status"] = "incomplete"
        told: Fields = {"output": output, "usage": usage_of(self._usage) if self._usage else None}
        if status == "incomplete":
            told["incomplete_details"] = {"reason": _INCOMPLETE[str(self._blocks.finish)]}
        return self._response(status) | told

    def _told(self, steps: Iterable[BlockStep]) -> Iterator[Event]:
        for step in steps:
            block = step.block
            if step.what == "start":
                yield from self._start(block)
            elif step.what == "piece":
                yield from self._piece(block, step.piece)
            else:
                yield from self._stop(block)

    def _start(self, block: Block) -> Iterator[Event]:
        item = self._item(block, "in_progress", begun=True)
        yield self._event("response.output_item.added", {"output_index": block.number, "item": item})
        if block.kind == "thinking":
            yield self._of(block, "reasoning_summary_part.added", part={"type": "summary_text", "text": ""})
        elif block.kind != "call":
            yield self._of(block, "content_part.added", part=_content(block, ""))

    def _piece(self, block: Block, piece: str) -> Iterator[Event]:
        if block.kind == "thinking":
            yield self._of(block, "reasoning_summary_text.delta", delta=piece)
        elif block.kind == "refusal":
            yield self._of(block, "refusal.delta", delta=piece)
        elif block.kind == "text":
            yield self._of(block, "output_text.delta", delta=piece, logprobs=[])
        elif block.name not in self._tools.custom and block.name not in self._tools.builtin:
            # What the others say is inside the arguments, and told when it is whole.
            yield self._of(block, "function_call_arguments.delta", delta=piece)

    def _stop(self, block: Block) -> Iterator[Event]:
        text = block.text
        if block.kind == "thinking":
            yield self._of(block, "reasoning_summary_text.done", text=text)
            yield self._of(block, "reasoning_summary_part.done", part={"type": "summary_text", "text": text})
        elif block.kind == "refusal":
            yield self._of(block, "refusal.done", refusal=text)
            yield self._of(block, "content_part.done", part=_content(block, text))
        elif block.kind == "text":
            for place, note in enumerate(map(_flat, block.notes)):
                yield self._of(block, "output_text.annotation.added", annotation=note, annotation_index=place)
            yield self._of(block, "output_text.done", text=text, logprobs=[])
            yield self._of(block, "content_part.done", part=_content(block, text))
        elif block.name in self._tools.custom:
            text = _input_of(block)
            yield self._of(block, "custom_tool_call_input.delta", delta=text)
            yield self._of(block, "custom_tool_call_input.done", input=text)
        elif block.name not in self._tools.builtin:
            name = self._tools.names.meant(block.name)[1]
            yield self._of(block, "function_call_arguments.done", name=name, arguments=_arguments(block))
        item = self._item(block, "completed")
        yield self._event("response.output_item.done", {"output_index": block.number, "item": item})

    def _of(self, block: Block, kind: str, **fields: Any) -> Event:
        """An event about a part of a block."""
        place = {"item_id": self._id(block), "output_index": block.number}
        if block.kind == "thinking":
            place["summary_index"] = 0
        elif block.kind != "call":
            place["content_index"] = 0
        return self._event(f"response.{kind}", place | fields)

    def _event(self, kind: str, fields: Fields) -> Event:
        data = encoded({"type": kind, "sequence_number": self._number, **fields})
        self._number += 1
        return Event.named(kind.encode(), data, self._read(data, b""))

    def _id(self, block: Block) -> str:
        if block.number not in self._ids:
            prefix = _PREFIXES[block.kind]
            if block.kind == "call" and block.name in self._tools.custom:
                prefix = "ctc"
            elif block.kind == "call" and block.name in self._tools.builtin:
                prefix = self._tools.builtin[block.name].prefix
            self._ids[block.number] = new_id(prefix)
        return self._ids[block.number]

    def _item(self, block: Block, status: str, *, begun: bool = False) -> Fields:
        """The item of a block, whole or with nothing in it yet."""
        if (whole := self._items.get(block.number)) is not None:
            return whole
        text = "" if begun else block.text
        if block.kind == "thinking":
            summary = [{"type": "summary_text", "text": text}] if text else []
            sealed_in = {"encrypted_content": sealed(block.signed)} if self._seals and block.signed else {}
            return {"id": self._id(block), "type": "reasoning", "summary": summary, **({} if begun else sealed_in)}
        if block.kind != "call":
            content = [] if begun else [_content(block, text)]
            head = {"id": self._id(block), "type": "message", "status": status, "role": "assistant"}
            return head | {"content": content}
        if (builtin := self._tools.builtin.get(block.name)) is not None:
            said = builtin.told({} if begun else arguments_of(block) or {})
            return {"id": self._id(block), "type": builtin.call, "status": status, "call_id": block.id, **said}
        space, name = self._tools.names.meant(block.name)
        call = {"call_id": block.id, "name": name, **({"namespace": space} if space else {})}
        if block.name in self._tools.custom:
            said = {"input": "" if begun else _input_of(block)}
            return {"id": self._id(block), "type": "custom_tool_call", "status": status, **call, **said}
        arguments = {"arguments": "" if begun else _arguments(block)}
        return {"id": self._id(block), "type": "function_call", "status": status, **call, **arguments}


def _whole_tool(tool: Any) -> Any:
    """A tool as a response repeats it: of a function, with what the request has left out."""
    if not isinstance(tool, dict) or tool.get("type") != "function":
        return tool
    return {"description": None, "parameters": None, "strict": None, **tool}


def _content(block: Block, text: str) -> Fields:
    if block.kind == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [*map(_flat, block.notes)], "logprobs": []}


def _arguments(block: Block) -> str:
    return block.text or "{}"


def _input_of(block: Block) -> str:
    """The text with which a tool is called that was offered as a function; what the model wrote, if that is none."""
    arguments = arguments_of(block)
    value = None if arguments is None else arguments.get(INPUT)
    return value if isinstance(value, str) else block.text


def _flat(note: Fields) -> Fields:
    """An annotation: chat completions have what it says under its type."""
    kind = text_in(note.get("type"))
    inner = note.get(kind)
    return {"type": kind, **inner} if isinstance(inner, dict) else note


def usage_of(usage: Fields) -> Fields:
    """The usage of a chat completion in the names of Responses. What it has no name for keeps its own."""
    prompt, completion = number(usage.get("prompt_tokens")), number(usage.get("completion_tokens"))
    told: Fields = {
        "input_tokens": prompt,
        "input_tokens_details": {
            "cached_tokens": 0,
            "cache_write_tokens": 0,
            **details(usage, "prompt_tokens_details"),
        },
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": 0, **details(usage, "completion_tokens_details")},
        "total_tokens": prompt + completion,
    }
    return told | {name: usage[name] for name in ("cache_creation", "server_tool_use") if name in usage}
