"""Attempt: one call of a provider for a request, why it was made, and what it has used."""

from collections.abc import Callable
from typing import Literal

import msgspec

from crplugins.core.errors import GatewayError
from crplugins.core.outcome import ErrorType
from crplugins.core.usage import TokenUsage, UsageSource

AttemptKind = Literal["initial", "retry", "fallback"]

RescueKind = Literal["restart", "continue"]
"""How another deployment takes over a stream that has broken: from the beginning, or from where it broke."""

FallbackReason = Literal["failure", "unavailable", "context_window", "content_policy"]
"""Why another model answers: those of the one that was asked for failed, or none of them could be asked, or the prompt
was too long for it, or a policy of its provider forbids the content."""


class Attempt(msgspec.Struct, eq=False):
    """One call of a provider.

    Attributes:
        started, ended: seconds of the clock of the request. `ended` is when the last byte was read, or when it failed;
            None while it is running.
        error_type: why it failed; empty if it did not.
        target: what was called there; another one makes a second attempt a fallback.
        on_fail: called when it fails.
        left_out: how many malformed events of its stream were left out.
        on_end: called once, when it ends in any way.
    """

    provider: str
    kind: AttemptKind
    started: float
    ended: float | None = None
    error_type: ErrorType = ""
    target: object = None
    on_fail: Callable[[GatewayError, float], None] | None = None
    left_out: int = 0
    on_end: Callable[[], None] | None = None

    def end(self, now: float) -> None:
        """Its last byte was read, or nobody reads on. The first time counts."""
        if self.ended is None:
            self.ended = now
            if self.on_end is not None:
                self.on_end()

    def fail(self, error: GatewayError, now: float) -> None:
        self.error_type = error.error_type
        if self.on_fail is not None:
            self.on_fail(error, now)
        self.end(now)


class Spent(msgspec.Struct, frozen=True):
    """What an attempt has used that failed before another one was made.

    Attributes:
        attempts: how many attempts the request had made by then.
        cost_micro_usd: None where the price of its tokens is unknown.
        provider_cost_micro_usd: what its provider has told that it costs; None if it has not.
    """

    usage: TokenUsage
    source: UsageSource
    attempts: int
    cost_micro_usd: int | None
    provider_cost_micro_usd: int | None
