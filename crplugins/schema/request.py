"""The request: every parameter of OpenAI's chat completions schema, the commonest first."""

from typing import Annotated, Any, Literal

from pydantic import Field

from crplugins.schema.messages import JsonSchema, Message, Open

Name = Annotated[str, Field(max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")]


class StreamOptions(Open):
    include_usage: bool | None = Field(default=None, description="Send the token counts on a chunk before [DONE].")
    include_obfuscation: bool | None = Field(default=None, description="Pad chunks to even out their lengths.")


class Function(Open):
    name: Name
    description: str | None = None
    parameters: JsonSchema | None = None
    strict: bool | None = None


class FunctionTool(Open):
    type: Literal["function"]
    function: Function


class Custom(Open):
    name: Name
    description: str | None = None
    format: dict[str, Any] | None = None


class CustomTool(Open):
    type: Literal["custom"]
    custom: Custom


Tool = Annotated[FunctionTool | CustomTool, Field(discriminator="type")]


class ToolName(Open):
    name: Name


class FunctionChoice(Open):
    type: Literal["function"]
    function: ToolName


class CustomChoice(Open):
    type: Literal["custom"]
    custom: ToolName


class AllowedTools(Open):
    mode: Literal["auto", "required"]
    tools: list[dict[str, Any]]


class AllowedToolsChoice(Open):
    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


ToolChoice = (
    Literal["none", "auto", "required"]
    | Annotated[FunctionChoice | CustomChoice | AllowedToolsChoice, Field(discriminator="type")]
)


class TextFormat(Open):
    type: Literal["text"]


class JsonObjectFormat(Open):
    type: Literal["json_object"]


class SchemaFormat(Open):
    name: Name
    description: str | None = None
    schema_: JsonSchema | None = Field(default=None, alias="schema")
    strict: bool | None = None


class JsonSchemaFormat(Open):
    type: Literal["json_schema"]
    json_schema: SchemaFormat


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Tokens = Annotated[int, Field(ge=1)]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Tier = Literal["auto", "default", "flex", "scale", "priority", "fast"]
Level = Literal["low", "medium", "high"]
MetadataKey = Annotated[str, Field(max_length=64)]
MetadataValue = Annotated[str, Field(max_length=512)]


class ChatCompletionRequest(Open):
    """What `POST /v1/chat/completions` takes. Parameters that are not described here go to the provider as they are."""

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
    presence_penalty: Penalty | None = Field(default=0, description="Above 0: rather new subjects.")
    frequency_penalty: Penalty | None = Field(default=0, description="Above 0: rather no repetitions.")
    logprobs: bool | None = Field(default=False, description="Send the log probabilities of the answer's tokens.")
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = Field(
        default=None, description="How many alternatives to each token. Only with `logprobs: true`."
    )
    response_format: ResponseFormat | None = Field(default=None, description="Text, JSON, or JSON of a schema.")
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = Field(default=None, deprecated=True)
    tools: list[Tool] | None = Field(default=None, description="What the model may call.")
    tool_choice: ToolChoice | None = Field(default=None, description="Whether it must, may or may not.")
    user: str | None = Field(default=None, deprecated=True, description="The end user, in your own naming.")
    max_completion_tokens: Tokens | None = Field(default=None, description="Bound of the answer, reasoning included.")
    parallel_tool_calls: bool = Field(default=True, description="Whether one answer may call several tools.")
    reasoning_effort: Effort | None = None
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] | None = None
    store: bool | None = None
    logit_bias: dict[str, float] | None = Field(default=None, description="Token to bias, -100 to 100.")
    service_tier: Tier | None = None
    verbosity: Level | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    audio: dict[str, Any] | None = Field(default=None, description="`voice` and `format` of a spoken answer.")
    prediction: dict[str, Any] | None = Field(default=None, description="Text the answer will mostly repeat.")
    web_search_options: dict[str, Any] | None = None
    moderation: dict[str, Any] | None = None
    functions: Annotated[list[Function], Field(min_length=1, max_length=128)] | None = Field(
        default=None, deprecated=True
    )
    function_call: Literal["none", "auto"] | ToolName | None = Field(default=None, deprecated=True)
    safety_identifier: Annotated[str, Field(max_length=64)] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = Field(default=None, deprecated=True)
