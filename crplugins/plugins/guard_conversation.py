"""What a message of each role may hold, as checks.

Contents are judged more laxly than the schema reads, as api.openai.com does: no content, a null and an empty array
pass. Types of parts are an open set, because other providers know more of them than OpenAI.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from crplugins.plugins.guard_checks import Check, OneOf, String
from crplugins.plugins.guard_containers import Array, Either, Object, Tagged

LONGEST_CONTENT: Final = 10_485_760
"""Characters of one string (recorded)."""

_TEXT = String(LONGEST_CONTENT)
_REQUIRED = String(nullable=False)

_IMAGE_URL = Object({"url": String(), "detail": OneOf(("auto", "low", "high"), open=True)}, nullable=True)
_PARTS = {
    "text": Object({"text": _TEXT}),
    # A bare address is what Mistral takes.
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
    """The check of a message by its role, in the order in which OpenAI names the roles."""
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
