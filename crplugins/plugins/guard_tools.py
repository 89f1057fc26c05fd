"""Tools as almost all requests declare them, for one decode: agents send dozens of them with every request."""

from typing import Annotated, Final

import msgspec

_Name = Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}\Z")]


class _Function(msgspec.Struct, forbid_unknown_fields=True):
    name: _Name
    description: str | None = None
    parameters: dict[str, msgspec.Raw] | None = None
    strict: bool | None = None


class _Tool(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="function"):
    function: _Function


ORDINARY_TOOLS: Final = msgspec.json.Decoder(Annotated[list[_Tool], msgspec.Meta(min_length=1)])
