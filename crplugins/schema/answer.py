"""What comes back: the full answer, the chunk of a stream, the model list, the error."""

from typing import Any, Literal

from pydantic import Field

from crplugins.schema.messages import FunctionCall, Open, ToolCall

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class PromptTokensDetails(Open):
    cached_tokens: int | None = None
    audio_tokens: int | None = None
    cache_write_tokens: int | None = None


class CompletionTokensDetails(Open):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None
    accepted_prediction_tokens: int | None = None
    rejected_prediction_tokens: int | None = None


class Usage(Open):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None


class AnswerMessage(Open):
    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    tool_calls: list[ToolCall] | None = None
    function_call: FunctionCall | None = Field(default=None, deprecated=True)


class Choice(Open):
    index: int
    message: AnswerMessage
    logprobs: dict[str, Any] | None
    finish_reason: FinishReason


class ChatCompletion(Open):
    """A full answer."""

    id: str
    object: Literal["chat.completion"]
    created: int = Field(description="Seconds since 1970.")
    model: str
    choices: list[Choice]
    usage: Usage | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None


class FunctionFragment(Open):
    name: str | None = None
    arguments: str | None = None


class ToolCallFragment(Open):
    """`id`, `type` and the name stand on the first fragment of a call only."""

    index: int
    id: str | None = None
    type: str | None = None
    function: FunctionFragment | None = None


class Delta(Open):
    role: Literal["assistant"] | None = None
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallFragment] | None = None


class ChunkChoice(Open):
    index: int
    delta: Delta
    finish_reason: FinishReason | None
    logprobs: dict[str, Any] | None = None


class ChatCompletionChunk(Open):
    """One event of a stream. The chunk with the usage has no choices."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None


class Model(Open):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(Open):
    object: Literal["list"]
    data: list[Model]


class ErrorObject(Open):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(Open):
    """Every 4xx and 5xx. In a stream that has begun it is an event, followed by [DONE]."""

    error: ErrorObject


class Health(Open):
    status: str
