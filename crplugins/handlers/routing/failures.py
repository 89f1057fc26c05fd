"""What a failure of one deployment means for the request: who may still answer it, and whether to ask again."""

import time
from collections.abc import Callable
from typing import Final, Literal

from crplugins.core.errors import GatewayError
from crplugins.core.outcome import ErrorType
from crplugins.core.retry_after import seconds_of
from crplugins.handlers import faults_of_requests
from crplugins.handlers.routing.settings import FailureKind
from crplugins.handlers.upstream_errors import NotSent, NotWritten

Remedy = Literal["another", "another_model", "content_policy", "none"]
"""Who may answer a request that a deployment failed.

another: every other deployment.
another_model: one whose model is another one, which may take longer prompts.
content_policy: one of the models named for it.
none: nobody, as they would all refuse it.
"""

_OF_THE_DEPLOYMENT: Final[frozenset[ErrorType]] = frozenset(
    {
        "upstream_429", "upstream_5xx", "upstream_timeout", "upstream_connect", "upstream_stream_broken",
        "upstream_auth", "upstream_quota",
    }
)  # fmt: skip

_STATUSES_OF_THE_DEPLOYMENT: Final = frozenset({405, 408, 421, 424, 425, 499})
"""4xx that are not the request's fault: this deployment has no such path, was too slow, took the connection for another
host's, or its model failed (424 of TGI and Bedrock), or it gave the request up itself (499 of Google)."""

_MAY_BE_AT_WORK: Final = frozenset({504, 520, 524, 598, 599})
"""Statuses by which a proxy in front of the provider says that the answer did not come in time, or got lost."""


def remedy_of(error: GatewayError) -> Remedy:
    """Who may answer the request that failed with `error`."""
    if isinstance(error, NotWritten):
        return "another"
    if error.error_type != "upstream_4xx":
        return "another" if error.error_type in _OF_THE_DEPLOYMENT else "none"
    if error.status in _STATUSES_OF_THE_DEPLOYMENT or lacks_model(error):
        return "another"
    if refuses_content(error):
        return "content_policy"
    return "another_model" if is_too_long(error) else "none"


def is_too_long(error: GatewayError) -> bool:
    """Whether the prompt is too long for the model, or the request too large for the provider."""
    return faults_of_requests.is_too_long(error.status, error.error)


def refuses_content(error: GatewayError) -> bool:
    """Whether a policy of the provider forbids what the request says."""
    return faults_of_requests.is_forbidden_content(error.status, error.error)


def lacks_model(error: GatewayError) -> bool:
    """Whether the provider has no model of the name that it was asked for."""
    return error.error_type == "upstream_4xx" and faults_of_requests.lacks_model(error.status, error.error)


def kind_of(error: GatewayError) -> FailureKind:
    """What LiteLLM's `retry_policy` calls a failure."""
    if error.error_type == "upstream_4xx":
        if refuses_content(error):
            return "ContentPolicyViolationError"
        if lacks_model(error):
            return "NotFoundError"
        return _KINDS_OF_4XX.get(error.status, "BadRequestError")
    if error.error_type == "upstream_5xx":
        return _KINDS_OF_5XX.get(error.status, "InternalServerError")
    if isinstance(error, NotSent):
        return "InternalServerError"
    return _KINDS.get(error.error_type, "Default")


_KINDS_OF_4XX: Final[dict[int, FailureKind]] = {408: "TimeoutError"}
_KINDS_OF_5XX: Final[dict[int, FailureKind]] = {
    503: "ServiceUnavailableError",
    529: "ServiceUnavailableError",
    504: "TimeoutError",
    524: "TimeoutError",
}
_KINDS: Final[dict[ErrorType, FailureKind]] = {
    "upstream_429": "RateLimitError",
    "upstream_timeout": "TimeoutError",
    "upstream_auth": "AuthenticationError",
    "upstream_quota": "AuthenticationError",
}


def is_over(error: GatewayError) -> bool:
    """Whether the deployment is certainly not at work on the request any more, so that nothing is done twice.

    A 429 or a 5xx is an answer. A request that could not be sent was never begun. Silence, a timeout and a connection
    that broke are neither: the provider may go on, and bill it.
    """
    if error.error_type == "upstream_5xx":
        return error.status not in _MAY_BE_AT_WORK
    return error.error_type == "upstream_429" or isinstance(error, NotSent)


def retry_after(error: GatewayError, wall_clock: Callable[[], float] = time.time) -> float | None:
    """The seconds after which the provider wants to be asked again; None if it says nothing, or nothing sensible."""
    hints = {name: value.decode("latin-1") for name, value in error.headers if name.startswith(b"retry-after")}
    for name, unit in ((b"retry-after-ms", 1000.0), (b"retry-after", 1.0)):
        if (value := hints.get(name)) is not None and (seconds := seconds_of(value, unit, wall_clock)) is not None:
            return seconds
    return None


def forbids_retries(error: GatewayError) -> bool:
    """Whether the provider says that it would only fail again (`x-should-retry`, which OpenAI's SDKs obey)."""
    return any(name == b"x-should-retry" and value == b"false" for name, value in error.headers)
