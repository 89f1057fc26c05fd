"""Wire: how one protocol is spoken by who answers it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from crplugins.handlers.wires.completion import Completion

UsagePlace = Literal["none", "own_chunk", "finish_chunk"]
"""Where a stream of chat completions or completions tells its usage; the others have one place for it."""

JSON: Final = "application/json"


class Wire:
    """One protocol: how a request in it asks a model for a chat completion, and how the answer looks.

    Attributes:
        path: what paths of it end with.
        id_prefix: what ids of answers begin with.
        id_header: the header in which an answer has the id of its request.
        requires: the members, besides the model, that a request must have.
        streams: there are answers in events.
        always_tells_usage: the streams too, which else do it where `stream_options` asks.
    """

    path: str
    id_prefix: str
    id_header: str = "x-request-id"
    requires: Sequence[str] = ()
    streams: bool = True
    always_tells_usage: bool = True

    def as_chat(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The chat completion request that asks a model for the same."""
        raise NotImplementedError

    def asks(self, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The same for each prompt of a request that has several, or none where nothing is generated."""
        return [self.as_chat(request)]

    def usage(self, completion: Completion, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """What an answer has used, whose chat completions have used what `completion` says."""
        return completion.usage

    def whole(self, completion: Completion, request: Mapping[str, Any], *, usage: bool = True) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        raise NotImplementedError

    def raw(self, completion: Completion, request: Mapping[str, Any]) -> tuple[bytes, str] | None:
        """The body and its type of an answer that is no JSON; None of one that is."""
        return None

    def frames(
        self,
        completion: Completion,
        request: Mapping[str, Any],
        *,
        usage: UsagePlace = "none",
        chunk_size: int | None = None,
    ) -> list[bytes]:
        """The frames of a stream, its end mark included.

        `chunk_size` is the length of a delta in characters; by default each token is a delta.
        """
        raise NotImplementedError

    def error(self, body: Mapping[str, Any], status: int) -> Mapping[str, Any]:
        """OpenAI's error document in this protocol."""
        return body

    def error_frame(self, body: Mapping[str, Any], status: int) -> bytes:
        """The event with which a stream fails."""
        return frame(body)

    def missing(self, name: str) -> dict[str, Any]:
        """The error document for a request without a member that it must have."""
        message = f"Missing required parameter: '{name}'."
        kind, code = "invalid_request_error", "missing_required_parameter"
        return {"error": {"message": message, "type": kind, "param": name, "code": code}}


def frame(chunk: object) -> bytes:
    """`data: {json}` and the blank line."""
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def part_as_chat(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a message, or a block, as a part of a chat message: its text, or the kind of what is attached."""
    kind = str(part.get("type"))
    if isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    if "image" in kind:
        return {"type": "image_url", "image_url": {}}
    return {"type": "input_audio", "input_audio": {}} if "audio" in kind else {"type": "file", "file": {}}


def parts_as_chat(content: Any) -> Any:
    """The content of a message: text stays, parts become those of a chat message."""
    if not isinstance(content, list):
        return content
    return [part_as_chat(part) for part in content if isinstance(part, dict)]
