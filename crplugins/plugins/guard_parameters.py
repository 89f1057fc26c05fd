"""Every parameter of OpenAI's chat completions schema, with its check (openai-openapi, CreateChatCompletionRequest).

`model` and `messages` are checked by themselves, `messages` in guard_messages.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from crplugins.plugins.guard_checks import Array, Boolean, Check, Either, Number, Object, OneOf, Pairs, String

_NAME = String(64, re.compile(r"[a-zA-Z0-9_-]+"), nullable=False)
_FUNCTION = Object({"name": _NAME, "description": String(), "strict": Boolean()}, required=("name",), nullable=False)
_TOOL = Object(
    {
        "type": OneOf(("function", "custom"), nullable=False),
        "function": _FUNCTION,
        "custom": Object({"name": _NAME, "description": String()}, required=("name",), nullable=False),
    },
    required=("type",),
    nullable=False,
)
_TOOL_CHOICE = Either(
    {
        b'"': OneOf(("none", "auto", "required")),
        b"{": Object({"type": OneOf(("function", "custom", "allowed_tools"), nullable=False)}, required=("type",)),
    },
    "one of 'none', 'auto', 'required', or an object",
)
_RESPONSE_FORMAT = Object(
    {
        "type": OneOf(("text", "json_object", "json_schema"), nullable=False),
        "json_schema": Object({"name": _NAME, "description": String(), "strict": Boolean()}, required=("name",)),
    },
    required=("type",),
)
_STOP = Either({b'"': String(), b"[": Array(String(nullable=False), 1, 4)}, "a string or an array of strings")
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_TIERS = ("auto", "default", "flex", "scale", "priority", "fast")

PARAMETERS: Final[Mapping[str, Check]] = MappingProxyType(
    {
        "temperature": Number(0, 2),
        "top_p": Number(0, 1),
        "n": Number(1, 128, whole=True),
        "stream": Boolean(),
        "stream_options": Object({"include_usage": Boolean(), "include_obfuscation": Boolean()}),
        "stop": _STOP,
        "max_tokens": Number(1, whole=True),
        "presence_penalty": Number(-2, 2),
        "frequency_penalty": Number(-2, 2),
        "logprobs": Boolean(),
        "top_logprobs": Number(0, 20, whole=True),
        "response_format": _RESPONSE_FORMAT,
        "seed": Number(-(2**63), 2**63 - 1, whole=True),
        "tools": Array(_TOOL, expected="an array of objects"),
        "tool_choice": _TOOL_CHOICE,
        "user": String(),
        "max_completion_tokens": Number(1, whole=True),
        "parallel_tool_calls": Boolean(nullable=False),
        "reasoning_effort": OneOf(_EFFORTS),
        "metadata": Pairs(16, 64, 512),
        "store": Boolean(),
        "logit_bias": Object({}),
        "service_tier": OneOf(_TIERS),
        "verbosity": OneOf(("low", "medium", "high")),
        "modalities": Array(OneOf(("text", "audio"), nullable=False)),
        "audio": Object({"format": String(nullable=False)}),
        "prediction": Object({"type": OneOf(("content",), nullable=False)}),
        "web_search_options": Object({"search_context_size": OneOf(("low", "medium", "high"))}),
        "moderation": Object({"model": String()}),
        "functions": Array(_FUNCTION, 1, 128, expected="an array of objects"),
        "function_call": Either(
            {b'"': OneOf(("none", "auto")), b"{": Object({"name": _NAME}, required=("name",))},
            "one of 'none' or 'auto', or an object",
        ),
        "safety_identifier": String(64),
        "prompt_cache_key": String(),
        "prompt_cache_options": Object({"mode": OneOf(("implicit", "explicit")), "ttl": String()}),
        "prompt_cache_retention": OneOf(("in_memory", "in-memory", "24h")),
    }
)
