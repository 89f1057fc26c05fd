"""StreamRepair: from the items of a provider's stream to the chunks that OpenAI would have sent.

StreamRepair builds the frames, ChoiceState the deltas of one choice, ToolCalls their fragments of tool calls;
`finish_reason_of` translates finish reasons. The same functions repair the message of a whole answer.
"""

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from crplugins.core.errors import DONE_FRAME
from crplugins.handlers.litellm.usage import UsageObject, fields_of, plain, text_of, usage_object

Delta = dict[str, Any]
_UNCHANGED = ("annotations", "audio", "images")
_FINISH_REASONS: Final = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
# Finish reasons of other providers, and what OpenAI calls them.
_OPENAI_NAMES: Final = {
    "max_tokens": "length", "MAX_TOKENS": "length", "model_length": "length", "compaction": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls", "TOOL_CALL": "tool_calls", "tool_call": "tool_calls",
    "content_filtered": "content_filter", "guardrail_intervened": "content_filter", "refusal": "content_filter",
    "sensitive": "content_filter", "safety": "content_filter", "SAFETY": "content_filter",
    "RECITATION": "content_filter", "ERROR_TOXIC": "content_filter", "OTHER": "content_filter",
    "BLOCKLIST": "content_filter", "PROHIBITED_CONTENT": "content_filter", "SPII": "content_filter",
}  # fmt: skip

FAILED: Final = frozenset({"error", "abort"})
"""The finish reasons of OpenRouter, and of vLLM and SGLang, for a model that has failed."""


class ProviderFailed(Exception):
    """The stream reports that the model has failed. `error` is the provider's error object, or its text."""

    def __init__(self, error: Any) -> None:
        super().__init__(str(error))
        self.error = error


