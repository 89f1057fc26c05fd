"""The responses: the whole answer, the chunk of a stream, the model list, the error."""

from typing import Any, Literal

from pydantic import Field

from crplugins.schema.messages import FunctionCall, Open, ToolCall

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class PromptTokensDetails(Open):
    cached_tokens: int | None = Field(default=None, description="Read from the provider's cache.")
    cache_write_tokens: int | None = Field(default=None, description="Written to the provider's cache.")
    audio_tokens: int | None = None


class CompletionTokensDetails(Open):
    reasoning_tokens: int | None = Field(default=None, description="Spent on thinking.")
    audio_tokens: int | None = None
    accepted_prediction_tokens: int | None = None
    rejected_prediction_tokens: int | None = None


class Usage(Open):
    """Token counts as the provider reports them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None


class Likelihood(Open):
    token: str
    logprob: float
    bytes: list[int] | None = Field(description="The token in UTF-8: one character may be spread over several tokens.")


class TokenLikelihood(Likelihood):
    top_logprobs: list[Likelihood]


class Logprobs(Open):
    content: list[TokenLikelihood] | None
    refusal: list[TokenLikelihood] | None = None


class Citation(Open):
    start_index: int
    end_index: int
    url: str
    title: str


class Annotation(Open):
    type: Literal["url_citation"]
    url_citation: Citation


class SpokenAnswer(Open):
    id: str = Field(description="The id of the recording for a later request.")
    data: str = Field(description="Base64.")
    transcript: str
    expires_at: int = Field(description="Seconds since 1970.")


class AnswerMessage(Open):
    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    annotations: list[Annotation] | None = None
    audio: SpokenAnswer | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: FunctionCall | None = Field(default=None, deprecated=True)


class Choice(Open):
    index: int
    message: AnswerMessage
    logprobs: Logprobs | None
    finish_reason: FinishReason = Field(description="`length`: cut at the token limit of the answer.")


class Envelope(Open):
    """The fields that a whole answer and every chunk of a stream have in common."""

    id: str
    created: int = Field(description="Seconds since 1970.")
    model: str
    usage: Usage | None = None
    service_tier: str | None = Field(default=None, description="The queue that was used.")
    system_fingerprint: str | None = Field(default=None, deprecated=True)
    moderation: dict[str, Any] | None = None


class ChatCompletion(Envelope):
    """A whole answer."""

    object: Literal["chat.completion"]
    choices: list[Choice]
    metadata: dict[str, str] | None = None


class FunctionFragment(Open):
    name: str | None = None
    arguments: str | None = Field(default=None, description="To be appended to the previous fragments.")


class ToolCallFragment(Open):
    """Only the first fragment of a call has `id`, `type` and the name."""

    index: int
    id: str | None = None
    type: str | None = None
    function: FunctionFragment | None = None


class Delta(Open):
    """What this chunk adds to the message."""

    role: Literal["developer", "system", "user", "assistant", "tool"] | None = None
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallFragment] | None = None
    function_call: FunctionFragment | None = Field(default=None, deprecated=True)


class ChunkChoice(Open):
    index: int
    delta: Delta
    finish_reason: FinishReason | None
    logprobs: Logprobs | None = None


class ChatCompletionChunk(Envelope):
    """One event of a stream. The chunk with the usage has no choices."""

    object: Literal["chat.completion.chunk"]
    choices: list[ChunkChoice]
    obfuscation: str | None = Field(
        default=None, description="Padding that hides the lengths of chunks; without meaning."
    )


class Model(Open):
    """A model name that a request may use."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(Open):
    object: Literal["list"]
    data: list[Model]


class ErrorObject(Open):
    message: str = Field(description="A message for people.")
    type: str = Field(description="The kind, such as `invalid_request_error`, `requests`, `tokens`, `server_error`.")
    param: str | None = Field(description="The field at fault, such as `messages[0].role`.")
    code: str | None = Field(description="The reason for programs, such as `model_not_found`.")


class ErrorBody(Open):
    """Every 4xx and 5xx. In a stream that has begun it is an event, followed by [DONE]."""

    error: ErrorObject


class Health(Open):
    status: str


class Readiness(Health):
    """`waiting`, `not_installed`: models that do not answer yet, or need what is not installed."""

    waiting: tuple[str, ...] = ()
    not_installed: tuple[str, ...] = ()
    prices: str
