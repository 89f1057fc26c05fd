"""A deterministic stand-in for a language model: the same request always gets the same answer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from crplugins.handlers.wires.completion import Completion, ModelChoice, ToolCall, pieces, usage_object
from crplugins.testing.hints import Hints
from crplugins.testing.schema import fill
from crplugins.testing.tokens import attachments, prompt_tokens, text_of
from crplugins.testing.tool_calls import calls_for, last_user_text, scripted_calls

ECHO_LIMIT = 400  # characters: a 200 KB prompt must not become a 200 KB answer
COUNT_LIMIT = 10_000
_COUNT_TO = re.compile(r"\bcount to (\d{1,6})", re.IGNORECASE)


def complete(
    request: Mapping[str, Any],
    *,
    id: str | None = None,
    created: int = 1_700_000_000,
    text: str | None = None,
    reasoning: str | None = None,
    tool_calls: Sequence[tuple[str, str]] | None = None,
    usage: Mapping[str, Any] | None = None,
) -> Completion:
    """Answer a chat completion request (`model` and `messages` present).

    It echoes the user ("You said: ..."), counts ("count to 50" gives a long answer), reports tool results, calls
    tools, and fills `response_format`; `max_tokens`, `max_completion_tokens`, `stop`, `n` and `logprobs` are honoured.
    `text` and `tool_calls` (names and arguments) replace the answer, `usage` the usage object; `reasoning` is thought
    before it, and counted with it. `created` is in seconds since 1970.
    """
    answer_id = id or "chatcmpl-" + hashlib.sha256(msgspec.json.encode(request)).hexdigest()[:29]
    if tool_calls is not None:
        calls = scripted_calls(tool_calls, answer_id)
    else:
        calls = calls_for(request, answer_id) if text is None else ()
    tokens, finish_reason = _cut(_say(request, text), request) if text is not None or not calls else ((), "stop")
    if calls:
        finish_reason = _finish_of(calls, request)
    thoughts = pieces(reasoning or "")
    choices = [
        ModelChoice(index, tokens, calls, finish_reason, thoughts) for index in range(request.get("n") or 1)
    ]  # fmt: skip
    generated = sum(map(_generated, choices))
    tier = request.get("service_tier")
    return Completion(
        id=answer_id,
        created=created,
        model=request["model"],
        service_tier="default" if tier in {None, "auto"} else tier,
        choices=choices,
        usage=usage or usage_object(prompt_tokens(request), generated, reasoning=len(thoughts) * len(choices)),
        top_logprobs=(request.get("top_logprobs") or 0) if request.get("logprobs") else None,
        legacy=bool(request.get("functions")) and not request.get("tools"),
    )


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
    return len(choice.thoughts) + len(choice.tokens) + sum(len(pieces(call.arguments)) + 1 for call in choice.calls)
