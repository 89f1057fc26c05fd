"""Failures of an upstream, as the client may see them.

A 4xx keeps its status and its message, scrubbed of addresses and credentials. A refusal of the gateway's credentials or
account is not the client's fault and becomes a 502; a 5xx or a broken connection gets a message of our own. The
upstream's text goes to the log.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from crplugins.core.errors import INVALID_REQUEST, SERVER_ERROR, ErrorObject, GatewayError, broken_off, no_completion
from crplugins.core.lenient_json import decode_leniently
from crplugins.core.outcome import answered_with
from crplugins.core.stream_options import names_stream_options

logger = logging.getLogger("crplugins.upstream")

_RETRY_HEADERS: Final = ("retry-after", "retry-after-ms")
_OWN_FAULTS: Final = frozenset({401, 402, 403, 407})

_LITELLM_PREFIX = re.compile(r"(?:litellm\.)?\b[A-Z]\w*(?:Error|Exception)\b(?:\s*:\s*|\s+-\s+)|^litellm\.\w+:\s*")
_SECRETS = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|key|org|proj)[-_](?=[A-Za-z_-]*[\d*])[A-Za-z0-9_*-]{6,}|\bBearer\s+\S+", re.IGNORECASE
)
_ADDRESSES = re.compile(
    r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>)\]]+"  # URLs
    r"|\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b"  # IPv4, with or without a port
    r"|\[[0-9a-f:]*:[0-9a-f:]*\](?::\d+)?"  # IPv6 in brackets
    r"|\b[a-z0-9-]+(?:\.[a-z0-9-]+)+:\d{2,5}\b|\b[a-z][a-z0-9-]*:\d{4,5}\b",  # host:port
    re.IGNORECASE,
)


def scrub(message: str, secrets: Iterable[str | None] = ()) -> str:
    """`message` without addresses, credentials, account ids and litellm's class names."""
    for secret in secrets:
        if secret:
            message = message.replace(secret, "[redacted]")
    message = _ADDRESSES.sub("[redacted]", message)
    message = _SECRETS.sub("[redacted]", message)
    return _LITELLM_PREFIX.sub("", message).strip()


