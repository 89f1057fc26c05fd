"""ChatMessages: the check of a request's messages: roles, contents, tool calls and their order.

An ordinary conversation, including tool calls and images, is accepted by one typed decode (`_Message`). Any other is
checked again message by message (`roles`), because only that shows which part is wrong and what OpenAI would answer.

The checks of contents are laxer than the published schema, as api.openai.com is: no content, a null and an empty array
pass. Types of parts are an open set, because other providers have more of them than OpenAI.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final, Literal

import msgspec

from crplugins.plugins.guard.checks import (
    Array,
    Check,
    Either,
    Members,
    Object,
    OneOf,
    String,
    Tagged,
    items_of,
    members_of,
    text_of,
)
from crplugins.plugins.guard.refusals import empty, missing, no_content, tool_without_call

LONGEST_CONTENT: Final = 10_485_760
"""Characters of one string (recorded)."""


class ChatMessages:
    """The check of the messages.

    Args:
        strict: refuse messages without content and parts of unknown types, as OpenAI does.
    """

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._roles = roles(strict=strict)
        self._role = OneOf(tuple(self._roles), nullable=False)

    def __call__(self, raw: msgspec.Raw) -> None:
        """Raises `GatewayError` 400 with OpenAI's body for the first message that is wrong."""
        if not self._is_ordinary(raw):
            self._check_each(bytes(raw))

    def _is_ordinary(self, raw: msgspec.Raw) -> bool:
        """Whether there is a message, and every message is certainly valid."""
        if len(memoryview(raw)) > LONGEST_CONTENT:
            return False
        try:
            messages = _ordinary.decode(raw)
        except (msgspec.DecodeError, RecursionError):
            return False
        return bool(messages) and self._in_order(messages)

    def _in_order(self, messages: "list[_Message]") -> bool:
        called = False
        for message in messages:
            calls = message.tool_calls is not None and message.role == "assistant"
            if message.content is None and self._strict and not calls:
                return False
            if message.role != "tool":
                called = calls
            elif not called or message.tool_call_id is None:
                return False
        return True

    def _check_each(self, raw: bytes) -> None:
        items = items_of("messages", raw, "an array of objects")
        if not items:
            raise empty("messages", "array", 1)
        messages = [self._message(f"messages[{index}]", bytes(item)) for index, item in enumerate(items)]
        _check_order(messages)
        if self._strict:
            _check_presence(messages)

    def _message(self, path: str, raw: bytes) -> tuple[str, Members]:
        members = members_of(path, raw)
        role = members.get("role")
        if role is None:
            raise missing(f"{path}.role")
        self._role(f"{path}.role", bytes(role))
        name = text_of(bytes(role))
        self._roles[name].check_members(path, members)
        return name, members


def _check_order(messages: list[tuple[str, Members]]) -> None:
    """Results of tools directly follow the message that called them."""
    called = False
    for index, (role, members) in enumerate(messages):
        if role == "tool" and not called:
            raise tool_without_call(index)
        called = role == "tool" or (role == "assistant" and _is_given(members, "tool_calls"))


_INSTEAD_OF_CONTENT: Final = ("tool_calls", "function_call", "refusal", "audio")


def _check_presence(messages: list[tuple[str, Members]]) -> None:
    """An answer that is something other than text needs no content; api.openai.com checks this last."""
    for index, (role, members) in enumerate(messages):
        instead = role == "assistant" and any(_is_given(members, name) for name in _INSTEAD_OF_CONTENT)
        if not instead and not _is_given(members, "content"):
            raise no_content(index)


def _is_given(members: Members, name: str) -> bool:
    value = members.get(name)
    return value is not None and bytes(memoryview(value)[:1]) != b"n"


_TEXT = String(LONGEST_CONTENT)
_REQUIRED = String(nullable=False)

_IMAGE_URL = Object({"url": String(), "detail": OneOf(("auto", "low", "high"), open=True)}, nullable=True)
_PARTS = {
    "text": Object({"text": _TEXT}),
    # Mistral accepts a plain URL.
    "image_url": Object({"image_url": Either({b"{": _IMAGE_URL, b'"': String()}, "an object")}),
    "input_audio": Object(
        {"input_audio": Object({"data": String(), "format": OneOf(("wav", "mp3"), open=True)}, nullable=True)}
    ),
    "refusal": Object({"refusal": _TEXT}),
    "file": Object({"file": Object({"filename": String(), "file_data": String(), "file_id": String()}, nullable=True)}),
}
_CALLED = Object({"name": _REQUIRED, "arguments": _REQUIRED}, ("name", "arguments"))
_CALL = Tagged(
    {
        "function": Object({"id": _REQUIRED, "function": _CALLED}, ("id", "function")),
        "custom": Object(
            {"id": _REQUIRED, "custom": Object({"name": _REQUIRED, "input": _REQUIRED}, ("name", "input"))},
            ("id", "custom"),
        ),
    }
)


def roles(*, strict: bool) -> Mapping[str, Object]:
    """The check of a message by its role, in the order of roles in OpenAI's messages."""
    parts = Array(Tagged(_PARTS, open=not strict))
    content = Either({b'"': _TEXT, b"[": parts}, "one of a string or array of objects")
    said: dict[str, Check] = {"content": content, "name": String()}
    answered = said | {
        "refusal": String(),
        "audio": Object({"id": _REQUIRED}, ("id",), nullable=True),
        "tool_calls": Array(_CALL, 1),
        "function_call": Object(_CALLED.members, _CALLED.required, nullable=True),
    }
    return MappingProxyType(
        {
            "system": Object(said),
            "assistant": Object(answered),
            "user": Object(said),
            "function": Object(said | {"name": _REQUIRED}, ("name",)),
            "tool": Object(said | {"tool_call_id": _REQUIRED}, ("tool_call_id",)),
            "developer": Object(said),
        }
    )


_UNSET: Final = msgspec.UNSET
_Text = str | msgspec.UnsetType


class _TextPart(msgspec.Struct, tag_field="type", tag="text"):
    text: _Text = _UNSET


class _ImageUrl(msgspec.Struct):
    url: _Text = _UNSET
    detail: Literal["auto", "low", "high"] | msgspec.UnsetType = _UNSET


class _ImagePart(msgspec.Struct, tag_field="type", tag="image_url"):
    image_url: _ImageUrl | msgspec.UnsetType = _UNSET


class _Function(msgspec.Struct):
    name: str
    arguments: str


class _Call(msgspec.Struct):
    id: str
    type: Literal["function"]
    function: _Function


class _Message(msgspec.Struct):
    """A message of the ordinary form. The decode fails for any other, and the checks decide."""

    role: Literal["system", "assistant", "user", "tool", "developer"]
    content: str | list[_TextPart | _ImagePart] | None = None
    tool_calls: Annotated[list[_Call], msgspec.Meta(min_length=1)] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    refusal: str | None = None
    function_call: None = None
    audio: None = None


_ordinary: Final = msgspec.json.Decoder(list[_Message])
