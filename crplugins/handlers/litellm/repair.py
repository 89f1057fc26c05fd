"""StreamRepair: from the items of a provider's stream to the chunks that OpenAI would have sent.

StreamRepair builds the frames and knows whether the answer has come to its end, ChoiceState builds the deltas of one
choice. The same functions repair the message of a whole answer.
"""

import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from crplugins.core.delta import Delta as Facts
from crplugins.core.errors import DONE_FRAME
from crplugins.core.finish_reasons import openais_reason, reason_in
from crplugins.core.lenient_json import encoded
from crplugins.core.sse import Event
from crplugins.core.wire import AnswerFacts, Choice
from crplugins.handlers.litellm.extras import (
    DOCUMENT_EXTRAS,
    MESSAGE_EXTRAS,
    Extras,
    ThinkingBlocks,
    document_extras,
    message_extras,
)
from crplugins.handlers.litellm.finish import ProviderFailed, failed
from crplugins.handlers.litellm.tool_calls import ToolCalls
from crplugins.handlers.litellm.unchanged import TextChunk
from crplugins.handlers.litellm.usage import UsageObject, fields_of, plain, reported_usage, text_of, usage_object
from crplugins.handlers.litellm.words import content_of, refusal_of

Delta = dict[str, Any]

_PLACE: Final = "\0"
"""Where the text of a chunk is to stand."""

_SELDOM: Final = frozenset({*MESSAGE_EXTRAS, "refusal", "provider_specific_fields"})
"""Fields of a delta for which nearly every chunk need not be searched."""


