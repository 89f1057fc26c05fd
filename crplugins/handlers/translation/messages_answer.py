"""An answer told as Messages tells it: blocks, one after the other, the reason of its end, and what it has used."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from crplugins.core.dialects import MESSAGES
from crplugins.core.errors import no_completion
from crplugins.core.lenient_json import encoded
from crplugins.core.sse import Event
from crplugins.handlers.histories import UNSIGNED
from crplugins.handlers.protocols import Target
from crplugins.handlers.translation.blocks import Block, Blocks, BlockStep, arguments_of, choice_of
from crplugins.handlers.translation.messages_request import chat_request
from crplugins.handlers.translation.messages_tools import MessagesTools
from crplugins.handlers.translation.shown_blocks import ShownBlocks
from crplugins.handlers.translation.translation import (
    AnswerWriter,
    Fields,
    counts,
    details,
    new_id,
    number,
    text_in,
)

_REASONS: Final = {
    "stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "function_call": "tool_use",
    "content_filter": "refusal",
}  # fmt: skip
_NAMED: Final = ("cached_tokens", "cache_write_tokens", "cache_write_tokens_details", "text_tokens")
"""Details for which Messages has names of its own, or no need."""


class MessagesTranslation:
    def request(self, asked: Fields, target: Target) -> Fields:
        return chat_request(asked, target)

    def writer(self, asked: Fields) -> AnswerWriter:
        return MessagesWriter(asked)


class MessagesWriter:
    """Tells one answer. Of the prompt a stream knows the tokens at its end alone, and tells them there."""

    def __init__(self, asked: Fields) -> None:
        self._names = MessagesTools(asked).names
        self._blocks = Blocks()
        self._usage: Fields = {}
        self._begun = False

    def go_on(self, shown: ShownBlocks) -> None:
        self._begun = True
        self._blocks.go_on(shown.blocks)

    def events(self, chunk: Fields) -> list[Event]:
        self._usage = counts(chunk.get("usage")) or self._usage
        choice = choice_of(chunk)
        if choice is None:
            return []
        events = [] if self._begun else [self._start(chunk)]
        self._begun = True
        return [*events, *self._told(self._blocks.choice(choice))]

    def end(self) -> list[Event]:
        told = [*self._told(self._blocks.end())]
        delta = {"stop_reason": self._reason(), "stop_sequence": None}
        told.append(_event("message_delta", {"delta": delta, "usage": usage_of(self._usage)}))
        return [*told, _event("message_stop", {})]

    def document(self, answer: Fields) -> bytes:
        self._usage = counts(answer.get("usage"))
        choice = choice_of(answer)
        if choice is None:
            raise no_completion()
        _run(self._blocks.choice(choice, whole=True))
        _run(self._blocks.end())
        content = [each for block in self._blocks.told for each in self._whole(block)]
        end = {"stop_reason": self._reason(), "stop_sequence": None}
        return encoded(_head(answer) | {"content": content} | end | {"usage": _whole_usage(self._usage)})

    def _start(self, chunk: Fields) -> Event:
        usage = {**_whole_usage(self._usage), "output_tokens": 0}
        head = _head(chunk) | {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
        return _event("message_start", {"message": head})

    def _reason(self) -> str:
        return _REASONS.get(self._blocks.reason, self._blocks.reason)

    def _told(self, steps: Iterable[BlockStep]) -> Iterator[Event]:
        for step in steps:
            block = step.block
            if step.what == "start":
                yield _event("content_block_start", {"index": block.number, "content_block": self._started(block)})
            elif step.what == "piece":
                yield _delta(block, _piece(block, step.piece))
            else:
                if block.kind == "thinking" and (signature := _signature(block)):
                    yield _delta(block, {"type": "signature_delta", "signature": signature})
                yield _event("content_block_stop", {"index": block.number})

    def _whole(self, block: Block) -> Iterator[Fields]:
        if block.kind != "call":
            whole = self._started(block)
            if whole["type"] == "text":
                whole["text"] = block.text
            elif whole["type"] == "thinking":
                whole |= {"thinking": block.text, "signature": _signature(block)}
            yield whole
            return
        arguments = arguments_of(block)
        if arguments is not None:
            yield self._started(block) | {"input": arguments}
        elif self._blocks.finish != "length":  # else a bound has cut the call, and nobody is to make it
            raise no_completion()

    def _started(self, block: Block) -> Fields:
        if block.kind == "call":
            call = {"type": "tool_use", "id": block.id, "name": self._names.meant(block.name)[1], "input": {}}
            return call | {"caller": {"type": "direct"}}
        if block.kind == "thinking":
            hidden = next((each for each in block.signed if each.get("type") == "redacted_thinking"), None)
            return dict(hidden) if hidden is not None else {"type": "thinking", "thinking": "", "signature": ""}
        # No citations are null in Anthropic's documentation, which is more than the AI SDK reads.
        return {"type": "text", "text": "", "citations": []}


def _run(steps: Iterable[BlockStep]) -> None:
    for _ in steps:
        pass


def _event(kind: str, fields: Fields) -> Event:
    data = encoded({"type": kind, **fields})
    return Event.named(kind.encode(), data, MESSAGES.read(data))


def _delta(block: Block, delta: Fields) -> Event:
    return _event("content_block_delta", {"index": block.number, "delta": delta})


def _head(answer: Fields) -> Fields:
    head = {"id": new_id("msg"), "type": "message", "role": "assistant", "model": text_in(answer.get("model"))}
    return head | {"stop_details": None, "container": None}


def _piece(block: Block, piece: str) -> Fields:
    if block.kind == "call":
        return {"type": "input_json_delta", "partial_json": piece}
    if block.kind == "thinking":
        return {"type": "thinking_delta", "thinking": piece}
    return {"type": "text_delta", "text": piece}


def _signature(block: Block) -> str:
    """Empty for a thought that nobody may read, which is encrypted and not signed."""
    if any(each.get("type") == "redacted_thinking" for each in block.signed):
        return ""
    return next((text_in(each.get("signature")) for each in block.signed if each.get("signature")), UNSIGNED)


def _whole_usage(usage: Fields) -> Fields:
    """The same with every member that Anthropic's has, as its SDKs' types do; null for what nobody has told."""
    told = usage_of(usage)
    parts = {"ephemeral_5m_input_tokens": told["cache_creation_input_tokens"], "ephemeral_1h_input_tokens": 0}
    unsaid = {"cache_creation": parts, "server_tool_use": None, "service_tier": None, "inference_geo": None}
    return {**unsaid, "output_tokens_details": {"thinking_tokens": 0}, **told}


def usage_of(usage: Fields) -> Fields:
    """The usage of a chat completion as Anthropic counts: what a cache has given or was given stands beside the input.

    What it has no name for keeps OpenAI's, so that nothing is billed otherwise.
    """
    prompt = usage.get("prompt_tokens_details")
    prompt = prompt if isinstance(prompt, dict) else {}
    read, written = number(prompt.get("cached_tokens")), number(prompt.get("cache_write_tokens"))
    told: dict[str, Any] = {
        "input_tokens": max(number(usage.get("prompt_tokens")) - read - written, 0),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": number(usage.get("completion_tokens")),
    }
    for name in ("cache_creation", "server_tool_use"):
        if isinstance(usage.get(name), dict):
            told[name] = usage[name]
    more = {key: value for key, value in details(usage, "prompt_tokens_details").items() if key not in _NAMED}
    if more:
        told["prompt_tokens_details"] = more
    out = {key: value for key, value in details(usage, "completion_tokens_details").items() if key != "text_tokens"}
    if out:
        told["output_tokens_details"] = {"thinking_tokens": number(out.get("reasoning_tokens")), **out}
    return told
