"""What Anthropic refuses of a message (https://docs.anthropic.com/en/api/messages), in the words of its API.

Roles need not alternate: messages of one role that follow each other are joined there. After the first message the
system may speak too, as it does in Claude Code; which models know that, their providers say.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from crplugins.core.errors import GatewayError
from crplugins.plugins.guard.checks import (
    AnyObject,
    Array,
    Boolean,
    Check,
    Decimal,
    Either,
    Integer,
    Object,
    OneOf,
    String,
    Tagged,
    members_of,
    text_of,
)
from crplugins.plugins.guard.refusals import missing

_TEXT = String(nullable=False)
_BLOCKS = Array(Tagged({
    "text": Object({"text": _TEXT}, ("text",)),
    "image": Object({"source": AnyObject(nullable=False)}, ("source",)),
    "document": Object({"source": AnyObject(nullable=False)}, ("source",)),
    "tool_use": Object({"id": _TEXT, "name": _TEXT, "input": AnyObject(nullable=False)}, ("id", "name", "input")),
    "tool_result": Object({"tool_use_id": _TEXT}, ("tool_use_id",)),
    "thinking": Object({"thinking": _TEXT}, ("thinking",)),
}, open=True), nullable=False, expected="a list")  # fmt: skip
_CONTENT = Either({b'"': _TEXT, b"[": _BLOCKS}, "a string or a list of blocks", nullable=False)

_ROLES: Final = ("user", "assistant", "system")
_FIRST: Final = "messages[0]"
_SYSTEM_ROLE: Final = (
    'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, not "system" as an '
    "input message role."
)
_EMPTY: Final = "messages: at least one message is required"


class AnthropicTurn(msgspec.Struct, frozen=True):
    """A message of a conversation."""

    def __call__(self, path: str, raw: bytes) -> None:
        members = members_of(path, raw)
        for name in ("role", "content"):
            if name not in members:
                raise missing(f"{path}.{name}")
        role = bytes(members["role"])
        said = text_of(role) if role[:1] == b'"' else ""
        if said == "system" and path == _FIRST:
            raise GatewayError(400, _SYSTEM_ROLE)
        if said not in _ROLES:
            raise GatewayError(400, f"{_dotted(path)}.role: Input should be 'user' or 'assistant'")
        _CONTENT(f"{path}.content", bytes(members["content"]))


class AnthropicTurns(msgspec.Struct, frozen=True):
    """The messages: at least one."""

    def __call__(self, path: str, raw: bytes) -> None:
        if not raw[1:-1].strip() and raw[:1] == b"[":
            raise GatewayError(400, _EMPTY)
        _TURNS(path, raw)


_TURNS: Final = Array(AnthropicTurn(), nullable=False, expected="a list")


class AnthropicTool(msgspec.Struct, frozen=True):
    """A tool of the client, which has a name. What others need that run at Anthropic, it says: a toolset has none."""

    def __call__(self, path: str, raw: bytes) -> None:
        members = members_of(path, raw)
        kind = bytes(members.get("type", b"null"))
        is_the_clients = kind == b"null" or (kind[:1] == b'"' and text_of(kind) == "custom")
        (_OWN_TOOL if is_the_clients else _TOOL).check_members(path, members)


_TOOL: Final = Object({"type": _TEXT, "name": _TEXT})
_OWN_TOOL: Final = Object({"name": _TEXT, "input_schema": AnyObject()}, ("name",))

_THINKING = Tagged({
    "enabled": Object({"budget_tokens": Integer(1024, nullable=False)}, ("budget_tokens",)),
    "disabled": Object({}), "adaptive": Object({}),
}, open=True)  # fmt: skip

BLOCKS_TABLE: Final[Mapping[str, Check]] = MappingProxyType({
    "max_tokens": Integer(1, nullable=False),
    "messages": AnthropicTurns(),
    "system": Either({b'"': _TEXT, b"[": _BLOCKS}, "a string or a list of blocks"),
    "stop_sequences": Array(_TEXT, expected="a list of strings"),
    "stream": Boolean(),
    "temperature": Decimal(0, 1),
    "top_k": Integer(-1),
    "top_p": Decimal(0, 1),
    "tools": Array(AnthropicTool(), expected="a list"),
    "tool_choice": Tagged(
        {"auto": Object({}), "any": Object({}), "none": Object({}), "tool": Object({"name": _TEXT}, ("name",))},
        nullable=True,
    ),
    "thinking": _THINKING,
    "metadata": AnyObject(),
})  # fmt: skip
"""Of every parameter, in the order in which faults are reported."""

STRICT_BLOCKS_TABLE: Final[Mapping[str, Check]] = MappingProxyType({
    **BLOCKS_TABLE,
    "top_k": Integer(0),
    "service_tier": OneOf(("auto", "standard_only")),
    "container": Either({b'"': _TEXT, b"{": AnyObject()}, "a string or an object"),
    "context_management": AnyObject(),
    "mcp_servers": Array(AnyObject(nullable=False), expected="a list"),
    "output_config": AnyObject(),
    "output_format": AnyObject(),
    "cache_control": AnyObject(),
    "inference_geo": String(),
    "speed": String(),
})  # fmt: skip

_INDEX: Final = re.compile(r"\[(\d++)\]")
_BOUND: Final = re.compile(r"Expected a value (>=|<=) (-?[\d.]++), but got")


def in_anthropics_words(error: GatewayError) -> GatewayError:
    """OpenAI's refusal of a parameter as Anthropic tells it: `max_tokens: Field required`."""
    told = error.error
    if told.param is None:
        return error
    if told.code == "missing_required_parameter":
        why = "Field required"
    elif (bound := _BOUND.search(told.message)) is not None:
        why = f"Input should be {'greater' if bound[1] == '>=' else 'less'} than or equal to {bound[2]}"
    else:
        why = told.message.partition(": ")[2] or told.message
    path = _dotted(told.param)
    return GatewayError(error.status, f"{path}: {why}", param=told.param, code=told.code)


def _dotted(path: str) -> str:
    return _INDEX.sub(r".\1", path)
