"""The messages of a request: roles, contents, tool calls and their order.

A conversation in plain text is accepted by one typed decode. Any other is read again message by message, with partial
structs, because only that tells which part is wrong and how OpenAI would say it.
"""

from typing import Final, Literal

import msgspec

from crplugins.core.errors import GatewayError, unparsable_body
from crplugins.plugins.guard_checks import (
    Array,
    Object,
    String,
    check_count,
    check_length,
    decode,
    invalid_type,
    missing,
    unsupported_choice,
)

ROLES: Final = ("system", "assistant", "user", "function", "tool", "developer")
MAX_CONTENT_CHARACTERS: Final = 10_485_760

_ABSENT: Final = msgspec.Raw(b"")


class _Message(msgspec.Struct):
    role: msgspec.Raw = _ABSENT
    content: msgspec.Raw = _ABSENT
    tool_calls: msgspec.Raw = _ABSENT
    tool_call_id: msgspec.Raw = _ABSENT
    name: msgspec.Raw = _ABSENT


class _PlainPart(msgspec.Struct):
    type: str
    text: str | msgspec.UnsetType = msgspec.UNSET


class _PlainMessage(msgspec.Struct):
    """A message with nothing about tools."""

    role: Literal["system", "assistant", "user", "developer"]
    content: str | list[_PlainPart] | None = None
    tool_calls: msgspec.UnsetType = msgspec.UNSET


_plain_messages = msgspec.json.Decoder(list[_PlainMessage])
_messages = msgspec.json.Decoder(list[_Message])
_raw_items = msgspec.json.Decoder(list[msgspec.Raw])
_NAME = String(nullable=False)
_CALL = Object(
    {"id": _NAME, "type": _NAME, "function": Object({"name": _NAME, "arguments": _NAME}, nullable=False)},
    nullable=False,
)
_CALLS = Array(_CALL, 1)
_PART = Object({"type": _NAME, "text": _NAME}, nullable=False)


def check_messages(raw: bytes) -> None:
    """Raises `GatewayError` 400 with OpenAI's body for the first message that is wrong."""
    if not _is_plain(raw):
        _check_each(raw)


def _is_plain(raw: bytes) -> bool:
    """Whether every message is in order and there is at least one."""
    if len(raw) > MAX_CONTENT_CHARACTERS:
        return False
    try:
        return len(_plain_messages.decode(raw)) > 0
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _check_each(raw: bytes) -> None:
    try:
        messages = _messages.decode(raw)
    except msgspec.ValidationError:
        raise _not_messages(raw) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise unparsable_body() from None
    check_count("messages", len(messages), 1, None)
    called = False
    for index, message in enumerate(messages):
        role = _role(index, message)
        if role == "tool" and not called:
            raise _tool_without_call(index)
        called = role == "tool" or (role == "assistant" and len(memoryview(message.tool_calls)) > 0)
        _check_message(index, role, message)


def _check_message(index: int, role: str, message: _Message) -> None:
    path = f"messages[{index}]"
    if calls := bytes(message.tool_calls):
        _CALLS(f"{path}.tool_calls", calls)
    if role == "tool" and not len(memoryview(message.tool_call_id)):
        raise missing(f"{path}.tool_call_id")
    if role == "function" and not len(memoryview(message.name)):
        raise missing(f"{path}.name")
    _check_content(f"{path}.content", message.content)


def _role(index: int, message: _Message) -> str:
    raw = bytes(message.role)
    known = _KNOWN_ROLES.get(raw)
    if known is not None:
        return known
    path = f"messages[{index}].role"
    if not raw:
        raise missing(path)
    role = decode(raw)
    if not isinstance(role, str):
        raise invalid_type(path, "a string", role)
    if role not in ROLES:
        raise unsupported_choice(path, role, ROLES)
    return role


_KNOWN_ROLES: Final = {f'"{role}"'.encode(): role for role in ROLES}


def _check_content(path: str, raw: msgspec.Raw) -> None:
    """A string, parts, or null; a content that is missing is as good as null, live."""
    view = memoryview(raw)
    first = bytes(view[:1])
    if first == b'"':
        if len(view) > MAX_CONTENT_CHARACTERS:
            check_length(path, "string", len(decode(bytes(raw))), MAX_CONTENT_CHARACTERS)
    elif first == b"[":
        for index, part in enumerate(_raw_items.decode(raw)):
            _PART(f"{path}[{index}]", bytes(part))
    elif first not in (b"", b"n"):
        raise invalid_type(path, "one of a string or array of objects", decode(bytes(raw)))


def _not_messages(raw: bytes) -> GatewayError:
    value = decode(raw)
    if not isinstance(value, list):
        return invalid_type("messages", "an array of objects", value)
    index = next(i for i, message in enumerate(value) if not isinstance(message, dict))
    return invalid_type(f"messages[{index}]", "an object", value[index])


def _tool_without_call(index: int) -> GatewayError:
    return GatewayError(
        400,
        "Invalid parameter: messages with role 'tool' must be a response to a preceding message with 'tool_calls'.",
        param=f"messages.[{index}].role",
    )
