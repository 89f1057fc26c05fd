"""GatewayError, the one exception that becomes an answer, and its one renderer.

The shape is OpenAI's: `{"error": {"message", "type", "param", "code"}}`, all four keys always present.
The official SDKs lose the message of every other shape ("400 status code (no body)").
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from crplugins.core.outcome import ErrorType, refused_with

Header = tuple[bytes, bytes]
"""One header of an ASGI message: lower-case name and value, both bytes."""

INVALID_REQUEST: Final = "invalid_request_error"
SERVER_ERROR: Final = "server_error"
SESSION_LIMIT: Final = "session_limit"
"""The type of a refusal after which the session is over. `code` says of what it has used up its share."""

DONE_FRAME: Final = b"data: [DONE]\n\n"

_LONGEST_PATH: Final = 200
"""Characters of a client's path that are told back to it."""

DO_NOT_RETRY: Final = ("x-should-retry", "false")
"""Read by OpenAI's SDKs, which would try any other 429 again."""


class ErrorObject(msgspec.Struct, frozen=True):
    """OpenAI's error object."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(msgspec.Struct, frozen=True):
    error: ErrorObject


class GatewayError(Exception):
    """A refusal or failure that becomes the answer to the client.

    Raise it from a plugin's `on_request` or from a handler. Before the first byte it becomes a response with `status`;
    after it, one `data: {"error": ...}` frame followed by `data: [DONE]`.

    Args:
        status: HTTP status, 400 to 599.
        message: what the client reads. No secrets, addresses or stack traces.
        type: OpenAI's error type, e.g. `invalid_request_error`, `server_error`, `requests`, `tokens`.
        param: the request field at fault, e.g. `messages[0].role`.
        code: machine-readable reason, e.g. `model_not_found`.
        headers: extra response headers, e.g. `retry-after`.
        error_type: what records and metrics call it, where `status` alone does not say.
        limit: the limit or budget that refuses, as its operator knows it. No client is told.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = INVALID_REQUEST,
        param: str | None = None,
        code: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
        error_type: ErrorType | None = None,
        limit: str = "",
    ) -> None:
        super().__init__(message)
        self.status: Final = status
        self.error: Final = ErrorObject(message, type, param, code)
        self.error_type: Final[ErrorType] = error_type or refused_with(status)
        self.limit: Final = limit
        self.headers: Final[list[Header]] = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in headers]

    def body(self) -> bytes:
        """The JSON document."""
        return msgspec.json.encode(ErrorBody(self.error))

    def frame(self) -> bytes:
        """The same as one server-sent event, for a stream that has begun."""
        return b"data: " + self.body() + b"\n\n"

    def response_headers(self, body: bytes | None = None) -> list[Header]:
        """Headers of the rendered response, `content-length` included.

        `body` is the document in another protocol than OpenAI's.
        """
        length = str(len(self.body() if body is None else body)).encode()
        return [(b"content-type", b"application/json"), (b"content-length", length), *self.headers]


def unparsable_body() -> GatewayError:
    """OpenAI's answer to a body that is not a JSON object."""
    return GatewayError(
        400,
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library "
        "correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON. If you have trouble "
        "figuring out how to fix this, please contact us through our help center at help.openai.com.)",
    )


def body_too_large(limit: int, received: int) -> GatewayError:
    """413 for a body of `received` bytes (at least) where `limit` are allowed.

    The connection stays open, so that the server swallows the rest: closed now, it would be reset under a client that
    is still sending, and most clients then never read this answer.
    """
    message = f"Maximum content size limit ({limit}) exceeded ({received} bytes read)"
    return GatewayError(413, message, code="request_too_large")


def unsupported_coding(what: str) -> GatewayError:
    """415 for a body in a `charset` other than UTF-8, or with a `content-encoding`."""
    message = f"Unsupported {what}: the body of a request must be plain JSON in UTF-8."
    return GatewayError(415, message, code="unsupported_content_type")


def invalid_type(path: str, expected: str, raw: bytes) -> GatewayError:
    """`raw` is the JSON value that is not as `expected` (`an integer`, `an array of objects`)."""
    message = f"Invalid type for '{path}': expected {expected}, but got {kind(raw)} instead."
    return GatewayError(400, message, param=path, code="invalid_type")


