"""Messages and their parts."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Open(BaseModel):
    """A model that allows unknown fields, as the gateway does."""

    model_config = ConfigDict(extra="allow")


class PromptCacheBreakpoint(Open):
    mode: Literal["explicit"]


class Part(Open):
    prompt_cache_breakpoint: PromptCacheBreakpoint | None = Field(
        default=None, description="The prompt may be cached up to this part."
    )


class TextPart(Part):
    type: Literal["text"]
    text: str


class RefusalPart(Open):
    type: Literal["refusal"]
    refusal: str


class ImageUrl(Open):
    url: str = Field(description="An address, or a data URL with the image in base64.")
    detail: Literal["auto", "low", "high"] = "auto"


class ImagePart(Part):
    type: Literal["image_url"]
    image_url: ImageUrl


class InputAudio(Open):
    data: str = Field(description="Base64.")
    format: Literal["wav", "mp3"]


class AudioPart(Part):
    type: Literal["input_audio"]
    input_audio: InputAudio


class File(Open):
    filename: str | None = None
    file_data: str | None = Field(default=None, description="Base64.")
    file_id: str | None = None


class FilePart(Part):
    type: Literal["file"]
    file: File


UserPart = Annotated[TextPart | ImagePart | AudioPart | FilePart, Field(discriminator="type")]


class FunctionCall(Open):
    name: str
    arguments: str = Field(description="JSON as the model generated it, which may be invalid.")


class CustomCall(Open):
    name: str
    input: str


class FunctionToolCall(Open):
    id: str
    type: Literal["function"]
    function: FunctionCall


class CustomToolCall(Open):
    id: str
    type: Literal["custom"]
    custom: CustomCall


ToolCall = Annotated[FunctionToolCall | CustomToolCall, Field(discriminator="type")]


class DeveloperMessage(Open):
    """Instructions of the developer, for models that distinguish them from the system's."""

    role: Literal["developer"]
    content: str | list[TextPart]
    name: str | None = None


class SystemMessage(Open):
    role: Literal["system"]
    content: str | list[TextPart]
    name: str | None = None


class UserMessage(Open):
    role: Literal["user"]
    content: str | list[UserPart]
    name: str | None = None


class AudioReference(Open):
    id: str


class AssistantMessage(Open):
    role: Literal["assistant"]
    content: str | list[Annotated[TextPart | RefusalPart, Field(discriminator="type")]] | None = None
    refusal: str | None = None
    name: str | None = None
    audio: AudioReference | None = None
    tool_calls: Annotated[list[ToolCall], Field(min_length=1)] | None = None
    function_call: FunctionCall | None = Field(default=None, deprecated=True)


class ToolMessage(Open):
    """The result of a tool call in an earlier assistant message."""

    role: Literal["tool"]
    content: str | list[TextPart]
    tool_call_id: str


class FunctionMessage(Open):
    role: Literal["function"]
    content: str | None
    name: str


Message = Annotated[
    DeveloperMessage | SystemMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage,
    Field(discriminator="role"),
]

JsonSchema = dict[str, Any]
