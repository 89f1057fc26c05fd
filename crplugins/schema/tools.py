"""The tools of a request, and the format of its answer."""

from typing import Annotated, Any, Literal

from pydantic import Field

from crplugins.schema.messages import JsonSchema, Open

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")]


class Function(Open):
    """A function of the client that the model may call."""

    name: Name
    description: str | None = Field(
        default=None, description="When to call it and what it does, for the model to read."
    )
    parameters: JsonSchema | None = Field(default=None, description="A JSON schema of the arguments. Without it: none.")
    strict: bool | None = Field(default=None, description="Whether the arguments must follow the schema exactly.")


class FunctionTool(Open):
    type: Literal["function"]
    function: Function


class Grammar(Open):
    definition: str
    syntax: Literal["lark", "regex"]


class FreeText(Open):
    type: Literal["text"]


class GrammarText(Open):
    type: Literal["grammar"]
    grammar: Grammar


class Custom(Open):
    """A tool that takes text instead of JSON arguments."""

    name: Name
    description: str | None = Field(default=None, description="What the tool is for.")
    format: Annotated[FreeText | GrammarText, Field(discriminator="type")] | None = Field(
        default=None, description="The grammar of its input; any text if absent."
    )


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
    mode: Literal["auto", "required"] = Field(description="Whether the model may or must call one of them.")
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
    """Some JSON object; the conversation must ask for JSON too."""

    type: Literal["json_object"]


class SchemaFormat(Open):
    name: Name
    description: str | None = None
    schema_: JsonSchema | None = Field(default=None, alias="schema")
    strict: bool | None = None


class JsonSchemaFormat(Open):
    """JSON that follows a schema."""

    type: Literal["json_schema"]
    json_schema: SchemaFormat


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]
