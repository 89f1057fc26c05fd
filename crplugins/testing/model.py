"""A deterministic stand-in for a language model: the same request always gets the same answer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from crplugins.testing.hints import Hints
from crplugins.testing.schema import fill
from crplugins.testing.tokens import attachments, pieces, prompt_tokens, text_of
from crplugins.testing.tool_calls import ToolCall, calls_for, last_user_text

ECHO_LIMIT = 400  # characters: a 200 KB prompt must not become a 200 KB answer
COUNT_LIMIT = 10_000
_COUNT_TO = re.compile(r"\bcount to (\d{1,6})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """One of `n` answers: tokens of text, or tool calls."""

    index: int
    tokens: tuple[str, ...]
    calls: tuple[ToolCall, ...]
    finish_reason: str


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer, not yet in wire form; `openai_form` renders it.

    `usage` is OpenAI's usage object. `top_logprobs` is None unless logprobs were asked for. `legacy` answers the
    deprecated `functions`: the call stands in `function_call`.
    """

    id: str
    created: int
    model: str
    service_tier: str
    choices: tuple[ModelChoice, ...]
    usage: Mapping[str, Any]
    top_logprobs: int | None
    legacy: bool


def complete(
    request: Mapping[str, Any],
    *,
    id: str | None = None,
    created: int = 1_700_000_000,
    text: str | None = None,
    usage: Mapping[str, Any] | None = None,
) -> Completion:
    """Answer a chat completion request (`model` and `messages` present).

    It echoes the user ("You said: ..."), counts ("count to 50" gives a long answer), reports tool results, calls
    tools, and fills `response_format`; `max_tokens`, `max_completion_tokens`, `stop`, `n` and `logprobs` are honoured.
    `text` replaces the answer, `usage` the usage object; `created` is in seconds since 1970.
    """
    answer_id = id or "chatcmpl-" + hashlib.sha256(msgspec.json.encode(request)).hexdigest()[:29]
    calls = calls_for(request, answer_id) if text is None else ()
    tokens, finish_reason = ((), _finish_of(calls, request)) if calls else _cut(_say(request, text), request)
    choices = tuple(ModelChoice(index, tokens, calls, finish_reason) for index in range(request.get("n") or 1))
    tier = request.get("service_tier")
    return Completion(
        id=answer_id,
        created=created,
        model=request["model"],
        service_tier="default" if tier in {None, "auto"} else tier,
        choices=choices,
        usage=usage or usage_object(prompt_tokens(request), sum(map(_generated, choices))),
        top_logprobs=(request.get("top_logprobs") or 0) if request.get("logprobs") else None,
        legacy=bool(request.get("functions")) and not request.get("tools"),
    )


def usage_object(prompt: int, completion: int, *, cached: int = 0, reasoning: int = 0) -> dict[str, Any]:
    """OpenAI's usage object with both details objects; counts are tokens."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _say(request: Mapping[str, Any], text: str | None) -> str:
    if text is not None:
        return text
    wanted = request.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        schema = wanted["json_schema"].get("schema") or {"type": "object"}
        return msgspec.json.encode(fill(schema, Hints(last_user_text(request)))).decode()
    if wanted.get("type") == "json_object":
        keys = Hints(last_user_text(request)).quoted or ["answer"]
        return msgspec.json.encode({key: f"some {key}" for key in keys}).decode()
    return _prose(request)


def _prose(request: Mapping[str, Any]) -> str:
    last = request["messages"][-1]
    if last.get("role") in {"tool", "function"}:
        return f"The tool said: {text_of(last)[:ECHO_LIMIT]}"
    text = last_user_text(request)
    if count := _COUNT_TO.search(text):
        return " ".join(str(number + 1) for number in range(min(int(count[1]), COUNT_LIMIT)))
    seen = attachments(last)
    return f"You said: {text[:ECHO_LIMIT]}" + (f" (attachments: {seen})" if seen else "")


def _cut(text: str, request: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    """The tokens that remain after stop sequences and the token limit, and the finish reason."""
    stops = request.get("stop") or ()
    for stop in (stops,) if isinstance(stops, str) else stops:
        text = text.partition(stop)[0]
    tokens = pieces(text)
    limit = request.get("max_completion_tokens") or request.get("max_tokens") or len(tokens)
    return tuple(tokens[:limit]), "length" if limit < len(tokens) else "stop"


def _finish_of(calls: tuple[ToolCall, ...], request: Mapping[str, Any]) -> str:
    legacy = calls and request.get("functions") and not request.get("tools")
    return "function_call" if legacy else "tool_calls"


def _generated(choice: ModelChoice) -> int:
    return len(choice.tokens) + sum(len(pieces(call.arguments)) + 1 for call in choice.calls)