class StreamRepair:
    """Builds the frames of one answer.

    All chunks have one id, `created` and model (the provider's, if its first chunk has them). Each index begins with
    the role and ends with one finish reason, in a chunk of its own with an empty delta. Nulls are where OpenAI has
    them. Usage is on one chunk with `choices: []` and null on all others, or on none.

    Args:
        model: the name in the chunks if the provider sends none.
        shows_usage: the client asked for usage.
    """

    def __init__(self, model: str, *, shows_usage: bool) -> None:
        self._model = model
        self._shows_usage = shows_usage
        self._head: dict[str, Any] | None = None
        self._choices: dict[int, ChoiceState] = {}
        self.usage: UsageObject | None = None

    @property
    def finished(self) -> bool:
        """Every choice that began has its finish reason."""
        return bool(self._choices) and all(choice.finish is not None for choice in self._choices.values())

    @property
    def begun(self) -> bool:
        return bool(self._choices)

    def frames(self, item: Any) -> bytes:
        """The frames for one item, none if it has no new content. Raises `ProviderFailed`."""
        fields = fields_of(item)
        if "text" in fields and "choices" not in fields:
            if not any(fields.get(name) for name in ("text", "tool_use", "is_finished", "usage")):
                return b""  # litellm's parsers make one of every comment and `event:` line
            fields = _from_generic(fields)
        self._note_usage(fields)
        if error := fields.get("error"):
            raise ProviderFailed(error)
        choices = fields.get("choices")
        if not choices:
            return b""
        if self._head is None:
            self._head = self._make_head(fields)
        return b"".join([frame for choice in choices for frame in self._choice(fields_of(choice))])

    def end(self) -> bytes:
        """The last frames of a complete answer. A provider may end with [DONE] alone; clients want a finish reason."""
        frames = [self._frame(index, {}, None, choice.finish_reason) for index, choice in self._choices.items()]
        if self._shows_usage and self.usage is not None:
            frames.append(_frame({**(self._head or {}), "choices": [], "usage": self.usage}))
        return b"".join(frames) + DONE_FRAME

    def _choice(self, fields: Mapping[str, Any]) -> Iterator[bytes]:
        index = fields.get("index")
        index = index if isinstance(index, int) else 0
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = ChoiceState()
        delta = state.delta(fields.get("delta"))
        logprobs = _logprobs(fields.get("logprobs"))
        if delta or logprobs:
            yield self._frame(index, delta, logprobs, None)
        finish = fields.get("finish_reason")
        if isinstance(finish, str) and finish in FAILED:
            raise ProviderFailed(fields.get("error") or "the model failed")
        # Kept to the end: litellm's parser of Gemini, and some providers, say `stop` on every chunk.
        state.finish = finish_reason_of(finish) or state.finish

    def _frame(self, index: int, delta: Delta, logprobs: Any, finish: str | None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        chunk = {**(self._head or {}), "choices": [choice]}
        if self._shows_usage:
            chunk["usage"] = None
        return _frame(chunk)

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

    def _note_usage(self, fields: Mapping[str, Any]) -> None:
        """Keeps the last counts. Groq sends them in `x_groq`, and for a time sent them nowhere else."""
        raw = fields.get("usage")
        if raw is None and (groq := fields.get("x_groq")):
            raw = fields_of(groq).get("usage")
        if raw is not None:
            self.usage = usage_object(raw) or self.usage


def _frame(chunk: Mapping[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def _logprobs(raw: Any) -> Any:
    if raw is None:
        return None
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

    __slots__ = ("_begun", "finish", "tool_calls")

    def __init__(self) -> None:
        self._begun = False
        self.finish: str | None = None
        self.tool_calls = ToolCalls()

    @property
    def finish_reason(self) -> str:
        """The one to send: a choice with tool calls that stopped, or that says nothing of its end, waits for them."""
        if self.tool_calls and self.finish in (None, "stop"):
            return "tool_calls"
        return self.finish or "stop"

    def delta(self, raw: Any) -> Delta:
        """The delta to send for the provider's; empty if that has no new content.

        The first one has the role even if the provider omits it; no later one has it even if the provider repeats it.
        """
        fields = fields_of(raw)
        delta = self._content_delta(fields)
        if self._begun:
            return delta
        self._begun = True
        content = None if "tool_calls" in delta else ""
        return {"role": "assistant", "content": content, "refusal": None, **delta}

    def _content_delta(self, fields: Mapping[str, Any]) -> Delta:
        delta: Delta = {}
        content, reasoning = _content(fields)
        if content:
            delta["content"] = content
        if reasoning:
            delta["reasoning_content"] = reasoning
        if refusal := refusal_of(fields):
            delta["refusal"] = refusal
        if calls := fields.get("tool_calls"):
            delta["tool_calls"] = self.tool_calls.fragments(calls)
        if call := fields.get("function_call"):
            delta["function_call"] = {k: v for k, v in fields_of(call).items() if v is not None}
        for name in _UNCHANGED:
            if value := fields.get(name):
                delta[name] = plain(value)
        return delta


def _content(fields: Mapping[str, Any]) -> tuple[str, str]:
    """Text and reasoning of a delta. Mistral's reasoning models put both into an array of parts."""
    content = fields.get("content")
    reasoning = text_of(fields.get("reasoning_content")) or text_of(fields.get("reasoning")) or ""
    if isinstance(content, str) or not content:
        return content or "", reasoning
    parts = [fields_of(part) for part in content] if isinstance(content, list) else []
    text = "".join(_text(part) for part in parts if part.get("type") == "text")
    thoughts = [fields_of(thought) for part in parts for thought in part.get("thinking") or ()]
    return text, reasoning + "".join(_text(thought) for thought in thoughts)


def _text(part: Mapping[str, Any]) -> str:
    return text_of(part.get("text")) or ""


def refusal_of(fields: Mapping[str, Any]) -> str | None:
    """The refusal in a delta or a message. litellm moves it to `provider_specific_fields`."""
    return text_of(fields.get("refusal")) or text_of(fields_of(fields.get("provider_specific_fields")).get("refusal"))


class ToolCalls:
    """The tool calls of one choice so far."""

    __slots__ = ("_arguments", "_calls", "_ids")

    def __init__(self) -> None:
        self._arguments: list[list[str]] = []  # the pieces of each call
        self._calls: dict[int, int] = {}  # the provider's index of the call under way -> ours
        self._ids: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._ids)

    def fragments(self, raw: Any) -> list[dict[str, Any]]:
        """The provider's `tool_calls` of one delta."""
        if not isinstance(raw, Sequence):
            return []
        return [self._fragment(position, fields_of(call)) for position, call in enumerate(raw)]

    def _fragment(self, position: int, call: Mapping[str, Any]) -> dict[str, Any]:
        theirs = call.get("index")
        theirs = theirs if isinstance(theirs, int) else position
        ours = self._calls.get(theirs)
        if ours is None or self._begins(call, ours):
            ours = self._calls[theirs] = len(self._ids)
            self._ids.append(text_of(call.get("id")) or f"call_{uuid.uuid4().hex}")
            beginning = _beginning(call)
            self._arguments.append([_arguments_of(beginning)])
            return {"index": ours, "id": self._ids[ours], **beginning}
        continuation = _continuation(call)
        self._arguments[ours].append(_arguments_of(continuation))
        return {"index": ours, **continuation}

    def _begins(self, call: Mapping[str, Any], ours: int) -> bool:
        """Whether a fragment under an index in use begins another call: some providers give all parallel calls the
        index 0.

        A call begins with the name of its function. Some providers repeat the name on every fragment, with the id, and
        some send no id; a call whose arguments are whole is over then. A new id without a name is the same call still.
        """
        if not text_of(fields_of(call.get("function")).get("name") or fields_of(call.get("custom")).get("name")):
            return False
        name = text_of(call.get("id"))
        return name != self._ids[ours] if name is not None else _is_whole(self._arguments[ours])


def _arguments_of(fragment: Mapping[str, Any]) -> str:
    """The arguments of a repaired fragment, without the name."""
    function = fragment.get("function") or fragment.get("custom") or {}
    return str(function.get("arguments") or function.get("input") or "")


def _is_whole(pieces: Sequence[str]) -> bool:
    """Whether these are the whole arguments of a call."""
    last = next((piece for piece in reversed(pieces) if piece.strip()), "")
    if not last.rstrip().endswith("}"):  # most fragments, which need not be joined to be decoded
        return False
    try:
        return isinstance(msgspec.json.decode("".join(pieces)), dict)
    except msgspec.DecodeError:
        return False


def complete_calls(raw: Any) -> list[dict[str, Any]]:
    """The tool calls of a plain answer."""
    calls = [fields_of(call) for call in raw] if isinstance(raw, Sequence) else []
    return [{"id": text_of(call.get("id")) or f"call_{uuid.uuid4().hex}", **_beginning(call)} for call in calls]


def _beginning(call: Mapping[str, Any]) -> dict[str, Any]:
    if custom := fields_of(call.get("custom")):
        return {"type": "custom", "custom": {"name": custom.get("name") or "", "input": custom.get("input") or ""}}
    function = fields_of(call.get("function"))
    return {
        "type": "function",
        "function": {"name": function.get("name") or "", "arguments": _json_text(function.get("arguments"))},
    }


def _continuation(call: Mapping[str, Any]) -> dict[str, Any]:
    if custom := fields_of(call.get("custom")):
        return {"custom": {"input": custom.get("input") or ""}}
    return {"function": {"arguments": _json_text(fields_of(call.get("function")).get("arguments"))}}


def _json_text(arguments: Any) -> str:
    """Arguments as OpenAI sends them, a string of JSON; a few providers send the object itself."""
    if isinstance(arguments, str):
        return arguments
    return msgspec.json.encode(arguments).decode() if arguments else ""


def finish_reason_of(value: Any) -> str | None:
    """OpenAI's finish reason for a provider's; "stop" for one that is not known, None if there is none."""
    if not isinstance(value, str) or value in ("", "null"):
        return None
    return value if value in _FINISH_REASONS else _OPENAI_NAMES.get(value, "stop")
