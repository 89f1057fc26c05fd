"""RoutingSettings: what the configuration says about asking one deployment, and how often again."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, get_args

import msgspec

FailureKind = Literal[
    "BadRequestError",
    "AuthenticationError",
    "NotFoundError",
    "TimeoutError",
    "RateLimitError",
    "ContentPolicyViolationError",
    "InternalServerError",
    "ServiceUnavailableError",
    "Default",
]
"""Failures as LiteLLM's `retry_policy` tells them apart; `Default` are those that are none of the others."""

COOLDOWN_SECONDS: Final = 4.0
"""How long a deployment that failed cools down at first. Shorter, and an outage costs more trials than it need; longer,
and one that is well again waits for its requests."""


class RetryPolicy(msgspec.Struct, frozen=True):
    """How often the same deployment is asked again for a request.

    Attributes:
        retries: after a failure that the deployment answered with, and after one before the request was sent.
        by_kind: likewise after failures of one kind, also of those after which a deployment is otherwise not asked
            again because it may be at work on the answer.
    """

    retries: int = 1
    by_kind: Mapping[FailureKind, int] = msgspec.field(default_factory=lambda: MappingProxyType({}))


class RoutingSettings(msgspec.Struct, frozen=True):
    """Of one deployment.

    Attributes:
        order: those with the lowest are asked first, those without one last.
        weight: its share of the requests among those of one order; with 0 it is asked when no other can be.
        cooldown_seconds: how long it cools down at first when it has failed; with 0 it never cools down.
        allowed_fails: failures that it may have within a minute before it cools down. None: those in a row count, one
            that is answered when it is asked again is none.
        check_seconds: how often it is asked for its models to see whether it is there; 0 for never.
    """

    order: int | None = None
    weight: float = 1.0
    retries: RetryPolicy = RetryPolicy()
    cooldown_seconds: float = COOLDOWN_SECONDS
    allowed_fails: int | None = None
    check_seconds: float = 0.0


AS_BUILT_IN: Final = RoutingSettings()

Strategy = Literal["simple-shuffle", "least-busy", "latency-based-routing", "cost-based-routing"]
"""How one of several healthy deployments is chosen, in LiteLLM's words: by weight, the one with the fewest requests
running, the one that answers soonest, the cheapest."""

STRATEGIES: Final[tuple[Strategy, ...]] = get_args(Strategy)


class GroupSettings(msgspec.Struct, frozen=True):
    """Of all deployments of one model name.

    Attributes:
        affinity_seconds: how long requests of one session stay with one deployment after the last of them; 0 for not at
            all.
    """

    strategy: Strategy = "simple-shuffle"
    affinity_seconds: float = 300.0
