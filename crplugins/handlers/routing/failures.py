"""What a failure of one deployment means for the next one."""

from typing import Final

from crplugins.core.errors import GatewayError
from crplugins.core.outcome import ErrorType

_FAILS_OVER: Final[frozenset[ErrorType]] = frozenset(
    {
        "upstream_429", "upstream_5xx", "upstream_timeout", "upstream_connect", "upstream_stream_broken",
        "upstream_auth", "upstream_quota",
    }
)  # fmt: skip
"""Failures of one deployment, after which another may succeed. A request that one provider finds invalid is not among
them: the next provider would refuse it too."""

_STATUSES_THAT_FAIL_OVER: Final = frozenset({404, 408})
"""4xx that are not the request's fault: this deployment lacks the model, or was too slow."""


def fails_over(error: GatewayError) -> bool:
    """Whether another deployment may answer the request that this one failed."""
    if error.error_type == "upstream_4xx":
        return error.status in _STATUSES_THAT_FAIL_OVER
    return error.error_type in _FAILS_OVER
