"""Completions (OpenAI, "Create completion"): a prompt is continued. Editors and base models speak it.

A prompt is a text, a list of texts, the numbers of its tokens, or a list of such lists. Servers add to the form of
their answers: Ollama's and llama.cpp's chunks have fields of their own, vLLM's have `stop_reason` and usage where it is
asked for in each, and some end with the finish reason alone.
"""

from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from crplugins.core.body import Body
from crplugins.core.delta import Delta
from crplugins.core.dialects.chat_usage import with_usage
from crplugins.core.dialects.dialect import Dialect
from crplugins.core.lenient_json import (
    NOT_JSON,
    decode_leniently,
    encoded,
    object_of,
    objects_of,
    struct_of_what_fits,
)
from crplugins.core.reported_usage import ReportedUsage
from crplugins.core.sse import Event, done_event
from crplugins.core.wire import AnswerFacts, Choice, Misshapen


class _Choice(msgspec.Struct):
    index: int = 0
    text: str | None = None
    reasoning: str | None = None  # OpenRouter
    finish_reason: str | UnsetType | None = UNSET


class _Completion(msgspec.Struct):
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: ReportedUsage | None = None
    error: Any = None
    service_tier: str | None = None


_completion: Final = msgspec.json.Decoder(_Completion)


class Completions(Dialect):
    """`POST /v1/completions`. Each of a list of prompts has `n` answers, of `best_of` that are generated."""

    name = "completions"
    path = "/completions"
    prompt = ("prompt", "suffix")
    tokens = ("prompt",)
    output_limits = ("max_tokens", "n_predict", "max_new_tokens")
    parameters = (
        "frequency_penalty", "logit_bias", "max_tokens", "n", "presence_penalty", "seed", "stop", "temperature",
        "top_p", "user",
    )  # fmt: skip
    asks_for_usage = True
    models_in = ("models", "fallbacks")

    def choices(self, body: Body) -> int:
        return ((body.get("n", int) if "n" in body else None) or 1) * _prompts(body)

    def generated(self, body: Body) -> int:
        best_of = body.get("best_of", int) if "best_of" in body else None
        return max(self.choices(body), (best_of or 1) * _prompts(body))

    def read(self, data: bytes) -> AnswerFacts | None:
        try:
            read = _completion.decode(data)
        except NOT_JSON:
            return _read_leniently(data)
        choices = None if read.choices is None else [_choice(each) for each in read.choices]
        return AnswerFacts(read.model, choices, read.usage, read.error, service_tier=read.service_tier)

    with_usage = staticmethod(with_usage)  # it has chat completions' form

    def stream_of(self, document: bytes) -> list[Event] | None:
        """A chunk with all choices, one with the usage, and the end mark."""
        answer = decode_leniently(document)
        choices = objects_of(object_of(answer).get("choices"))
        if not choices:
            return None
        ended = [each | {"finish_reason": each.get("finish_reason") or "stop"} for each in choices]
        told = [answer | {"choices": ended, "usage": None}]
        if answer.get("usage") is not None:
            told.append(answer | {"choices": []})
        return [*self.splitter().feed(b"".join([b"data: " + encoded(each) + b"\n\n" for each in told])), done_event()]

    def document_of(self, events: list[Event]) -> bytes | None:
        head: dict[str, Any] = {}
        whole: dict[Any, dict[str, Any]] = {}
        texts: dict[Any, list[str]] = {}
        for event in events:
            if event.answer is None or not event.data:
                continue
            chunk = object_of(decode_leniently(event.data))
            head |= {name: value for name, value in chunk.items() if name != "choices" and value is not None}
            for choice in objects_of(chunk.get("choices")):
                index = choice.get("index", 0)
                texts.setdefault(index, []).append(choice.get("text") or "")
                named = {name: value for name, value in choice.items() if value is not None}
                whole[index] = whole.get(index, {"logprobs": None, "finish_reason": None}) | named
        choices = [choice | {"index": index, "text": "".join(texts[index])} for index, choice in whole.items()]
        return encoded(head | {"choices": choices})

    def end_mark(self) -> Event:
        return done_event()


def _prompts(body: Body) -> int:
    """How many prompts a request has. Numbers are the tokens of one."""
    if "prompt" not in body or (body.bytes_of("prompt") or b"")[:1] != b"[":
        return 1
    prompts = body.get("prompt", list[msgspec.Raw]) or ()
    return len(prompts) if prompts and bytes(memoryview(prompts[0])[:1]) in (b'"', b"[") else 1


def _read_leniently(data: bytes) -> AnswerFacts | None:
    try:
        fields = decode_leniently(data)
    except NOT_JSON:
        return None
    if not isinstance(fields, dict):
        return Misshapen()
    listed, model = fields.get("choices"), fields.get("model")
    usage = struct_of_what_fits(fields.get("usage"), ReportedUsage)
    error = fields.get("error")
    if listed is not None and not isinstance(listed, list):
        return Misshapen(usage=usage, error=error)
    fitting = [struct_of_what_fits(item, _Choice) for item in listed or ()]
    choices = None if listed is None else [_choice(each) for each in fitting if each is not None]
    return AnswerFacts(model if isinstance(model, str) else None, choices, usage, error)


def _choice(choice: _Choice) -> Choice:
    return Choice(choice.index, choice.finish_reason, delta=Delta(content=choice.text, reasoning=choice.reasoning))


COMPLETIONS: Final = Completions()
