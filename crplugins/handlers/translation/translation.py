"""Translation: what one protocol and chat completions make of each other."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import uuid4

from crplugins.core.errors import GatewayError
from crplugins.core.sse import Event
from crplugins.handlers.protocols import Target

if TYPE_CHECKING:
    from crplugins.handlers.translation.shown_blocks import ShownBlocks

Fields = dict[str, Any]
"""A JSON object."""


class AnswerWriter(Protocol):
    """Tells one answer in the protocol of the client."""

    def events(self, chunk: Fields) -> list[Event]:
        """The events for a chunk of chat completions. Raises `GatewayError` 502 for one that makes no sense."""

    def end(self) -> list[Event]:
        """The events that end a complete answer."""

    def go_on(self, shown: "ShownBlocks") -> None:
        """The client has seen this of the answer. Before any of the other calls."""

    def document(self, answer: Fields) -> bytes:
        """The whole answer for a whole chat completion. Raises `GatewayError` 502."""


class Translation(Protocol):
    """One protocol, in chat completions and back."""

    def request(self, asked: Fields, target: Target) -> Fields:
        """The request as a chat completion. Raises `GatewayError` 400, which names the field."""

    def writer(self, asked: Fields) -> AnswerWriter:
        """What tells the answer to a request, in its own protocol."""


def without_none(fields: Mapping[str, Any]) -> Fields:
    """The members that say something."""
    return {name: value for name, value in fields.items() if value is not None}


def chat_stream(asked: Fields) -> Fields:
    """The members that ask for a stream, whose usage every protocol but chat completions tells unasked."""
    return {"stream": True, "stream_options": {"include_usage": True}} if asked.get("stream") is True else {}


def not_translated(param: str, what: str) -> GatewayError:
    """400 for what a request asks for and the model's provider cannot be asked for in another protocol."""
    return GatewayError(
        400,
        f"Unsupported parameter: {what} is not supported with this model.",
        param=param,
        code="unsupported_parameter",
    )


def invalid(param: str, expected: str) -> GatewayError:
    return GatewayError(400, f"Invalid type for '{param}': expected {expected}.", param=param, code="invalid_type")


def missing(param: str) -> GatewayError:
    return GatewayError(400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def objects(value: Any, param: str) -> list[Fields]:
    """A list of objects; an empty one for none. Raises `GatewayError` 400."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise invalid(param, "an array of objects")
    return value


def text_in(value: Any) -> str:
    return value if isinstance(value, str) else ""


def new_id(prefix: str) -> str:
    return f"{prefix}_{uuid4().hex}"


def counts(usage: Any) -> Fields:
    """The usage of a chat completion, or an empty object."""
    return usage if isinstance(usage, dict) else {}


def details(usage: Fields, name: str) -> Fields:
    """Those of the details that count something."""
    found = usage.get(name)
    return {key: value for key, value in found.items() if value} if isinstance(found, dict) else {}


def number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


_MOST_EFFORT: Final = ((2048, "low"), (12_000, "medium"))


def effort_of_budget(budget: Any) -> str:
    """The word for how many tokens a model may think, as the SDKs of providers that count them translate it."""
    return next((word for most, word in _MOST_EFFORT if number(budget) <= most), "high")


def merged(parts: Sequence[Fields]) -> Any:
    """The content of a message: its text alone if it is one text and nothing else."""
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        return parts[0]["text"]
    return list(parts)