def kind(raw: bytes) -> str:
    """The type of a JSON value by its first byte: nothing is decoded to report that it has the wrong type."""
    return _KINDS.get(raw[:1]) or ("an integer" if raw.lstrip(b"-").isdigit() else "a decimal number")


_KINDS: Final = {
    b"n": "null", b"t": "a boolean", b"f": "a boolean", b'"': "a string", b"[": "an array", b"{": "an object"
}  # fmt: skip


def shown_name(name: str) -> str:
    """A client's name in a refusal, which must not be as long as the request."""
    return name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "..."


_LONGEST_NAME: Final = 100


def invalid_url(method: str, path: str) -> GatewayError:
    """OpenAI's answer to a path that is none of its own."""
    return GatewayError(404, f"Invalid URL ({method} {_shown(path)})")


def wrong_method(method: str, path: str, allowed: str | None) -> GatewayError:
    """OpenAI's answer to a method that a path does not have. `allowed` are those it has, as the header names them."""
    hint = "(HINT: Perhaps you meant to use a different HTTP method?)"
    headers = [("allow", allowed)] if allowed is not None else []
    return GatewayError(405, f"Not allowed to {method} on {_shown(path)}. {hint}", headers=headers)


def _shown(path: str) -> str:
    """A path from outside, short and as UTF-8 can spell it."""
    return path[:_LONGEST_PATH].encode("utf-8", "replace").decode()


def model_not_found(model: str) -> GatewayError:
    """OpenAI's answer to a name it does not serve, or does not serve to this key."""
    return GatewayError(
        404,
        f"The model `{shown_name(model)}` does not exist or you do not have access to it.",
        code="model_not_found",
        error_type="unknown_model",
    )


def response_not_found(id: str) -> GatewayError:
    """OpenAI's answer to the id of a response that it does not keep, or not for this caller."""
    return GatewayError(404, f"Response with id '{_shown(id)}' not found.")


def previous_response_not_found(id: object) -> GatewayError:
    """The same for a response to go on from."""
    shown = _shown(id) if isinstance(id, str) else ""
    return GatewayError(
        400,
        f"Previous response with id '{shown}' not found.",
        param="previous_response_id",
        code="previous_response_not_found",
    )


def not_spoken(model: str, path: str) -> GatewayError:
    """The answer to a model that is asked in a protocol which it does not speak. `path` is that of the protocol."""
    return GatewayError(
        404,
        f"The model `{shown_name(model)}` is not supported in the v1{path} endpoint.",
        param="model",
        code="model_not_supported_in_endpoint",
        error_type="unknown_model",
    )


def broken_off() -> GatewayError:
    """A stream that ended before the answer did. Whoever raises it has the cause logged."""
    return GatewayError(
        502,
        "The model provider ended the stream before the answer was complete.",
        type=SERVER_ERROR,
        code="upstream_incomplete",
        error_type="upstream_stream_broken",
    )


def no_completion() -> GatewayError:
    """An answer of a provider that has not OpenAI's wire format. Whoever raises it has the cause logged."""
    return GatewayError(
        502,
        "The model provider sent a malformed answer.",
        type=SERVER_ERROR,
        code="upstream_malformed",
        error_type="upstream_stream_broken",
    )


def client_disconnected() -> GatewayError:
    """Nobody waits for the answer any more: for records, as there is nobody to be told."""
    return GatewayError(499, "The client has disconnected.", error_type="client_disconnected")


def shutting_down() -> GatewayError:
    """The process ends before the answer does."""
    return GatewayError(
        503,
        "The server is shutting down. Please try again.",
        type=SERVER_ERROR,
        code="server_shutdown",
        headers=[("retry-after", "1")],
    )


def internal_error(error_type: ErrorType = "internal") -> GatewayError:
    """Our own fault. The cause is in the log, never in the answer."""
    return GatewayError(
        500,
        "The server had an error while processing your request. Sorry about that!",
        type=SERVER_ERROR,
        error_type=error_type,
    )
