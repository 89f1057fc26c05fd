"""Tools as chat completions take them, whatever tools the client's protocol knows.

The name of a function there is one text of at most 64 characters. Anthropic allows 128, which Claude Code needs for
tools of MCP servers, and Responses has namespaces, in which Codex puts them: two may have functions of the same name.
The names that a model is shown are made of the client's alone, so that those in earlier turns fit.
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final

from crplugins.handlers.translation.translation import Fields

_LONGEST: Final = 64
_HASHED: Final = 8

ToolName = tuple[str, str]
"""A namespace, or "" for none, and a name."""


class ToolNames:
    """The names of the tools that a client offers, and back.

    A name that a model makes up, or that stands in an earlier turn alone, is translated as well as that goes.
    """

    def __init__(self, offered: Iterable[ToolName]) -> None:
        self._shown: dict[ToolName, str] = {}
        self._meant: dict[str, ToolName] = {}
        for tool in sorted({*offered}):  # those without a namespace first, which keep their names
            shown = _shown(*tool)
            if shown in self._meant:
                shown = _shortened(shown, "/".join(tool))
            self._shown[tool], self._meant[shown] = shown, tool

    def shown(self, name: str, namespace: str = "") -> str:
        """What the model reads for the client's name."""
        return self._shown.get((namespace, name)) or _shown(namespace, name)

    def meant(self, shown: str) -> ToolName:
        """The client's name for what the model calls."""
        return self._meant.get(shown, ("", shown))


def _shown(namespace: str, name: str) -> str:
    joined = name
    if namespace:
        joined = f"{namespace}{name}" if namespace.endswith("__") else f"{namespace}__{name}"
    return joined if len(joined) <= _LONGEST else _shortened(joined, joined)


def _shortened(name: str, whole: str) -> str:
    return f"{name[: _LONGEST - _HASHED - 1]}_{sha256(whole.encode('utf-8', 'surrogatepass')).hexdigest()[:_HASHED]}"


def parameters_of(schema: Any) -> Fields:
    """The schema of a function's parameters, which OpenAI wants with `properties`, and xAI at all."""
    given: Mapping[str, Any] = schema if isinstance(schema, dict) else {}
    return {"type": "object", "properties": {}, **given} if given.get("type", "object") == "object" else dict(given)