class StreamRepair:
    """Builds the frames of one answer.

    All chunks have one id, `created` and model (the provider's, if its first chunk has them). Each index begins with
    the role and ends with one finish reason, in a chunk of its own with an empty delta. Nulls are where OpenAI has
    them. Usage is on one chunk with `choices: []` and null on all others, or on none. Nothing goes out before the
    first token: a role alone is a sign of life at most, after which the request can still fail over.

    Args:
        model: the name in the chunks if the provider sends none.
        shows_usage: the client asked for usage.
        choices: how many the client asked for.
    """

    def __init__(self, model: str, *, shows_usage: bool, choices: int = 1) -> None:
        self._model = model
        self._shows_usage = shows_usage
        self._expected = choices
        self._head: dict[str, Any] | None = None
        self._choices: dict[int, ChoiceState] = {}
        self._extras: Extras = {}
        self._unsent: Extras = {}
        self._texts: dict[int, tuple[bytes, bytes]] = {}
        self._held = b""
        self._spoken = False
        self.names_ends = False
        self.ends = False  # a finish reason came, for any choice
        self.usage: UsageObject | None = None

    @property
    def finished(self) -> bool:
        """Every choice that was asked for has its finish reason."""
        return self._all_began and all(choice.finish is not None for choice in self._choices.values())

    @property
    def settled(self) -> bool:
        """Every choice has spoken, and then had its finish reason on a chunk that says nothing else: the last word.

        A finish reason beside text may be one of many, and so may one before any text.
        """
        return self._all_began and all(choice.settled for choice in self._choices.values())

    @property
    def seems_settled(self) -> bool:
        """Every choice has its finish reason, if only beside its last words. With the counts that is an end."""
        return self._all_began and all(choice.settled or choice.seems_settled for choice in self._choices.values())

    @property
    def finished_silently(self) -> bool:
        """Every choice has begun and none has ever had a key for a finish reason, as Snowflake's."""
        return self._all_began and not self.names_ends

    @property
    def begun(self) -> bool:
        return bool(self._choices)

    @property
    def calls(self) -> bool:
        """A tool call has begun."""
        return any(choice.tool_calls or choice.calls_function for choice in self._choices.values())

    @property
    def calls_without_name(self) -> bool:
        """A tool call has begun that does not say which tool it calls."""
        return any(choice.tool_calls.lack_a_name for choice in self._choices.values())

    @property
    def _all_began(self) -> bool:
        return len(self._choices) >= self._expected

    def frames(self, item: Any) -> bytes:
        """The frames for one item, none if it has no new content. Raises `ProviderFailed`."""
        fields = msgspec.to_builtins(item) if item.__class__ is TextChunk else fields_of(item)
        if "text" in fields and "choices" not in fields:
            if not any(fields.get(name) for name in ("text", "tool_use", "is_finished", "usage")):
                return b""  # litellm's parsers make one of every comment and `event:` line
            fields = _from_generic(fields)
        if error := fields.get("error"):
            raise ProviderFailed(error, reported_usage(fields))
        if not DOCUMENT_EXTRAS.isdisjoint(fields):
            self._note_extras(document_extras(fields))
        choices = fields.get("choices")
        if choices:
            if self._head is None:
                self._head = self._make_head(fields)
            try:
                self._held += b"".join([frame for choice in choices for frame in self._choice(fields_of(choice))])
            except ProviderFailed as failure:
                failure.usage = reported_usage(fields)
                raise
        if (usage := reported_usage(fields)) is not None:
            self._count(usage, alone=not choices)
        return self._release() if self._spoken else b""

    def text_event(self, chunk: TextChunk) -> Event | None:
        """The event for a piece of text in a choice that has begun; None where more than that is to be sent."""
        choice = chunk.choices[0]
        state = self._choices.get(choice.index)
        if state is None or not state.begun or self._held or self._unsent or self._head is None:
            return None
        state.says_more()
        self._spoken = True
        self.names_ends = self.names_ends or chunk.names_end
        if choice.index not in self._texts:
            self._texts[choice.index] = self._text_frame(choice.index)
        before, after = self._texts[choice.index]
        text = choice.delta.content
        data = b"%b%b%b" % (before, msgspec.json.encode(text), after)
        said = [Choice(choice.index, None, Facts(text))]
        facts = AnswerFacts(self._head["model"], said, service_tier=self._head.get("service_tier"))
        return Event(b"data: %b\n\n" % data, data, b"", False, facts, text)

    def _text_frame(self, index: int) -> tuple[bytes, bytes]:
        """What stands before and after the text in each chunk of a choice."""
        before, _, after = encoded(self._chunk(index, {"content": _PLACE}, None, None)).rpartition(encoded(_PLACE))
        return before, after

    def _count(self, usage: UsageObject, *, alone: bool) -> None:
        """Keeps the counts. Where they have a chunk of their own, it is the last: what has ended there stays so."""
        self.usage = usage
        if alone:
            for choice in self._choices.values():
                choice.seems_settled = choice.finish is not None

    def end(self) -> bytes:
        """The last frames of a complete answer. A provider may end with [DONE] alone; clients want a finish reason."""
        frames = [self._release()]
        for index, choice in self._choices.items():
            frames += [
                self._frame(index, {"tool_calls": [call]}, None, None) for call in choice.tool_calls.without_arguments()
            ]
        frames += [self._frame(index, {}, None, choice.finish_reason) for index, choice in self._choices.items()]
        if self._shows_usage and self.usage is not None and self.usage["prompt_tokens"]:
            frames.append(_frame({**(self._head or {}), "choices": [], "usage": self.usage}))
        return b"".join(frames) + DONE_FRAME

    def _release(self) -> bytes:
        held, self._held = self._held, b""
        return held

    def _note_extras(self, extras: Extras) -> None:
        """Perplexity repeats them on each chunk; they are sent once, and again when they change."""
        for name, value in extras.items():
            if self._extras.get(name) != value:
                self._extras[name] = self._unsent[name] = value

    def _choice(self, fields: Mapping[str, Any]) -> Iterator[bytes]:
        index = fields.get("index")
        index = index if isinstance(index, int) else 0
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = ChoiceState()
        said = state.said(state.told(fields))
        raw = fields.get("logprobs")
        logprobs = None if raw is None else _logprobs(raw)
        self._spoken = self._spoken or bool(said or logprobs)
        if (delta := state.with_role(said)) or logprobs:
            calls = delta.get("tool_calls")
            if calls and len(calls) > 1:  # one in a chunk, as OpenAI sends them: llama-index joins those of one chunk
                yield self._frame(index, {**delta, "tool_calls": calls[:1]}, logprobs, None)
                yield from (self._frame(index, {"tool_calls": [call]}, None, None) for call in calls[1:])
            else:
                yield self._frame(index, delta, logprobs, None)
        self.names_ends = self.names_ends or "finish_reason" in fields
        if (counts := fields.get("usage")) is not None:  # Moonshot's Kimi, on the last chunk
            self.usage = usage_object(counts) or self.usage
        finish = reason_in(fields.get("finish_reason"))
        if (finish is not None or "error" in fields) and failed(fields):
            raise ProviderFailed(fields.get("error") or "the model failed")
        reason = None if finish is None else openais_reason(finish)
        self.ends = self.ends or reason is not None
        state.finishes(reason, alone=not said)

    def _frame(self, index: int, delta: Delta, logprobs: Any, finish: str | None) -> bytes:
        chunk = self._chunk(index, delta, logprobs, finish)
        if self._unsent:
            chunk |= self._unsent
            self._unsent = {}
        return _frame(chunk)

    def _chunk(self, index: int, delta: Delta, logprobs: Any, finish: str | None) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        chunk = {**(self._head or {}), "choices": [choice]}
        if self._shows_usage:
            chunk["usage"] = None
        return chunk

    def _make_head(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        created = fields.get("created")
        head = {
            "id": text_of(fields.get("id")) or f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion.chunk",
            "created": int(created) if isinstance(created, int | float) and created > 0 else int(time.time()),
            "model": text_of(fields.get("model")) or self._model,
        }
        for name in ("service_tier", "system_fingerprint"):
            if value := text_of(fields.get(name)):
                head[name] = value
        return head


def _frame(chunk: Mapping[str, Any]) -> bytes:
    return b"data: " + encoded(chunk) + b"\n\n"


def _logprobs(raw: Any) -> Any:
    logprobs = plain(raw)
    return {"refusal": None, **logprobs} if isinstance(logprobs, dict) else None


def _from_generic(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """litellm's generic chunk (`text`, `tool_use`, `is_finished`, ...) as a chunk of OpenAI's."""
    tool = fields.get("tool_use")
    delta = {"content": fields.get("text"), "tool_calls": [tool] if tool else None}
    finish = fields.get("finish_reason") or "stop" if fields.get("is_finished") else None
    choice = {"index": fields.get("index") or 0, "delta": delta, "finish_reason": finish, "generic": True}
    return {"choices": [choice], "usage": fields.get("usage")}


class ChoiceState:
    """One index of a stream so far."""

    __slots__ = (
        "_begun", "_in_messages", "_open", "_spoken", "_thinking", "calls_function", "finish", "seems_settled",
        "settled", "tool_calls",
    )  # fmt: skip

    def __init__(self) -> None:
        self._begun = False
        self._in_messages: bool | None = None
        self._open = False
        self._spoken = False
        self._thinking = ThinkingBlocks()
        self.finish: str | None = None
        self.settled = False
        self.seems_settled = False
        self.tool_calls = ToolCalls()
        self.calls_function = False

    @property
    def finish_reason(self) -> str:
        """The one to send: a choice with tool calls that stopped, or that says nothing of its end, waits for them."""
        if self.tool_calls and self.finish in (None, "stop"):
            return "tool_calls"
        return self.finish or "stop"

    def finishes(self, reason: str | None, *, alone: bool) -> None:
        """Notes the finish reason of a chunk, which is `alone` if the chunk says nothing else.

        It is kept to the end: litellm's parser of Gemini, and some providers, say `stop` on every chunk. Beside words
        it can be the last one only where a chunk before had none, and no words have followed one.
        """
        if not alone:
            self.seems_settled = self._open and reason is not None and self.finish is None
        self._open = self._open or reason is None
        self.finish = reason or self.finish
        self.settled = self._spoken and alone and (self.settled or reason is not None)
        self._spoken = self._spoken or not alone

    @property
    def begun(self) -> bool:
        """Its role has been sent."""
        return self._begun

    def says_more(self) -> None:
        """Notes a chunk of text alone, with no finish reason."""
        self.seems_settled = self.settled = False
        self._open = self._spoken = True

    def with_role(self, said: Delta) -> Delta:
        """The delta to send. The first one has the role even if the provider omits it, and no later one has it."""
        if self._begun:
            return said
        self._begun = True
        content = None if "tool_calls" in said else ""
        return {"role": "assistant", "content": content, "refusal": None, **said}

    def told(self, fields: Mapping[str, Any]) -> Any:
        """The delta of a choice, or the message in its place: a piece of the answer, or all of it once more."""
        delta, message, text = fields.get("delta"), fields.get("message"), fields.get("text")
        if text and isinstance(text, str) and not (delta and fields_of(delta).get("content")) and message is None:
            return {**fields_of(delta), "content": text}  # as completions have it
        if delta is not None or message is None:
            return delta
        if self._in_messages is None:
            self._in_messages = not self._spoken
        return message if self._in_messages else None

    def said(self, raw: Any) -> Delta:
        """What the provider's delta says beside the role; empty for nothing."""
        fields = fields_of(raw)
        delta: Delta = {}
        content, reasoning = content_of(fields)
        if content:
            delta["content"] = content
        if reasoning:
            delta["reasoning_content"] = reasoning
        if (calls := fields.get("tool_calls")) and (fragments := self.tool_calls.fragments(calls)):
            delta["tool_calls"] = fragments
        if call := fields.get("function_call"):
            self.calls_function = True
            delta["function_call"] = {k: v for k, v in fields_of(call).items() if v is not None}
        if (blocks := fields.get("thinking_blocks")) and (whole := self._thinking.whole(blocks)):
            delta["thinking_blocks"] = whole
        if not _SELDOM.isdisjoint(fields):
            if refusal := refusal_of(fields):
                delta["refusal"] = refusal
            delta |= message_extras(fields)
        return delta