def read_error(body: bytes) -> ErrorObject:
    """The error in an upstream's error body, in any of the known shapes.

    Missing parts are empty or None: `{"error": {...}}` (OpenAI), the same in a list (Google) or once more in an `error`
    (gateways), `{"error": "text"}`, `{"message": ...}` (old vLLM), `{"detail": ...}` (FastAPI), `{"code", "msg"}`
    (Chinese providers), `{"base_resp": {...}}` (MiniMax), anything else.
    """
    try:
        document = decode_leniently(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        document = None
    envelope = _envelope(document)
    error = _innermost(envelope)
    fields = error if isinstance(error, dict) else {"message": error}
    detail, param = _detail(envelope.get("detail"))
    message = next((text for key in _MESSAGE_KEYS if (text := _text(fields.get(key)))), None)
    message = message or _text(envelope.get("message")) or detail
    param = _text(fields.get("param")) or param
    return ErrorObject(message, _text(fields.get("type")) or "", param, _code(fields.get("code")))


_MESSAGE_KEYS: Final = ("message", "msg", "status_msg", "error_msg", "errmsg")
_MAX_DEPTH: Final = 4


def _envelope(document: object) -> dict[str, Any]:
    if isinstance(document, list) and document:
        document = document[0]
    return document if isinstance(document, dict) else {}


def _innermost(envelope: dict[str, Any]) -> object:
    """The error object, out of as many `error`s and `detail`s as gateways have put around it."""
    error: object = envelope.get("base_resp") or envelope
    for _ in range(_MAX_DEPTH):
        inner = (error.get("error") or _dict(error.get("detail"))) if isinstance(error, dict) else None
        if not inner:
            break
        error = inner
    return error


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


def upstream_refusal(
    status: int, error: ErrorObject, headers: Mapping[str, str], *, deployment: str, secrets: Iterable[str | None] = ()
) -> GatewayError:
    """The client's view of an upstream's answer with `status` >= 400.

    Args:
        headers: the upstream's, with lower-case names; only its retry hints pass.
        deployment: name for the log.
        secrets: strings that must not appear, such as the api key.
    """
    logger.warning("upstream of %s answered %d: %s", deployment, status, scrub(error.message, secrets)[:2000])
    retry = [(name, pause) for name in _RETRY_HEADERS if (pause := _pause(name, headers.get(name, "")))]
    if status in _OWN_FAULTS or is_spent(status, error):
        return GatewayError(
            502,
            "The model provider refused the gateway's credentials or account.",
            type=SERVER_ERROR,
            code="upstream_auth",
            error_type="upstream_auth",
        )
    if 400 <= status < 500:
        return GatewayError(
            status,
            scrub(error.message, secrets) or _REASONS.get(status, "The model provider refused the request."),
            type=_client_type(status, error),
            param=error.param,
            code=_client_code(status, error),
            headers=retry,
            error_type=answered_with(status),
        )
    status = status if 500 <= status < 600 else 502
    return GatewayError(
        status,
        "The model provider failed to answer. Please try again.",
        type=SERVER_ERROR,
        code="upstream_error",
        headers=retry,
        error_type="upstream_5xx",
    )


def _pause(name: str, value: str) -> str:
    """A retry hint as a client can read it: a number or a date; of seconds with words behind them, their number."""
    if _NUMBER_OR_DATE.fullmatch(value):
        return value
    number = _LEADING_NUMBER.match(value) if name == "retry-after" else None
    return number[0] if number else ""


_NUMBER_OR_DATE: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?|[A-Z][a-z]{2}, [0-9]{2}[A-Za-z0-9: ]{1,24} GMT")
_LEADING_NUMBER: Final = re.compile(r"[0-9]{1,9}(?![0-9.])")


def is_spent(status: int, error: ErrorObject) -> bool:
    """Whether the account that the gateway has at the provider is out of money, which is no limit of the client's.

    OpenAI says so with a 429 whose type or code is `insufficient_quota`, Anthropic with a 400 and words alone.
    """
    if status not in (400, 429):
        return False
    return not _SPENT.isdisjoint((error.type, error.code or "")) or _OUT_OF_CREDIT.search(error.message) is not None


_SPENT: Final = frozenset(
    {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "insufficient_balance",
     "insufficient_credits", "exceeded_current_quota_error", "account_deactivated"}
)  # fmt: skip
_OUT_OF_CREDIT: Final = re.compile(
    r"credit balance is too low|insufficient (?:account )?(?:balance|credits?|funds)",
    re.IGNORECASE,
)


def refuses_stream_options(refusal: GatewayError) -> bool:
    """Whether an upstream has refused a request for its `stream_options`."""
    return names_stream_options(refusal.status, f"{refusal.error.param} {refusal.error.message}")


def refusal_in_stream(data: bytes, deployment: str, secrets: Iterable[str | None] = ()) -> GatewayError:
    """The refusal in `data`, an event before the first token: nothing has been sent yet, so it can be a status."""
    status = status_of(decode_leniently(data))
    return upstream_refusal(status, read_error(data), {}, deployment=deployment, secrets=secrets)


NO_STATUS: Final = 502


def status_of(document: object) -> int:
    """The HTTP status that an error names in its `code` or `status_code`, else `NO_STATUS`.

    `document` is the error, or what is around it.
    """
    error = _innermost(_envelope(document))
    fields = error if isinstance(error, dict) else {}
    for value in (fields.get("status_code"), fields.get("code"), fields.get("status")):
        if isinstance(value, int | str) and str(value).isdigit() and 400 <= int(value) < 600:
            return int(value)
    return NO_STATUS


def unreachable(deployment: str, cause: object) -> GatewayError:
    """No connection, or one that broke before the answer began."""
    logger.warning("upstream of %s is unreachable: %s", deployment, cause)
    return GatewayError(
        502,
        "The model provider could not be reached. Please try again.",
        type=SERVER_ERROR,
        code="upstream_unreachable",
        error_type="upstream_connect",
    )


def timed_out(deployment: str) -> GatewayError:
    logger.warning("upstream of %s timed out", deployment)
    return GatewayError(
        504,
        "The model provider did not answer in time. Please try again.",
        type=SERVER_ERROR,
        code="upstream_timeout",
        error_type="upstream_timeout",
    )


def cut_short(deployment: str, cause: object) -> GatewayError:
    """A stream that broke, or ended before the answer was complete."""
    logger.warning("upstream of %s cut its stream: %s", deployment, cause)
    return broken_off()


def malformed(deployment: str, cause: object) -> GatewayError:
    """An answer that does not have OpenAI's wire format."""
    logger.warning("upstream of %s sent a malformed answer: %s", deployment, cause)
    return no_completion()


_REASONS: Final[Mapping[int, str]] = {
    404: "The model provider does not know this model or path.",
    408: "The model provider timed out.",
    413: "The request is too large for the model provider.",
    429: "The model provider's rate limit is reached. Please try again later.",
}


def _client_type(status: int, error: ErrorObject) -> str:
    if status == 429:
        return error.type if error.type in ("requests", "tokens") else "requests"
    return error.type or INVALID_REQUEST


def _client_code(status: int, error: ErrorObject) -> str | None:
    code = None if error.code == str(status) else error.code
    return code or ("rate_limit_exceeded" if status == 429 else None)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _code(value: object) -> str | None:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
