"""Completions as a chat completion: the prompt is what the user says, and the text what the model answers."""

import time
from typing import Any, Final

from crplugins.core.dialects import COMPLETIONS
from crplugins.core.errors import no_completion
from crplugins.core.finish_reasons import openais_reason
from crplugins.core.lenient_json import encoded, objects_of
from crplugins.core.sse import Event, done_event
from crplugins.handlers.protocols import Target
from crplugins.handlers.translation.shown_blocks import ShownBlocks
from crplugins.handlers.translation.translation import (
    AnswerWriter,
    Fields,
    invalid,
    missing,
    new_id,
    not_translated,
    text_in,
    without_none,
)

_PASSED: Final = (
    "frequency_penalty", "logit_bias", "n", "presence_penalty", "seed", "stop", "temperature", "top_p", "user",
)  # fmt: skip
_NEVER: Final = {"suffix": None, "echo": False, "logprobs": None, "best_of": 1}
"""What no model that chats can do, and the values that ask for nothing."""


class CompletionsTranslation:
    """A list of prompts, or one in tokens, is refused: one conversation has one prompt, in words."""

    def request(self, asked: Fields, target: Target) -> Fields:
        for name, nothing in _NEVER.items():
            if (value := asked.get(name)) is not None and value != nothing and value != "":
                raise not_translated(name, f"'{name}'")
        if (choices := asked.get("n")) is not None and not isinstance(choices, int):
            raise invalid("n", "an integer")
        said = {"role": "user", "content": _prompt(asked)}
        passed = {name: asked.get(name) for name in _PASSED}
        bound = {target.output_limit: asked.get("max_tokens")}
        return without_none({"model": asked.get("model"), "messages": [said], **passed, **bound, **_stream(asked)})

    def writer(self, asked: Fields) -> AnswerWriter:
        return CompletionsWriter(shows_usage=_asks_for_usage(asked))


def _prompt(asked: Fields) -> str:
    prompt = asked.get("prompt")
    if prompt is None:
        raise missing("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise not_translated("prompt", "a list of prompts, or one in tokens,")
    return prompt


def _stream(asked: Fields) -> Fields:
    """Usage is told where it is asked for, in both."""
    if asked.get("stream") is not True:
        return {}
    return {"stream": True, "stream_options": asked.get("stream_options")}


def _asks_for_usage(asked: Fields) -> bool:
    options = asked.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


class CompletionsWriter:
    """Tells each chunk as one of its own. Thoughts have no place in it."""

    def __init__(self, *, shows_usage: bool) -> None:
        self._shows_usage = shows_usage
        self._id = new_id("cmpl")
        self._created = int(time.time())

    def go_on(self, shown: ShownBlocks) -> None:
        """Each chunk stands for itself."""

    def events(self, chunk: Fields) -> list[Event]:
        choices = [_choice(each, each.get("delta")) for each in objects_of(chunk.get("choices"))]
        choices = [each for each in choices if each["text"] or each["finish_reason"]]
        told: Fields = self._head(chunk) | {"choices": choices}
        if self._shows_usage:
            told["usage"] = chunk.get("usage")
        if not choices and not told.get("usage"):
            return []
        data = encoded(told)
        return [Event(b"data: " + data + b"\n\n", data, b"", False, COMPLETIONS.read(data))]

    def end(self) -> list[Event]:
        return [done_event()]

    def document(self, answer: Fields) -> bytes:
        choices = [_choice(each, each.get("message")) for each in objects_of(answer.get("choices"))]
        if not choices:
            raise no_completion()
        return encoded(self._head(answer) | {"choices": choices, "usage": answer.get("usage")})

    def _head(self, answer: Fields) -> Fields:
        model = text_in(answer.get("model"))
        return {"id": self._id, "object": "text_completion", "created": self._created, "model": model}


def _choice(choice: Fields, said: Any) -> Fields:
    text = text_in(said.get("content")) if isinstance(said, dict) else ""
    reason = openais_reason(choice.get("finish_reason"))
    return {"text": text, "index": choice.get("index", 0), "logprobs": None, "finish_reason": reason}
