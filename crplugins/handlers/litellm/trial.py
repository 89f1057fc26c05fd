"""Tries what litellm leaves unchanged for a model, see `unchanged`.

The requests are made by `ConfiguredModel` in both ways, and the answers are read in both. Nothing is sent. Where one of
them comes out otherwise, or litellm fails on it, all of them go on being litellm's.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import product
from typing import Any, Final

import msgspec

from crplugins.handlers.litellm.answer import answer_document
from crplugins.handlers.litellm.configs import ConfiguredModel, ProviderRequest
from crplugins.handlers.litellm.request import Arguments
from crplugins.handlers.litellm.unchanged import AS_GIVEN, UnchangedAnswers

Json = Mapping[str, Any]

_BRIEF: Final = {"role": "system", "content": "Be brief."}
_HELLO: Final = {"role": "user", "content": "hi"}
_REPLY: Final = {"role": "assistant", "content": "Hello! <b>Who</b> are you?"}
_ODD: Final = {"role": "user", "content": ' \n{"a": [1, "data:image/png;base64,AA=="]} <think>é 🎉</think> \n'}
_CONVERSATIONS: Final = (
    [_HELLO],
    [_BRIEF, _HELLO],
    [_BRIEF, _HELLO, _REPLY, _ODD],
    [_BRIEF],
    [_HELLO, _HELLO],
    [_HELLO, _BRIEF, _BRIEF],
    [_HELLO, _REPLY],
    [_REPLY, _REPLY, _HELLO, _ODD, _REPLY, _BRIEF],
)
_VALUES: Final[Mapping[str, tuple[Any, ...]]] = {
    "seed": (0, 7, 123456789),
    "stop": ("end", ["a", "b"], ["\n"]),
    "user": ("u-1", "someone@example.com", "x" * 300),
}
_TRACE: Final = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}

_TOOL: Final = {"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {}}}}
_CALL: Final = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"it": "x"}'}}
_COUNTS: Final = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
_DETAILS: Final = {
    "prompt_tokens_details": {"cached_tokens": 2, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 2,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
_KINDS: Final = {
    "prompt_tokens_details": {"cached_tokens": 2, "text_tokens": 3, "audio_tokens": 1, "image_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 0},
}
_CACHE: Final = {"prompt_cache_hit_tokens": 2, "prompt_cache_miss_tokens": 3, "num_sources_used": 0}
_TIMES: Final = {"queue_time": 0.01, "prompt_time": 0.02, "completion_time": 0.03, "total_time": 0.06}


_NOTHING: Final[Json] = {}
_MODEL: Final = "up"
_SAID: Final = {"content": "Hello"}
_VLLMS: Final = {"prompt_logprobs": None, "prompt_token_ids": None, "prompt_text": None, "kv_transfer_params": None}
_GROQS: Final = {"x_groq": {"id": "req_1", "seed": 1}, "usage_breakdown": None, "system_fingerprint": "fp"}
_FILTERED: Final = {
    "hate": {"filtered": False, "severity": "safe"},
    "jailbreak": {"filtered": False, "detected": False},
}
_AZURES: Final = {"prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _FILTERED}]}


def _answer(said: Json, finish: str = "stop", usage: Json | None = _COUNTS, beside: Json = _NOTHING) -> dict[str, Any]:
    """An answer with these members beside those of every answer."""
    choice = {"index": 0, "message": {"role": "assistant", **said}, "finish_reason": finish, "logprobs": None}
    filtered = {"content_filter_results": _FILTERED} if beside is _AZURES else {}
    head = {"id": "c-1", "object": "chat.completion", "created": 7, "model": _MODEL, "service_tier": "default"}
    return {**head, "choices": [choice | filtered], "usage": usage, **beside}


_ANSWERS: Final = (
    _answer({"content": "Hello", "refusal": None, "annotations": []}, "stop", _COUNTS | _DETAILS),
    _answer({"content": ' {"name": "find", "parameters": {"it": "x"}} \n'}, "stop", None),
    _answer({"content": '{"type": "function", "name": "find", "arguments": {"it": "x"}}'}, "length", _COUNTS, _VLLMS),
    _answer({"content": "<p>é 🎉</p>", "refusal": "No."}, "content_filter", _COUNTS | _TIMES, _GROQS),
    _answer({"content": "Hello", "refusal": None}, "stop", _COUNTS | _KINDS, _AZURES),
    _answer({"content": None, "tool_calls": [_CALL]}, "tool_calls", _COUNTS | {"total_tokens": 20}),
    _answer({"content": "Look", "tool_calls": [_CALL, _CALL | {"id": "call_2", "index": 1}]}, "stop", _COUNTS | _CACHE),
    _answer({"tool_calls": [_CALL], "reasoning": "So."}, "tool_calls"),
    _answer({"content": "x", "reasoning_content": "So."}, "stop", _COUNTS | _DETAILS | {"total_tokens": 10}),
    _answer({"content": None, "reasoning_content": "So."}, "stop", _COUNTS | {"prompt_tokens_details": None}),
    _answer({"content": "x", "reasoning": "So.", "reasoning_content": "But."}),
    _answer({"content": "x", "tool_calls": [], "reasoning": None, "audio": None, "function_call": None}),
    _answer({"content": "x"}, beside={"model": "org/up:7b"}),
)
_TIERS: Final = (None, "auto", "default", "flex", "on_demand", "priority", "scale", "standard")


class UnchangedTrial:
    """Tries one model, with the arguments of every request of its deployment."""

    def __init__(self, model: ConfiguredModel, arguments: Callable[[], Arguments]) -> None:
        self._model, self._arguments = model, arguments

    async def run(self) -> None:
        """Sets what the model leaves unchanged. In steps, between which requests go on."""
        model = self._model
        try:
            model.leaves_texts = await self._leaves_texts()
            model.as_given = frozenset([name for name in AS_GIVEN if await self._leaves(name)])
        except Exception:  # whatever a release makes of them
            model.leaves_texts = False
        with suppress(Exception):
            model.answers = await self._answers()

    async def _leaves_texts(self) -> bool:
        """Whether a request with other texts is the same but for them, its headers included."""
        for stream in (False, True):
            first = self._made(_CONVERSATIONS[0], stream=stream)
            for messages in _CONVERSATIONS:
                await asyncio.sleep(0)
                made = self._made(messages, stream=stream, extra_headers=_TRACE)
                if made.own != _TRACE or not _are_same(made, first, messages=messages):
                    return False
        return True

    async def _leaves(self, name: str) -> bool:
        """Whether a value of this argument is put into the request as it is, and nothing else with it."""
        for stream, value in product((False, True), _VALUES[name]):
            await asyncio.sleep(0)
            without = self._made(_CONVERSATIONS[0], stream=stream)
            try:
                made = self._made(_CONVERSATIONS[0], stream=stream, **{name: value})
            except Exception:  # an argument that the model does not take
                return False
            if not _are_same(made, without, **{name: value}):
                return False
        return True

    async def _answers(self) -> UnchangedAnswers | None:
        """How answers are told; None if one of them is changed in another way too."""
        plain = self._made(_CONVERSATIONS[0])
        prefix = self._litellms(plain, _answer(_SAID))["model"].removesuffix(_MODEL)
        answers = UnchangedAnswers(prefix, dict(self._tiers(plain)))
        for request, answer in product(self._asked(), _ANSWERS):
            await asyncio.sleep(0)
            if self._litellms(request, answer) != self._ours(answers, answer):
                return None
        return answers

    def _tiers(self, request: ProviderRequest) -> Iterator[tuple[str | None, str | None]]:
        """What clients are told for each tier. None of those with which litellm reads no answer, as Groq's without."""
        untold = {name: value for name, value in _answer(_SAID).items() if name != "service_tier"}
        for tier in _TIERS:
            with suppress(Exception):
                told = self._litellms(request, _answer(_SAID, beside={"service_tier": tier})).get("service_tier")
                if tier or told == self._litellms(request, untold).get("service_tier"):
                    yield tier, told

    def _asked(self) -> Iterator[ProviderRequest]:
        """The requests whose answers are read: some are read otherwise where there are tools."""
        yield self._made(_CONVERSATIONS[0])
        with suppress(Exception):  # a model that takes none
            yield self._made(_CONVERSATIONS[0], tools=[_TOOL])

    def _made(self, messages: list[Any], *, stream: bool = False, **more: Any) -> ProviderRequest:
        arguments = self._arguments()
        if headers := more.pop("extra_headers", None):
            arguments["extra_headers"] = {**(arguments.get("extra_headers") or {}), **headers}
        return self._model.made([dict(message) for message in messages], {**arguments, **more}, stream=stream)

    def _litellms(self, request: ProviderRequest, answer: Mapping[str, Any]) -> dict[str, Any]:
        """The document of an answer as litellm reads it."""
        import httpx

        headers = {"content-type": "application/json"}
        response = httpx.Response(200, headers=headers, content=msgspec.json.encode(answer))
        document = answer_document(self._model.answer(request, list(_CONVERSATIONS[0]), response), self._model.name)
        assert document is not None
        return document

    def _ours(self, answers: UnchangedAnswers, answer: Mapping[str, Any]) -> dict[str, Any]:
        """The document of an answer as it is told without litellm."""
        told = answers.told(msgspec.json.encode(answer))
        assert told is not None
        document: dict[str, Any] = msgspec.json.decode(told)
        return document


def _are_same(request: ProviderRequest, other: ProviderRequest, **data: Any) -> bool:
    """Whether `request` is `other` with these members in the place of its own, and of such as it has not."""
    optional = {name: value for name, value in data.items() if name != "messages"}
    return (
        (request.url, request.headers, request.json_mode) == (other.url, other.headers, other.json_mode)
        and request.data == {**other.data, **data}
        and request.optional == {**other.optional, **optional}
    )
