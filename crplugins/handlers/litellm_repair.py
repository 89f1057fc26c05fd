"""StreamRepair: from the items of a provider's stream to the chunks OpenAI would have sent."""

import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from crplugins.core.errors import DONE_FRAME
from crplugins.handlers.litellm_choice import ChoiceState, Delta
from crplugins.handlers.litellm_fields import fields_of, plain, text_of
from crplugins.handlers.litellm_finish import FAILED, finish_reason_of
from crplugins.handlers.litellm_usage import UsageObject, usage_object


class ProviderFailed(Exception):
    """The stream itself says that the model has failed. `error` is the provider's object, or its words."""

    def __init__(self, error: Any) -> None:
        super().__init__(str(error))
        self.error = error


class StreamRepair:
    """Builds the frames of one answer.

    One id, `created` and model on all chunks (the provider's, if it names them on its first); role first and one finish
    per index, in a chunk of its own with an empty delta; nulls where OpenAI has them; usage on one chunk with
    `choices: []` and null on all others, or nowhere.

    Args:
        model: the name to show if the provider shows none.
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
        return bool(self._choices) and all(choice.finished for choice in self._choices.values())

    @property
    def begun(self) -> bool:
        return bool(self._choices)

    @property
    def text(self) -> str:
        """All that was said."""
        return "".join(piece for choice in self._choices.values() for piece in choice.text)

    def frames(self, item: Any) -> bytes:
        """The frames for one item, none if it says nothing new. Raises `ProviderFailed`."""
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
        frames = [
            self._frame(index, {}, None, "tool_calls" if choice.tool_calls else "stop")
            for index, choice in self._choices.items()
            if not choice.finished
        ]
        if self._shows_usage and self.usage is not None:
            frames.append(_frame({**(self._head or {}), "choices": [], "usage": self.usage}))
        return b"".join(frames) + DONE_FRAME

    def _choice(self, fields: Mapping[str, Any]) -> Iterator[bytes]:
        index = fields.get("index")
        index = index if isinstance(index, int) else 0
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = ChoiceState()
        if state.finished:  # OpenRouter finishes twice; what comes later is no part of the answer
            return
        delta = state.delta(fields.get("delta"))
        logprobs = _logprobs(fields.get("logprobs"))
        if delta or logprobs:
            yield self._frame(index, delta, logprobs, None)
        finish = fields.get("finish_reason")
        if isinstance(finish, str) and finish in FAILED:
            raise ProviderFailed(fields.get("error") or "the model failed")
        if reason := finish_reason_of(finish):
            state.finished = True
            if reason == "stop" and state.tool_calls and "generic" in fields:
                reason = "tool_calls"
            yield self._frame(index, {}, None, reason)

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
        """Keep the last counts. Groq put them into `x_groq`, for a time nowhere else."""
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
