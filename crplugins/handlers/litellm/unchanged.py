"""What litellm leaves unchanged for many providers: conversations of texts alone, and answers in OpenAI's usual form.

Those are nearly all of them. litellm walks through each in hundreds of steps, and in the end has changed nothing.
Whether that is so for a model is tried, see `trial`; here is what such a conversation and such an answer are. Anything
else, a member that is not named here included, is left to litellm.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from crplugins.core.usage import MAX_TOKENS, sane_usage
from crplugins.handlers.litellm.answer import Document, finish_reason_of
from crplugins.handlers.litellm.bounded import LONGEST_WORD
from crplugins.handlers.litellm.tool_calls import complete_calls
from crplugins.handlers.litellm.usage import usage_object

_SPEAKERS: Final = ("system", "user", "assistant")


def are_texts(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether messages have a role and a text and nothing else. A blank is no text: some providers are not sent it."""
    for message in messages:
        content = message.get("content")
        if content.__class__ is not str or len(message) != 2 or message.get("role") not in _SPEAKERS:
            return False
        if not content or content.isspace():
            return False
    return bool(messages)


def is_as_given(name: str, value: Any) -> bool:
    """Whether the argument `name` is such as OpenAI has it, of those whose values are a client's own words and numbers.

    What they mean to a provider cannot be remembered, as the next request has others.
    """
    if name == "stop" and value.__class__ is list:
        return all(word.__class__ is str for word in value)
    return value.__class__ is _AS_GIVEN.get(name)


_AS_GIVEN: Final[Mapping[str, type]] = {"seed": int, "stop": str, "user": str}
AS_GIVEN: Final = tuple(_AS_GIVEN)

_Number = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKENS)]
_Nothing = Annotated[list[Any], msgspec.Meta(max_length=0)] | None
_Word = Annotated[str, msgspec.Meta(min_length=1)]


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    """Has no members but those that are named."""


class _PromptDetails(_Strict, omit_defaults=True):
    cached_tokens: _Number | None = None
    audio_tokens: _Number | None = None
    text_tokens: _Number | None = None
    image_tokens: _Number | None = None
    cache_write_tokens: _Number | None = None


class _CompletionDetails(_Strict, omit_defaults=True):
    reasoning_tokens: _Number | None = None
    audio_tokens: _Number | None = None
    accepted_prediction_tokens: _Number | None = None
    rejected_prediction_tokens: _Number | None = None


class _Usage(_Strict):
    prompt_tokens: _Number
    completion_tokens: _Number
    total_tokens: _Number
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    prompt_cache_hit_tokens: _Number | None = None  # DeepSeek's two
    prompt_cache_miss_tokens: _Number | None = None
    num_sources_used: _Number | None = None  # xAI's
    queue_time: float | None = None  # Groq's four
    prompt_time: float | None = None
    completion_time: float | None = None
    total_time: float | None = None


class _Function(_Strict):
    name: _Word
    arguments: _Word


class _Call(_Strict):
    id: _Word
    function: _Function
    type: Literal["function"]
    index: int | None = None


class _Message(_Strict):
    role: Literal["assistant"]
    content: _Word | None = None
    refusal: _Word | None = None
    reasoning_content: str | UnsetType | None = UNSET
    tool_calls: list[_Call] | None = None
    annotations: _Nothing = None
    reasoning: str | None = None
    function_call: None = None
    audio: None = None


class _Choice(_Strict):
    index: Literal[0]
    message: _Message
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter"]
    logprobs: None = None
    stop_reason: None = None  # vLLM's two
    token_ids: None = None
    content_filter_results: Any = None  # Azure's


class _GroqsId(_Strict):
    id: str | None = None
    seed: int | None = None


class _Answer(_Strict):
    id: _Word
    created: Annotated[int, msgspec.Meta(gt=0)]
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_WORD)]
    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1, max_length=1)]
    object: Literal["chat.completion"] = "chat.completion"
    usage: _Usage | None = None
    service_tier: str | None = None
    system_fingerprint: _Word | None = None
    prompt_filter_results: Any = None  # Azure's
    usage_breakdown: None = None  # Groq's two
    x_groq: _GroqsId | None = None
    prompt_logprobs: None = None  # vLLM's four
    prompt_token_ids: None = None
    prompt_text: None = None
    kv_transfer_params: None = None


class _Delta(_Strict):
    content: _Word
    role: Literal["assistant"] | None = None
    refusal: None = None
    reasoning_content: None = None
    reasoning: None = None
    tool_calls: _Nothing = None
    function_call: None = None


class _Said(_Strict):
    delta: _Delta
    index: int = 0
    finish_reason: UnsetType | None = UNSET
    logprobs: None = None
    stop_reason: None = None
    token_ids: None = None
    content_filter_results: Any = None


