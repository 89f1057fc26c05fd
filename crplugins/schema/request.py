"""The request: every parameter of OpenAI's chat completions schema, the commonest first."""

from typing import Annotated, Literal

from pydantic import Field

from crplugins.schema.messages import Message, Open
from crplugins.schema.options import (
    AudioOptions,
    Level,
    Moderation,
    Prediction,
    PromptCacheOptions,
    StreamOptions,
    WebSearchOptions,
)
from crplugins.schema.tools import Function, ResponseFormat, Tool, ToolChoice, ToolName

Penalty = Annotated[float, Field(ge=-2, le=2)]
Tokens = Annotated[int, Field(ge=1)]
Bias = Annotated[float, Field(ge=-100, le=100)]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Tier = Literal["auto", "default", "flex", "scale", "priority", "fast"]
MetadataName = Annotated[str, Field(max_length=64)]
MetadataValue = Annotated[str, Field(max_length=512)]


class ChatCompletionRequest(Open):
    """The body of `POST /v1/chat/completions`. Further parameters are sent to the provider unchanged."""

    model: str = Field(description="A name of `GET /v1/models`.")
    messages: Annotated[list[Message], Field(min_length=1)] = Field(description="The conversation so far.")
    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(default=1, description="Higher is more random.")
    top_p: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=1, description="Sample from the likeliest tokens that make up this much probability."
    )
    n: Annotated[int, Field(ge=1, le=128)] | None = Field(default=1, description="How many answers to make.")
    stream: bool | None = Field(default=False, description="Answer with server-sent events.")
    stream_options: StreamOptions | None = Field(default=None, description="Only with `stream: true`.")
    stop: str | Annotated[list[str], Field(min_length=1, max_length=4)] | None = Field(
        default=None, description="Texts before which the answer ends."
    )
    max_tokens: Tokens | None = Field(default=None, deprecated=True, description="Use `max_completion_tokens`.")
    presence_penalty: Penalty | None = Field(default=0, description="Above 0: prefer new subjects.")
    frequency_penalty: Penalty | None = Field(default=0, description="Above 0: avoid repetitions.")
    logprobs: bool | None = Field(default=False, description="Send the log probabilities of the answer's tokens.")
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = Field(
        default=None, description="How many alternatives to each token. Only with `logprobs: true`."
    )
    response_format: ResponseFormat | None = Field(default=None, description="Text, JSON, or JSON of a schema.")
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = Field(
        default=None, deprecated=True, description="The same seed requests the same answer, without a guarantee."
    )
    tools: Annotated[list[Tool], Field(min_length=1)] | None = Field(
        default=None, description="What the model may call."
    )
    tool_choice: ToolChoice | None = Field(
        default=None, description="Whether the model must, may or must not call a tool."
    )
    user: str | None = Field(default=None, deprecated=True, description="The end user, by an id of your own.")
    max_completion_tokens: Tokens | None = Field(
        default=None, description="Token limit of the answer, reasoning included."
    )
    parallel_tool_calls: bool = Field(default=True, description="Whether one answer may call several tools.")
    reasoning_effort: Effort | None = Field(
        default=None, description="How much to think first. Each model supports some of the values."
    )
    metadata: Annotated[dict[MetadataName, MetadataValue], Field(max_length=16)] | None = Field(
        default=None, description="Pairs of your own that are kept with a stored answer."
    )
    store: bool | None = Field(default=None, description="Whether the provider keeps the answer for later use.")
    logit_bias: dict[str, Bias] | None = Field(
        default=None, description="Added to the odds of tokens, named by their number: -100 bans one, 100 forces it."
    )
    service_tier: Tier | None = Field(default=None, description="Which of the provider's queues to use.")
    verbosity: Level | None = Field(default=None, description="The desired length of the answer.")
    modalities: list[Literal["text", "audio"]] | None = Field(default=None, description="What the answer consists of.")
    audio: AudioOptions | None = Field(default=None, description="How a spoken answer sounds.")
    prediction: Prediction | None = Field(
        default=None, description="Text that the answer will mostly repeat, which makes it faster."
    )
    web_search_options: WebSearchOptions | None = Field(default=None, description="Search the web for the answer.")
    moderation: Moderation | None = Field(default=None, description="Moderate input and output.")
    functions: Annotated[list[Function], Field(min_length=1, max_length=128)] | None = Field(
        default=None, deprecated=True, description="Use `tools`."
    )
    function_call: Literal["none", "auto"] | ToolName | None = Field(
        default=None, deprecated=True, description="Use `tool_choice`."
    )
    safety_identifier: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="A hash of the end user, by which the provider can recognise abuse."
    )
    prompt_cache_key: str | None = Field(
        default=None, description="Requests with the same key and beginning share the provider's cache."
    )
    prompt_cache_options: PromptCacheOptions | None = Field(
        default=None, description="What to cache, and for how long."
    )
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = Field(
        default=None, deprecated=True, description="Use `prompt_cache_options`."
    )
