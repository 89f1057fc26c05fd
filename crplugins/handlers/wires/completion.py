"""What a model has said, before it is put into the form of a protocol."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

_PIECE: Final = re.compile(r"\s*+\S{1,8}|\s++")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of an answer. `arguments` is JSON text for a function and free text for a custom tool."""

    id: str
    kind: Literal["function", "custom"]
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """One of `n` answers: thoughts, tokens of text, tool calls. `finish_reason` is chat's word for why it ended."""

    index: int
    tokens: Sequence[str]
    calls: Sequence[ToolCall]
    finish_reason: str
    thoughts: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer.

    `usage` is the usage object of chat completions, or of the protocol that is rendered. `top_logprobs` is None unless
    logprobs were asked for. `legacy` answers the deprecated `functions`: the call stands in `function_call`.
    """

    id: str
    created: int
    model: str
    choices: Sequence[ModelChoice]
    usage: Mapping[str, Any]
    service_tier: str = "default"
    top_logprobs: int | None = None
    legacy: bool = False


def pieces(text: str) -> list[str]:
    """The tokens of a completion, in order; joined they are the text."""
    return _PIECE.findall(text)


def usage_object(
    prompt: int, completion: int, *, cached: int = 0, reasoning: int = 0, cache_write: int = 0
) -> dict[str, Any]:
    """The usage object of chat completions with both details objects; counts are tokens.

    A count of tokens written to a cache is OpenRouter's, and stands there only if there are any.
    """
    written = {"cache_write_tokens": cache_write} if cache_write else {}
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0, **written},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def merged(completions: Sequence[Completion]) -> Completion:
    """One answer with the choices of all, one after another. The usage is that of the first."""
    if len(completions) == 1:
        return completions[0]
    choices = [choice for completion in completions for choice in completion.choices]
    return replace(completions[0], choices=[replace(choice, index=index) for index, choice in enumerate(choices)])


def grouped(tokens: Sequence[str], chunk_size: int | None) -> list[Sequence[str]]:
    """The tokens of each delta: one, or as many as make `chunk_size` characters of text."""
    if chunk_size is None:
        return [(token,) for token in tokens]
    text = "".join(tokens)
    return [(text[start : start + chunk_size],) for start in range(0, len(text), chunk_size)]
