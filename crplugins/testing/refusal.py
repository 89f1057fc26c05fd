"""OpenAI's error object, and what the fake model refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crplugins.handlers.wires.chat import CHAT_WIRE
from crplugins.handlers.wires.wire import Wire

_NOT_JSON = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library "
    "correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON. If you have trouble "
    "figuring out how to fix this, please contact us through our help center at help.openai.com.)"
)


def error_body(
    message: str, type: str = "invalid_request_error", param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """`{"error": {message, type, param, code}}`, all four keys always present."""
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


@dataclass(frozen=True, slots=True)
class ModelRefusal:
    """An HTTP status and the JSON body that goes with it."""

    status: int
    body: dict[str, Any]


SERVER_ERROR = ModelRefusal(
    500, error_body("The server had an error while processing your request. Sorry about that!", "server_error")
)


def refusal_of(request: object, wire: Wire = CHAT_WIRE) -> ModelRefusal | None:
    """Why the fake model will not answer: no JSON object (None), no model, no messages. None if it will.

    In the words of the protocol, its error document by `wire.error` still ahead.
    """
    if not isinstance(request, dict):
        return ModelRefusal(400, error_body(_NOT_JSON))
    if not request.get("model"):
        return ModelRefusal(400, error_body("you must provide a model parameter"))
    for name in wire.requires:
        if name not in request:
            return ModelRefusal(400, wire.missing(name))
    return _bad_messages(request["messages"]) if "messages" in wire.requires else None


def unknown_model(model: str) -> ModelRefusal:
    """404, code `model_not_found`."""
    message = f"The model `{model}` does not exist or you do not have access to it."
    return ModelRefusal(404, error_body(message, code="model_not_found"))


def unknown_url(method: str, path: str) -> ModelRefusal:
    """404 for a path that is not served."""
    return ModelRefusal(404, error_body(f"Invalid URL ({method} {path})"))


def _bad_messages(messages: object) -> ModelRefusal | None:
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        message = "Invalid type for 'messages': expected an array of objects."
        return ModelRefusal(400, error_body(message, param="messages", code="invalid_type"))
    if not messages:
        message = (
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead."
        )
        return ModelRefusal(400, error_body(message, param="messages", code="empty_array"))
    return None
