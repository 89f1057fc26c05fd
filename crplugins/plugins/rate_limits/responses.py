"""What a client sees of its limits: the headers `x-ratelimit-*`, and the 429 of a request that a limit refuses.

Both are made of a `LimitStatus`, as OpenAI makes them: the headers show the tightest limit on requests and the tightest
on tokens.
"""

from collections.abc import Sequence
from operator import itemgetter
from typing import Final

import msgspec

from crplugins.core.errors import DO_NOT_RETRY, SESSION_LIMIT, GatewayError, Header
from crplugins.core.outcome import ErrorType
from crplugins.core.retry_after import waiting
from crplugins.limits.limit import NEVER, Level, Limit, Reservation
from crplugins.plugins.rate_limits.rules import AppliedLimit, AppliedLimits

_PREFIXES: Final = (b"x-ratelimit-", b"anthropic-ratelimit-")
_IN_PREFIXES: Final = b"ratelimit-"
_REQUESTS: Final = (b"x-ratelimit-limit-requests", b"x-ratelimit-remaining-requests", b"x-ratelimit-reset-requests")
_TOKENS: Final = (b"x-ratelimit-limit-tokens", b"x-ratelimit-remaining-tokens", b"x-ratelimit-reset-tokens")


class LimitStatus(msgspec.Struct, frozen=True):
    """The status of a request's limits when it came.

    Attributes:
        reservation: what the request holds, or was refused; a charge for each limit of `applied`.
        levels: before the request took anything, in the same order.
        refused: index of the limit that refused it.
    """

    applied: AppliedLimits
    reservation: Reservation
    levels: tuple[Level, ...]
    refused: int | None = None


def without_rate_limit_headers(headers: Sequence[Header]) -> list[Header]:
    """The headers without those of an app or a provider, which are not about the caller's limits."""
    if b"\n".join([*map(itemgetter(0), headers)]).find(_IN_PREFIXES) < 0:
        return [*headers]
    return [header for header in headers if not header[0].startswith(_PREFIXES)]


def rate_limit_headers(status: LimitStatus, *, took: bool) -> list[Header]:
    """Six headers, or three where only one kind is limited. `took`: whether the request has taken its charges."""
    headers: list[Header] = []
    for names, indexes in ((_REQUESTS, status.applied.requests), (_TOKENS, status.applied.tokens)):
        if indexes:
            headers += _headers(names, status, indexes, took=took)
    return headers


def _headers(
    names: tuple[bytes, bytes, bytes], status: LimitStatus, indexes: Sequence[int], *, took: bool
) -> list[Header]:
    """Of the tightest limit among `indexes`, which are those of one kind."""
    refused = status.refused
    if refused is not None and refused in indexes:
        indexes = (refused,)
    charges, levels = status.reservation.charges, status.levels
    tightest, remaining = -1, 0
    for index in indexes:
        charge = charges[index]
        free = remaining_of(charge.limit, levels[index]) - (charge.cost if took else 0)
        if tightest < 0 or free * charges[tightest].limit.amount < remaining * charge.limit.amount:
            tightest, remaining = index, free
    charge, reset = charges[tightest], levels[tightest].reset
    limit = charge.limit
    if took and limit.kind == "meter":
        reset += -(-charge.cost * limit.period // limit.amount)
    return [
        (names[0], b"%d" % limit.amount),
        (names[1], b"%d" % max(0, remaining)),
        (names[2], format_duration(reset).encode()),
    ]


def remaining_of(limit: Limit, level: Level) -> int:
    """How much of a limit remains, rounded down: the level of a meter has only whole units of what is used."""
    used = level.used
    if limit.kind != "meter":
        return limit.amount - used
    begun = (level.reset - 1) * limit.amount >= used * limit.period  # it takes longer to drain than whole units would
    return limit.burst - used - begun


_CODE: Final = "rate_limit_exceeded"


def refusal_reason(refusing: AppliedLimit) -> ErrorType:
    return "token_limited" if refusing.measure.unit in ("tokens", "output_tokens") else "rate_limited"


def limit_name(applied: AppliedLimit) -> str:
    """`key requests_per_minute`: the scope and the name that a limit has in the configuration."""
    return f"{format_scope(applied.scope)} {applied.measure.name}"


def format_scope(scope: str) -> str:
    """As the configuration names it."""
    return "global" if scope == "overall" else scope.replace("_", " ")


def limit_reached(status: LimitStatus, wait: int, model: str | None) -> GatewayError:
    """429 for the limit that refused. `wait` in milliseconds, or `NEVER`.

    `Used` is how much is not available now of what may be used at once, which is the burst where that is less than the
    limit; the message then names it, so that the wait follows from the message.
    """
    assert status.refused is not None
    refusing, cost = status.applied.all[status.refused], status.reservation.charges[status.refused].cost
    remaining = remaining_of(refusing.limit, status.levels[status.refused])
    if refusing.ends_session:
        return _session_over(refusing, cost, remaining)
    if wait == NEVER:
        return _too_large(refusing, cost, model)
    used = max(0, _at_once(refusing) - remaining)
    return GatewayError(
        429,
        f"Rate limit reached{_for(model)}{_in(refusing)} on {refusing.measure.words}: Limit {refusing.limit.amount}"
        f"{_burst(refusing)}, Used {used}, Requested {cost}. Please try again in {format_duration(wait)}.",
        type=_type(refusing),
        code=_CODE,
        headers=waiting(wait),
        error_type=refusal_reason(refusing),
        limit=limit_name(refusing),
    )


def _too_large(refusing: AppliedLimit, cost: int, model: str | None) -> GatewayError:
    return GatewayError(
        429,
        f"Request too large{_for(model)}{_in(refusing)} on {refusing.measure.words}: Limit {refusing.limit.amount}, "
        f"Requested {cost}. The input or output tokens must be reduced in order to run successfully.",
        type=_type(refusing),
        code=_CODE,
        headers=[DO_NOT_RETRY],
        error_type=refusal_reason(refusing),
        limit=limit_name(refusing),
    )


def _session_over(refusing: AppliedLimit, cost: int, remaining: int) -> GatewayError:
    """403, because clients repeat a 429 of their own accord, and no waiting helps."""
    return GatewayError(
        403,
        f"This session has reached its limit on {refusing.measure.words}: Limit {refusing.limit.amount}, "
        f"Remaining {max(0, remaining)}, Requested {cost}. Please do not retry.",
        type=SESSION_LIMIT,
        code="session_limit_exceeded",
        headers=[DO_NOT_RETRY],
        error_type=refusal_reason(refusing),
        limit=limit_name(refusing),
    )


def _at_once(refusing: AppliedLimit) -> int:
    limit = refusing.limit
    return limit.burst if limit.kind == "meter" else limit.amount


def _burst(refusing: AppliedLimit) -> str:
    """Nothing for a limit that may be used up at once, as OpenAI's may."""
    at_once = _at_once(refusing)
    return f", Burst {at_once}" if at_once < refusing.limit.amount else ""


def _type(refusing: AppliedLimit) -> str:
    return "tokens" if refusal_reason(refusing) == "token_limited" else "requests"


def _for(model: str | None) -> str:
    return f" for {model}" if model else ""


def _in(refusing: AppliedLimit) -> str:
    """Whose limit it is; nothing for a limit that is shared with others, about whom a client must learn nothing."""
    if refusing.scope in ("user", "session"):
        return f" for this {refusing.scope}"
    return f" in organization {refusing.owner}" if refusing.owner else ""


def format_duration(milliseconds: int) -> str:
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
