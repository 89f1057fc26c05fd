"""Every parameter of OpenAI's chat completions schema, with its check (openai-openapi, CreateChatCompletionRequest).

`model` and `messages` have checks of their own. The order is that in which api.openai.com reports faults, as far as it
is known. A gateway serves many providers, so that more kinds of tools and voices than OpenAI's must pass: those sets
are open, and `closed` closes them for the strict mode.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final

import msgspec

from crplugins.core.request_json import MOST_CHOICES
from crplugins.plugins.guard.checks import (
    AnyObject,
    Array,
    Boolean,
    Check,
    Decimal,
    Either,
    FastPath,
    Integer,
    Map,
    Object,
    OneOf,
    String,
    Tagged,
)

_Name = Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}\Z")]


class _Function(msgspec.Struct, forbid_unknown_fields=True):
    name: _Name
    description: str | None = None
    parameters: dict[str, msgspec.Raw] | None = None
    strict: bool | None = None


class _Tool(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="function"):
    function: _Function


ORDINARY_TOOLS: Final = msgspec.json.Decoder(Annotated[list[_Tool], msgspec.Meta(min_length=1)])


_TEXT = String(nullable=False)
_NAME = String(64, 1, re.compile(r"^[a-zA-Z0-9_-]+$"), nullable=False)
_NAMED = Object({"name": _NAME}, ("name",))
_TEXT_PARTS = Array(Tagged({"text": Object({"text": _TEXT})}, open=True), nullable=False)
_LEVEL = OneOf(("low", "medium", "high"))

_FUNCTION = Object(
    {"name": _NAME, "description": String(), "parameters": AnyObject(), "strict": Boolean()}, ("name",)
)  # fmt: skip
_GRAMMAR = Object({"definition": _TEXT, "syntax": OneOf(("lark", "regex"), nullable=False)}, ("definition", "syntax"))
_CUSTOM = Object(
    {
        "name": _NAME,
        "description": String(),
        "format": Tagged({"text": Object({}), "grammar": Object({"grammar": _GRAMMAR}, ("grammar",))}, nullable=True),
    },
    ("name",),
)
_TOOL = Tagged(
    {
        "function": Object({"function": _FUNCTION}, ("function",)),
        "custom": Object({"custom": _CUSTOM}, ("custom",)),
    },
    open=True,
)
_ALLOWED_TOOLS = Object(
    {"mode": OneOf(("auto", "required"), nullable=False), "tools": Array(AnyObject(nullable=False), nullable=False)},
    ("mode", "tools"),
)
_TOOL_CHOICE = Either(
    {
        b'"': OneOf(("none", "auto", "required")),
        b"{": Tagged(
            {
                "function": Object({"function": _NAMED}, ("function",)),
                "custom": Object({"custom": _NAMED}, ("custom",)),
                "allowed_tools": Object({"allowed_tools": _ALLOWED_TOOLS}, ("allowed_tools",)),
            }
        ),
    },
    "one of one of 'none', 'auto', or 'required' or object",
)
_JSON_SCHEMA = Object(
    {"name": _NAME, "description": String(), "schema": AnyObject(), "strict": Boolean()}, ("name",)
)  # fmt: skip
_RESPONSE_FORMAT = Tagged(
    {
        "json_object": Object({}),
        "json_schema": Object({"json_schema": _JSON_SCHEMA}, ("json_schema",)),
        "text": Object({}),
    },
    nullable=True,
)
_AUDIO = Object(
    {
        "voice": Either(
            {b'"': _TEXT, b"{": Object({"id": _TEXT}, ("id",))}, "one of a string or object", nullable=False
        ),
        "format": OneOf(("wav", "aac", "mp3", "flac", "opus", "pcm16"), nullable=False, open=True),
    },
    ("voice", "format"),
    nullable=True,
)
_PREDICTION = Tagged(
    {
        "content": Object(
            {
                "content": Either(
                    {b'"': _TEXT, b"[": _TEXT_PARTS}, "one of a string or array of objects", nullable=False
                )
            },
            ("content",),
        )
    },
    nullable=True,
)
_PLACE = Object({"country": String(), "region": String(), "city": String(), "timezone": String()})
_WEB_SEARCH = Object(
    {
        "user_location": Tagged({"approximate": Object({"approximate": _PLACE}, ("approximate",))}, nullable=True),
        "search_context_size": _LEVEL,
    },
    nullable=True,
)
_POLICY = Object({"mode": OneOf(("score", "block"), nullable=False)}, ("mode",), nullable=True)
_MODERATION = Object(
    {"model": _TEXT, "policy": Object({"input": _POLICY, "output": _POLICY}, nullable=True)}, ("model",), nullable=True
)

PARAMETERS: Final[Mapping[str, Check]] = MappingProxyType(
    {
        "functions": Array(_FUNCTION, 1, 128, expected="an array of function definitions"),
        "function_call": Either(
            {b'"': OneOf(("none", "auto")), b"{": _NAMED}, "one of one of 'none' or 'auto' or object"
        ),
        "tools": FastPath(ORDINARY_TOOLS, Array(_TOOL, 1)),
        "tool_choice": _TOOL_CHOICE,
        "parallel_tool_calls": Boolean(nullable=False),
        "max_completion_tokens": Integer(1),
        "max_tokens": Integer(1),
        "n": Integer(1, MOST_CHOICES),
        "stop": Either(
            {b'"': _TEXT, b"[": Array(_TEXT, 1, 4)}, "one of a string or array of strings"
        ),
        "temperature": Decimal(0, 2),
        "top_p": Decimal(0, 1),
        "presence_penalty": Decimal(-2, 2),
        "frequency_penalty": Decimal(-2, 2),
        "logit_bias": Map(Decimal(-100, 100, nullable=False)),
        "logprobs": Boolean(),
        "top_logprobs": Integer(0, 20),
        "user": String(),
        "seed": Integer(-(2**63), 2**63 - 1),
        "safety_identifier": String(64),
        "prompt_cache_options": Object(
            {"mode": OneOf(("implicit", "explicit")), "ttl": OneOf(("30m",), open=True)}, nullable=True
        ),
        "prompt_cache_key": String(),
        "prompt_cache_retention": OneOf(("in_memory", "in-memory", "24h")),
        "service_tier": OneOf(("auto", "default", "fast", "flex", "priority", "scale")),
        "stream": Boolean(),
        "stream_options": Object({"include_usage": Boolean(), "include_obfuscation": Boolean()}, nullable=True),
        "store": Boolean(),
        "metadata": Map(String(512, nullable=False), 16, 64, expected="a metadata object"),
        "prediction": _PREDICTION,
        "moderation": _MODERATION,
        "modalities": Array(OneOf(("text", "audio"), nullable=False), expected="an array of strings"),
        "audio": _AUDIO,
        "response_format": _RESPONSE_FORMAT,
        "reasoning_effort": OneOf(("none", "minimal", "low", "medium", "high", "xhigh", "max")),
        "verbosity": _LEVEL,
        "web_search_options": _WEB_SEARCH,
    }
)  # fmt: skip
