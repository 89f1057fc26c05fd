"""`x-ratelimit-*`, as OpenAI sends them: of the tightest limit on requests, and of the tightest on tokens."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from crplugins.core.errors import DO_NOT_RETRY, GatewayError, Header
from crplugins.core.outcome import ErrorType
from crplugins.limits.limit import NEVER, Level, Reservation
from crplugins.plugins.rate_limits.rules import Bound, Bounds


def spell_duration(milliseconds: int) -> str:
    """`0s`, `120ms`, `3.89s`, `6m0s`. Hours are written as minutes: no recording shows another form."""
    if milliseconds >= 60_000:
        minutes, rest = divmod(milliseconds, 60_000)
        return f"{minutes}m{_seconds(rest)}"
    if 0 < milliseconds < 1_000:
        return f"{milliseconds}ms"
    return _seconds(milliseconds)


def _seconds(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1_000)
    return f"{seconds}.{rest:03d}".rstrip("0") + "s" if rest else f"{seconds}s"


_PREFIX: Final = b"x-ratelimit-"
_REQUESTS: Final = (b"x-ratelimit-limit-requests", b"x-ratelimit-remaining-requests", b"x-ratelimit-reset-requests")
_TOKENS: Final = (b"x-ratelimit-limit-tokens", b"x-ratelimit-remaining-tokens", b"x-ratelimit-reset-tokens")


class Standing(NamedTuple):
    """How a request found its limits.

    Attributes:
        reservation: what it holds, or what it was refused; a charge for each of `bounds`.
        levels: before the request took anything, in the same order.
        refused: index of the limit that turned it away.
    """

    bounds: Bounds
    reservation: Reservation
    levels: tuple[Level, ...]
    refused: int | None = None


def without_foreign(headers: Sequence[Header]) -> list[Header]:
    """What an app or a provider says of limits is not about the caller's."""
    return [header for header in headers if not header[0].startswith(_PREFIX)]


def rate_limit_headers(standing: Standing, *, took: bool) -> list[Header]:
    """Six headers, or three where only one kind is limited. `took`: whether the request has what it asked for."""
    headers: list[Header] = []
    for names, indexes in ((_REQUESTS, standing.bounds.requests), (_TOKENS, standing.bounds.tokens)):
        if indexes:
            headers += _told(names, standing, indexes, took=took)
    return headers


def _told(names: tuple[bytes, bytes, bytes], standing: Standing, indexes: Sequence[int], *, took: bool) -> list[Header]:
    refused = standing.refused
    if refused is not None and refused in indexes:
        indexes = (refused,)
    charges, index, remaining = standing.reservation.charges, -1, 0
    for other in indexes:
        free = left(standing, other, took=took)
        if index < 0 or free * charges[index].limit.amount < remaining * charges[other].limit.amount:
            index, remaining = other, free
    limit, cost = charges[index]
    reset = standing.levels[index].reset
    if took:
        reset += -(-cost * limit.period // limit.amount)
    return [
        (names[0], b"%d" % limit.amount),
        (names[1], b"%d" % max(0, remaining)),
        (names[2], spell_duration(reset).encode()),
    ]


def left(standing: Standing, index: int, *, took: bool) -> int:
    """What of a limit could be used now, rounded down: a level tells only whole units of what is used."""
    limit, cost = standing.reservation.charges[index]
    used, reset = standing.levels[index]
    begun = (reset - 1) * limit.amount >= used * limit.period  # it takes longer to get empty than whole units would
    return (limit.burst if limit.kind == "meter" else limit.amount) - used - begun - (cost if took else 0)


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