class TextChunk(_Strict):
    """A chunk that is nothing but a piece of text, as nearly every chunk is."""

    choices: Annotated[list[_Said], msgspec.Meta(min_length=1, max_length=1)]
    id: str | None = None
    object: str | None = None
    created: int | None = None
    model: str | None = None
    usage: None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    obfuscation: str | None = None
    p: str | None = None  # the same of Mistral
    prompt_token_ids: None = None

    @property
    def names_end(self) -> bool:
        """It has the member in which a finish reason would stand."""
        return self.choices[0].finish_reason is None


_usual: Final = msgspec.json.Decoder(_Answer)
_text: Final = msgspec.json.Decoder(TextChunk)

_THOUGHT_ENDS: Final = ("think>", "thinking>")
"""litellm takes a thought out of the text that it stands in."""

_SEVERAL: Final = "multi_tool_use.parallel"
"""A call that a model has made up, and litellm makes several of."""

_OLLAMAS: Final = "fp_ollama"
"""Whose answers litellm gives an id."""


def _usual_answer(body: bytes) -> _Answer | None:
    """An answer in OpenAI's form with nothing seldom in it; None for any other."""
    try:
        answer = _usual.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return None if answer.system_fingerprint == _OLLAMAS or _is_odd(answer.choices[0].message) else answer


def text_chunk(data: bytes) -> TextChunk | None:
    """A chunk with nothing seldom in it; None for any other."""
    try:
        return _text.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


@dataclass(frozen=True, slots=True)
class UnchangedAnswers:
    """What is changed of usual answers all the same, which is the same for all of them.

    Attributes:
        prefix: what stands before the name of the model.
        tiers: what clients are told for each tier that an answer may name.
    """

    prefix: str
    tiers: Mapping[str | None, str | None]

    def told(self, body: bytes) -> bytes | None:
        """The document of a usual answer: that which `answer_document` makes of what litellm reads in it. None for any
        other answer."""
        answer = _usual_answer(body)
        if answer is None or answer.service_tier not in self.tiers:
            return None
        document: Document = {
            "id": answer.id,
            "object": answer.object,
            "created": answer.created,
            "model": self.prefix + answer.model,
            "choices": [_told_choice(answer.choices[0])],
        }
        if answer.usage is not None and (usage := _told_usage(answer.usage)) is not None:
            document["usage"] = usage
        if (tier := self.tiers[answer.service_tier]) is not None:
            document["service_tier"] = tier
        if answer.system_fingerprint is not None:
            document["system_fingerprint"] = answer.system_fingerprint
        return msgspec.json.encode(document)


def _told_choice(choice: _Choice) -> Document:
    said = choice.message
    message: Document = {"role": said.role, "content": said.content, "refusal": said.refusal}
    if thoughts := said.reasoning_content or said.reasoning:
        message["reasoning_content"] = thoughts
    if said.tool_calls:
        message["tool_calls"] = complete_calls(msgspec.to_builtins(said.tool_calls))
    finish = finish_reason_of(choice.finish_reason, calls=bool(said.tool_calls))
    return {"index": choice.index, "message": message, "logprobs": None, "finish_reason": finish}


def _told_usage(usage: _Usage) -> Document | None:
    """The counts, as they are where they are what we count."""
    prompt, completion, total = usage.prompt_tokens, usage.completion_tokens, usage.total_tokens
    of_prompt = usage.prompt_tokens_details or _NONE_OF_PROMPT
    of_completion = usage.completion_tokens_details or _NONE_OF_COMPLETION
    counted = sane_usage(
        prompt,
        completion,
        total,
        cached=of_prompt.cached_tokens,
        cache_write=of_prompt.cache_write_tokens,
        reasoning=of_completion.reasoning_tokens,
    )
    as_told = counted is not None and counted.input_tokens == prompt and counted.output_tokens == completion
    if not as_told or total != prompt + completion or usage.prompt_cache_hit_tokens is not None:
        return usage_object(msgspec.to_builtins(usage))
    told: Document = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}
    if of_prompt != _NONE_OF_PROMPT:
        told["prompt_tokens_details"] = of_prompt
    if of_completion != _NONE_OF_COMPLETION:
        told["completion_tokens_details"] = of_completion
    return told


_NONE_OF_PROMPT: Final = _PromptDetails()
_NONE_OF_COMPLETION: Final = _CompletionDetails()


def _is_odd(message: _Message) -> bool:
    """Whether litellm does more with a message of usual members."""
    content, calls = message.content, message.tool_calls
    if content is not None and (content.isspace() or any(end in content for end in _THOUGHT_ENDS)):
        return True
    if message.reasoning and message.reasoning_content is None:  # it goes by the first of the two names
        return True
    return calls is not None and any(call.function.name == _SEVERAL for call in calls)
