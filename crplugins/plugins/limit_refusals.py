"""What a client over its limits is told, in OpenAI's words: SDKs and agents wait by them."""

from typing import Final

from crplugins.core.errors import DO_NOT_RETRY, GatewayError
from crplugins.core.outcome import ErrorType
from crplugins.limits.limit import NEVER
from crplugins.plugins.limit_bounds import Bound
from crplugins.plugins.limit_durations import spell_duration
from crplugins.plugins.limit_headers import Standing, left

_CODE: Final = "rate_limit_exceeded"


def refusal_reason(bound: Bound) -> ErrorType:
    return "token_limited" if bound.measure.unit in ("tokens", "output_tokens") else "rate_limited"


def limit_reached(standing: Standing, wait: int, model: str | None) -> GatewayError:
    """429 of the limit that refused. `wait` in milliseconds, or `NEVER`.

    `Used` is what of the limit cannot be had now, so that the wait follows from the message, and from the headers, also
    where the burst is less than the limit.
    """
    assert standing.refused is not None
    bound, cost = standing.bounds.all[standing.refused], standing.reservation.charges[standing.refused].cost
    if wait == NEVER:
        return _too_large(bound, cost, model)
    used = max(0, bound.limit.amount - left(standing, standing.refused, took=False))
    return GatewayError(
        429,
        f"Rate limit reached{_for(model)}{_in(bound)} on {bound.measure.words}: Limit {bound.limit.amount}, "
        f"Used {used}, Requested {cost}. Please try again in {spell_duration(wait)}.",
        type=_type(bound),
        code=_CODE,
        headers=[("retry-after", str(-(-wait // 1000))), ("retry-after-ms", str(wait))],
        error_type=refusal_reason(bound),
    )


def _too_large(bound: Bound, cost: int, model: str | None) -> GatewayError:
    return GatewayError(
        429,
        f"Request too large{_for(model)}{_in(bound)} on {bound.measure.words}: Limit {bound.limit.amount}, "
        f"Requested {cost}. The input or output tokens must be reduced in order to run successfully.",
        type=_type(bound),
        code=_CODE,
        headers=[DO_NOT_RETRY],
        error_type=refusal_reason(bound),
    )


def _type(bound: Bound) -> str:
    return "tokens" if refusal_reason(bound) == "token_limited" else "requests"


def _for(model: str | None) -> str:
    return f" for {model}" if model else ""


def _in(bound: Bound) -> str:
    """Whose limit it is; nothing of one that is shared with others, about whom a client learns nothing."""
    return f" in organization {bound.owner}" if bound.owner else ""
