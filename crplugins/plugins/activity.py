"""Activity: which requests run in this process now, and which were refused or failed last."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final, Self

import msgspec

from crplugins.core.exchange import Exchange
from crplugins.core.outcome import ErrorType, Outcome
from crplugins.core.plugin import Plugin
from crplugins.core.redaction import short_name

KEPT: Final = 200
"""Refusals that are kept of requests with a key; as many again of those without, which anybody can send."""

SHOWN: Final = 500
"""Running requests that are shown, the oldest first: those that hang are among them."""

_OWN_WORDS: Final = frozenset(
    {
        "unauthenticated",
        "forbidden_model",
        "unknown_model",
        "rate_limited",
        "token_limited",
        "budget_exceeded",
        "overloaded",
    }
)
"""Errors whose message is a sentence of ours about keys, names and numbers; others may quote what was asked."""


class RunningRequest(msgspec.Struct, frozen=True):
    """A request that is not over.

    Attributes:
        started_at: in ISO 8601 and UTC.
        first_token_seconds: after which time there was a first token; None before there is one.
    """

    request_id: str
    key_id: str | None
    team: str | None
    model: str | None
    served_model: str | None
    provider: str | None
    stream: bool
    started_at: str
    seconds: float
    first_token_seconds: float | None
    attempts: int


class RefusedRequest(msgspec.Struct, frozen=True):
    """A request that was refused or has failed.

    Attributes:
        at: when it was over, in ISO 8601 and UTC.
        message: None where it may quote a prompt.
    """

    request_id: str
    at: str
    key_id: str | None
    team: str | None
    model: str | None
    status: int
    outcome: Outcome
    error_type: ErrorType
    code: str | None
    param: str | None
    message: str | None


class Activity(Plugin):
    """Keeps what is shown to operators: nothing of what was asked or answered, and no more than a few hundred entries.

    Place it outside Auth, so that requests without a good key are among the refused.

    Args:
        now: the wall clock, in seconds since 1970.
    """

    observes = True

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._running: dict[str, Exchange] = {}
        self._refused: deque[RefusedRequest] = deque(maxlen=KEPT)
        self._strangers: deque[RefusedRequest] = deque(maxlen=KEPT)

    def take_over(self, previous: Self) -> None:
        self._running, self._refused, self._strangers = previous._running, previous._refused, previous._strangers

    def on_request(self, exchange: Exchange) -> None:
        self._running[exchange.id] = exchange

    def on_finish(self, exchange: Exchange) -> None:
        self._running.pop(exchange.id, None)
        if exchange.outcome not in ("ok", "cancelled"):
            kept = self._strangers if exchange.principal is None else self._refused
            kept.append(_refused(exchange, self._now()))

    def running(self) -> Iterator[RunningRequest]:
        """The oldest first."""
        for exchange, _ in zip(list(self._running.values()), range(SHOWN), strict=False):
            yield _running(exchange, self._now())

    def refused(self) -> list[RefusedRequest]:
        """The newest first."""
        newest_first = [*reversed(self._refused), *reversed(self._strangers)]
        return sorted(newest_first, key=lambda each: each.at, reverse=True)


def _running(exchange: Exchange, now: float) -> RunningRequest:
    timings, principal = exchange.timings, exchange.principal
    seconds = exchange.clock() - timings.started
    return RunningRequest(
        request_id=exchange.id,
        key_id=principal.key_id if principal is not None else None,
        team=principal.team if principal is not None else None,
        model=_name(exchange.requested_model),
        served_model=_name(exchange.served_model),
        provider=exchange.attempts[-1].provider if exchange.attempts else None,
        stream=exchange.stream,
        started_at=_moment(now - seconds),
        seconds=seconds,
        first_token_seconds=None if timings.first_token is None else timings.first_token - timings.started,
        attempts=len(exchange.attempts),
    )


def _refused(exchange: Exchange, now: float) -> RefusedRequest:
    principal, error = exchange.principal, exchange.error
    return RefusedRequest(
        request_id=exchange.id,
        at=_moment(now),
        key_id=principal.key_id if principal is not None else None,
        team=principal.team if principal is not None else None,
        model=_name(exchange.requested_model),
        status=exchange.status or 500,
        outcome=exchange.outcome or "server_error",
        error_type=exchange.error_type,
        code=None if error is None else _name(error.code),
        param=None if error is None else _name(error.param),
        message=error.message if error is not None and exchange.error_type in _OWN_WORDS else None,
    )


def _moment(seconds: float) -> str:
    """`2027-01-31T12:00:00.000000Z`: such texts sort by time."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _name(text: str | None) -> str | None:
    return None if text is None else short_name(text)
