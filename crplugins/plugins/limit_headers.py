"""`x-ratelimit-*`, as OpenAI sends them: of the tightest limit on requests, and of the tightest on tokens."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from crplugins.core.errors import Header
from crplugins.limits.limit import Level, Reservation
from crplugins.plugins.limit_bounds import Bounds
from crplugins.plugins.limit_durations import spell_duration

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
