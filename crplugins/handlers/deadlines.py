"""Deadlines: how long a deployment may take to answer. The one place that decides it, for every handler.

Three deadlines instead of one: a model may think for minutes before its first word and still be well, while half a
minute of silence after that word is a broken stream. A token is something said: no heartbeat, role or byte of
nonsense moves a deadline.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from crplugins.handlers.http.interface import ConnectTimeout, WholeTimeout

DEFAULT_TIMEOUT: Final = 600.0
CONNECT_TIMEOUT: Final = 10.0
_SHARE: Final = 3
"""Into so many parts `timeout` is cut where another deployment can still be asked: one that is silent for a third of it
leaves the time for two more."""

_NONE: Final = float("inf")

Missed = Literal["connect_timeout", "first_token_timeout", "stall_timeout", "timeout"]
"""The deadlines, by the names that settings and messages have for them."""


class Overdue(TimeoutError):
    """The deadline of a request has passed, whoever kept it."""


class Patience(msgspec.Struct, frozen=True):
    """The deadlines of one request to one deployment, in seconds.

    Attributes:
        connect: until the upstream has accepted the connection.
        first_token: from the request to the first token of a stream, or to the last byte of a plain answer, which says
            nothing before it is whole.
        stall: between two tokens of a stream.
        whole: from the request to the last byte; infinite where nothing bounds it.
    """

    connect: float
    first_token: float
    stall: float
    whole: float

    @property
    def first(self) -> tuple[Missed, float]:
        """The deadline that passes first before the first token, but for that of connecting, and its seconds."""
        return ("first_token_timeout", self.first_token) if self.first_token < self.whole else ("timeout", self.whole)

    def missed(self, error: TimeoutError, *, spoke: bool) -> tuple[Missed, float]:
        """Which deadline `error` of the HTTP client is, and its seconds. `spoke`: the first token had come."""
        if isinstance(error, WholeTimeout):
            return "timeout", self.whole
        if isinstance(error, ConnectTimeout):
            return "connect_timeout", self.connect
        return ("stall_timeout", self.stall) if spoke else ("first_token_timeout", self.first_token)


@dataclass(frozen=True, slots=True)
class Deadlines:
    """What is written of the deadlines of a deployment, in seconds; None where nothing is.

    Attributes:
        timeout: for a whole answer. Where it is not written, 600 s bound a plain answer, and nothing bounds a stream as
            a whole: a long answer is no fault.
        first_token: until the first token.
        first_token_of_stream: the same, for streams alone.
        stall: between two tokens; by default as long as `timeout`.
    """

    timeout: float | None = None
    first_token: float | None = None
    first_token_of_stream: float | None = None
    stall: float | None = None
    _patience: dict[tuple[bool, bool], Patience] = field(init=False, repr=False, compare=False, default_factory=dict)

    def patience(self, *, stream: bool, can_fail_over: bool) -> Patience:
        """The deadlines of a request. `can_fail_over`: another deployment can be asked if this one says nothing."""
        known = self._patience.get((stream, can_fail_over))  # computed with the first request: models are many
        if known is None:
            known = self._patience[stream, can_fail_over] = self._of(stream=stream, can_fail_over=can_fail_over)
        return known

    @property
    def longest(self) -> float:
        """The longest time for which any of them lets an upstream be silent."""
        every = [self._of(stream=stream, can_fail_over=other) for stream in (False, True) for other in (False, True)]
        return max(max(each.first_token, each.stall) for each in every)

    def or_else(self, general: "Deadlines") -> "Deadlines":
        """These, and of `general` what is not written here."""
        says_first = self.first_token is not None or self.first_token_of_stream is not None
        first = self if says_first else general
        return Deadlines(
            timeout=general.timeout if self.timeout is None else self.timeout,
            first_token=first.first_token,
            first_token_of_stream=first.first_token_of_stream,
            stall=general.stall if self.stall is None else self.stall,
        )

    def _of(self, *, stream: bool, can_fail_over: bool) -> Patience:
        timeout = DEFAULT_TIMEOUT if self.timeout is None else self.timeout
        first = timeout / _SHARE if can_fail_over else timeout
        whole = timeout
        if stream:
            written = self.first_token if self.first_token_of_stream is None else self.first_token_of_stream
            first = first if written is None else written
            whole = _NONE if self.timeout is None else timeout
        elif can_fail_over and self.first_token is not None:  # the last one asked may take its time: it is not silent,
            first = self.first_token  # it says everything at once
        first = min(first, whole)
        stall = timeout if self.stall is None else self.stall
        return Patience(min(CONNECT_TIMEOUT, first), first, stall, whole)


NO_DEADLINES: Final = Deadlines()
"""Nothing is written."""
