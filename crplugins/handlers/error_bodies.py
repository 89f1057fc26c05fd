"""Error bodies: what an upstream says of its failure, read out of any of the known shapes."""

import re
from collections.abc import Mapping
from typing import Any, Final

from crplugins.core.errors import ErrorObject
from crplugins.core.lenient_json import NOT_JSON, decode_leniently, encoded, objects_of
from crplugins.core.redaction import LONGEST_TEXT
from crplugins.core.wire import AnswerFacts

WAITS: Final = ("retry-after", "retry-after-ms")
"""Headers with which a provider says how long to wait."""

MAX_ERROR_BYTES: Final = 64 * 1024
"""Bytes of a refusal that are read."""


def read_error(body: bytes, depth: int = 0) -> ErrorObject:
    """The error in an upstream's error body, in any of the known shapes.

    Missing parts are empty or None: `{"error": {...}}` (OpenAI; Anthropic's has its code in `details`), the same in a
    list (Google) or once more in an `error` (gateways), `{"error": "text"}`, `{"message": ...}` (old vLLM),
    `{"detail": ...}` (FastAPI), `{"code", "msg"}` (Chinese providers), `{"code", "details"}` (FMS), `{"base_resp":
    {...}}` (MiniMax), anything else.
    """
    try:
        document = decode_leniently(body)
    except NOT_JSON:
        document = None
    envelope = _envelope(document)
    error = _innermost(envelope)
    fields = error if isinstance(error, dict) else {"message": error}
    detail, param = _detail(envelope.get("detail"))
    message = next((text for key in _MESSAGE_KEYS if (text := _text(fields.get(key)))), None)
    message = message or _text(envelope.get("message")) or _text(fields.get("details")) or detail
    if message[:1] in ("{", "[") and len(message) <= _LONGEST_NESTED and depth < _MAX_DEPTH:  # a relay quotes another's
        inner = read_error(message.encode("utf-8", "replace"), depth + 1)
        message = inner.message or message
    details = _dict(fields.get("details")) or {}
    param = _text(fields.get("param")) or _text(details.get("param")) or param
    code = _code(fields.get("code")) or _text(details.get("error_code"))
    return ErrorObject(message, _text(fields.get("type")) or "", param, code)


def read_refusal(body: bytes) -> ErrorObject:
    """The error in the whole body of a refusal: that of its JSON, or else the first line of a plain text, as servers
    written with axum send it. Of a page of HTML nothing is read."""
    error = read_error(body)
    text = body.strip()
    if error.message or text[:1] in (b"{", b"[", b"<", b""):
        return error
    first_line = text[:LONGEST_TEXT].decode("utf-8", "replace").splitlines()[0]
    return ErrorObject(first_line, error.type, error.param, error.code)


def with_told_wait(headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
    """The headers of a refusal, with the wait that Google tells in the body alone (`google.rpc.RetryInfo`).

    Names of headers are lower-case.
    """
    if b'"retryDelay"' not in body or not headers.keys().isdisjoint(WAITS):
        return headers
    try:
        error = _innermost(_envelope(decode_leniently(body)))
    except NOT_JSON:
        return headers
    for each in objects_of(error.get("details")) if isinstance(error, dict) else ():
        if delay := _DELAY.fullmatch(_text(each.get("retryDelay")) or ""):
            seconds = int(delay[1]) + bool((delay[2] or "").strip("0"))
            return {**headers, "retry-after": str(seconds)}
    return headers


_DELAY: Final = re.compile(r"([0-9]{1,6})(?:\.([0-9]{1,9}))?s")

_MESSAGE_KEYS: Final = ("message", "msg", "status_msg", "error_msg", "errmsg")

_MAX_DEPTH: Final = 4

_LONGEST_NESTED: Final = 64 * 1024


def _envelope(document: object) -> dict[str, Any]:
    if isinstance(document, list) and document:
        document = document[0]
    return document if isinstance(document, dict) else {}


def _innermost(envelope: dict[str, Any]) -> object:
    """The error object, out of as many `error`s and `detail`s as gateways have put around it."""
    error: object = envelope.get("base_resp") or _first(envelope.get("errors")) or envelope
    for _ in range(_MAX_DEPTH):
        inner = (error.get("error") or _dict(error.get("detail"))) if isinstance(error, dict) else None
        if not inner:
            break
        error = inner
    return error


def _first(errors: object) -> dict[str, Any] | None:
    """Of a list of errors (Cloudflare, watsonx)."""
    return _dict(errors[0]) if isinstance(errors, list) and errors else None


def _dict(value: object) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _detail(detail: object) -> tuple[str, str | None]:
    """Message and parameter of FastAPI's `detail`: text, or a list of errors with their places."""
    if not isinstance(detail, list) or not detail or not isinstance(detail[0], dict):
        return _text(detail) or "", None
    where = detail[0].get("loc")
    param = ".".join(map(str, where[1:])) if isinstance(where, list) else ""  # after "body"
    message = _text(detail[0].get("msg")) or ""
    return (f"{param}: {message}" if param else message), param or None


def error_in_choices(answer: AnswerFacts) -> bytes | None:
    """The JSON of the error that stands inside a choice, where OpenRouter has it; None if there is none."""
    error = next((choice.error for choice in answer.choices or () if choice.error), None)
    return None if error is None else encoded({"error": error})


NO_STATUS: Final = 502

_STATUS_KEYS: Final = ("status_code", "code", "status", "http_code", "http_status_code")

_STATUS: Final = re.compile(r"[45][0-9]{2}")

_STATUSES: Final[Mapping[str, int]] = {
    "invalid_request_error": 400, "authentication_error": 401, "billing_error": 402, "permission_error": 403,
    "not_found_error": 404, "conflict_error": 409, "request_too_large": 413, "insufficient_quota": 429,
    "rate_limit_error": 429, "api_error": 500, "service_unavailable_error": 503, "timeout_error": 504,
    "overloaded_error": 529,
}  # fmt: skip
"""Types of errors that have no status beside them inside a stream: Anthropic's and OpenAI's."""


def status_of(document: object) -> int:
    """The HTTP status that an error names in its `code`, in a member for it or by its type, else `NO_STATUS`.

    `document` is the error, or what is around it.
    """
    error = _innermost(_envelope(document))
    fields = error if isinstance(error, dict) else {}
    for value in map(fields.get, _STATUS_KEYS):
        if isinstance(value, int | str) and _STATUS.fullmatch(str(value)):
            return int(value)
    return _STATUSES.get(str(fields.get("type")), NO_STATUS)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _code(value: object) -> str | None:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
