"""Failures of an upstream, as the client may see them.

An error is built anew of what is known of it: message, type, param and code. A 4xx keeps its status and its message,
scrubbed of addresses and credentials; type, param and code are passed on as they are, or not at all. A refusal of the
gateway's credentials or account is not the client's fault and becomes a 502; a 5xx or a broken connection gets a
message of our own.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final

from crplugins.core.errors import (
    DO_NOT_RETRY,
    INVALID_REQUEST,
    SERVER_ERROR,
    ErrorObject,
    GatewayError,
    broken_off,
    no_completion,
)
from crplugins.core.exchange import Attempt
from crplugins.core.lenient_json import NOT_JSON, decode_leniently
from crplugins.core.log_lines import log_upstream
from crplugins.core.outcome import answered_with
from crplugins.core.redaction import cut, scrub
from crplugins.core.stream_options import names_stream_options
from crplugins.handlers.deadlines import Missed
from crplugins.handlers.error_bodies import NO_STATUS, WAITS, read_error, status_of, with_told_wait
from crplugins.handlers.faults_of_requests import status_by_words
from crplugins.handlers.http.interface import HttpError

logger = logging.getLogger("crplugins.upstream")

_RETRY_HEADERS: Final = (*WAITS, DO_NOT_RETRY[0])
_OWN_FAULTS: Final = frozenset({401, 403, 407})

_LONGEST_WORD: Final = 64
_LONGEST_PARAM: Final = 200


def upstream_refusal(
    status: int, error: ErrorObject, headers: Mapping[str, str], *, deployment: str, secrets: Iterable[str | None] = ()
) -> GatewayError:
    """The client's view of an upstream's answer with `status` >= 400.

    Args:
        headers: the upstream's, with lower-case names; only its retry hints pass.
        deployment: its label, for the log.
        secrets: strings that must not appear, such as the api key.
    """
    known = ErrorObject(
        scrub(error.message, secrets),
        _word(error.type, secrets, _LONGEST_WORD) or "",
        _word(error.param, secrets, _LONGEST_PARAM),
        _word(error.code, secrets, _LONGEST_WORD),
    )
    log_upstream(logger, deployment, "answered %d, type %r, code %r", status, known.type, known.code)
    log_upstream(logger, deployment, "it said: %s", known.message, level=logging.DEBUG)
    if is_spent(status, error):
        return GatewayError(
            502,
            "The gateway's account at the model provider is out of credit. This is no limit of yours.",
            type=SERVER_ERROR,
            code="upstream_quota",
            error_type="upstream_quota",
        )
    status = status_by_words(status, known, NO_STATUS)
    if status in _OWN_FAULTS:
        return GatewayError(
            502,
            "The model provider refused the gateway's credentials or account.",
            type=SERVER_ERROR,
            code="upstream_auth",
            error_type="upstream_auth",
        )
    retry = [(name, hint) for name in _RETRY_HEADERS if (hint := _hint(name, headers.get(name, "")))]
    if 400 <= status < 500:
        return GatewayError(
            status,
            known.message or _REASONS.get(status, "The model provider refused the request."),
            type=_client_type(status, known),
            param=known.param,
            code=_client_code(status, known),
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


def _hint(name: str, value: str) -> str:
    """A retry hint as a client can read it: a number or a date; of seconds with words after them, their number. And
    that a retry would only fail again.

    No number that would have a client wait for decades: some obey.
    """
    if name == DO_NOT_RETRY[0]:
        return DO_NOT_RETRY[1] if value.strip().lower() == DO_NOT_RETRY[1] else ""
    if _NUMBER.fullmatch(value) or _DATE.fullmatch(value):
        return value
    number = _LEADING_NUMBER.match(value) if name == "retry-after" else None
    return number[0] if number else ""


_NUMBER: Final = re.compile(r"[0-9]{1,8}(?:\.[0-9]{1,9})?")
_DATE: Final = re.compile(r"[A-Z][a-z]{2}, [0-9]{2}[A-Za-z0-9: ]{1,24} GMT")
_LEADING_NUMBER: Final = re.compile(r"[0-9]{1,8}(?![0-9.eE])")


def _word(value: str | None, secrets: Iterable[str | None], longest: int) -> str | None:
    """A word of the protocol as it is, never a part of it; None for what is no such word or holds what is scrubbed."""
    if not value or len(value) > longest or not (value.isascii() and value.isprintable()):
        return None
    return value if scrub(value, secrets) == value else None


def is_spent(status: int, error: ErrorObject) -> bool:
    """Whether the account that the gateway has at the provider is out of money, which is no limit of the client's.

    OpenAI says so with a 429 whose type or code is `insufficient_quota`, Anthropic with a 400 and words alone or a 429
    with a code, xAI with a 403, others with a 402.
    """
    words = (error.type.lower(), (error.code or "").lower())
    if status == 402 or not _SPENT.isdisjoint(words):
        return True
    says_so = _out_of_credit().search(cut(error.message, _LONGEST_REASON))
    return says_so is not None and status in (400, 403, 429, NO_STATUS)


_SPENT: Final = frozenset(
    {"insufficient_quota", "insufficient_user_quota", "billing_hard_limit_reached", "billing_not_active",
     "billing_error", "insufficient_balance", "insufficient_credits", "insufficient_funds", "payment_required",
     "exceeded_current_quota_error", "credits_exhausted", "arrearage", "account_deactivated",
     "enforced_spend_limit_reached"}
)  # fmt: skip


@cache  # compiled with the first one that is asked about
def _out_of_credit() -> re.Pattern[str]:
    return re.compile(
        r"credit balance is too low|insufficient (?:account )?(?:balance|credits?|funds)|used all available credits"
        r"|(?:out of|no remaining) credits?\b|reached your specified (?:workspace )?API usage limits"
        r"|account's (?:monthly )?spend(?:ing)? limit",
        re.IGNORECASE,
    )


_LONGEST_REASON: Final = 500


def refuses_stream_options(refusal: GatewayError) -> bool:
    """Whether an upstream has refused a request for its `stream_options`."""
    return names_stream_options(refusal.status, f"{refusal.error.param} {refusal.error.message}")


def refusal_in_stream(data: bytes, deployment: str, secrets: Iterable[str | None] = ()) -> GatewayError:
    """The refusal in `data`, an error event of a stream: a status before the first token, else an event of ours."""
    try:
        status = status_of(decode_leniently(data))
    except NOT_JSON:
        status = NO_STATUS
    return upstream_refusal(status, read_error(data), with_told_wait({}, data), deployment=deployment, secrets=secrets)


class NotSent(GatewayError):
    """The upstream could not be reached, and nothing of the request was sent: it can be asked again."""


class NotWritten(GatewayError):
    """The request cannot be written for the upstream, which was sent nothing: no fault of the upstream's, and another
    may take the request as it is."""


def not_written(deployment: str, cause: BaseException) -> GatewayError:
    """A message, a tool or a parameter of the client's has a form that the upstream's protocol has no place for."""
    log_upstream(logger, deployment, "the request cannot be written for it: %s", type(cause).__name__)
    message = "A message, a tool or a parameter of this request has a form that the model's provider does not take."
    return NotWritten(400, message, code="unsupported_value")


def unreachable(deployment: str, cause: BaseException, *, sent: bool = True) -> GatewayError:
    """No connection, or one that broke before the answer began; `NotSent` if that is certain."""
    log_upstream(logger, deployment, "the upstream is unreachable: %s", _reason(cause))
    return (GatewayError if sent else NotSent)(
        502,
        "The model provider could not be reached. Please try again.",
        type=SERVER_ERROR,
        code="upstream_unreachable",
        error_type="upstream_connect",
    )


def timed_out(deployment: str, missed: Missed, seconds: float | None) -> GatewayError:
    """A deadline has passed, before the first token or behind it. `seconds` is None for one that is not ours."""
    what = f"{_MISSED[missed]} {'in time' if seconds is None else f'within {seconds:g} s'} ({missed})"
    log_upstream(logger, deployment, "the upstream timed out: it %s", what)
    return GatewayError(
        504,
        f"The model provider {what}. Please try again.",
        type=SERVER_ERROR,
        code="upstream_timeout",
        error_type="upstream_timeout",
    )


_MISSED: Final[Mapping[Missed, str]] = {
    "connect_timeout": "accepted no connection",
    "first_token_timeout": "said nothing",
    "stall_timeout": "went on with no further token",
    "timeout": "did not finish its answer",
}


def cut_short(deployment: str, cause: str | BaseException) -> GatewayError:
    """A stream that broke, or ended before the answer was complete. `cause` is a sentence of ours, or what broke it."""
    log_upstream(logger, deployment, "the upstream cut its stream: %s", _reason(cause))
    return broken_off()


def leaves_out(deployment: str, attempt: Attempt, most: int) -> bool:
    """Whether a malformed event of a stream is left out, and the answer goes on: so are the first `most` of them."""
    if attempt.left_out >= most:
        return False
    attempt.left_out += 1
    text = "a malformed event of its stream was left out, %d of at most %d"
    log_upstream(logger, deployment, text, attempt.left_out, most)
    return True


def malformed(deployment: str, cause: str | BaseException) -> GatewayError:
    """An answer that does not have OpenAI's wire format. `cause` is a sentence of ours, or what failed on it."""
    log_upstream(logger, deployment, "the upstream sent a malformed answer: %s", _reason(cause))
    return no_completion()


def _reason(cause: str | BaseException) -> str:
    """What went wrong, without the text of an exception that a parser raises: it quotes what it could not read."""
    if isinstance(cause, str | HttpError):
        return str(cause)
    kind = type(cause).__name__
    return f"{kind}: {cause.strerror}" if isinstance(cause, OSError) and cause.strerror else kind


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
