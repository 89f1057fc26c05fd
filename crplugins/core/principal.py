"""Principal: who calls, and what that caller may do. Never holds a secret."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, get_args

import msgspec

Period = Literal["day", "week", "month", "total"]

OnDisconnect = Literal["cancel", "drain"]
"""When the client leaves: end the work at once, or read on to the provider's usage."""

MissingUsagePolicy = Literal["estimate", "refuse", "free"]
"""When the provider tells no usage: estimate it, let the request fail, or count nothing."""

Priority = Literal["low", "normal", "high"]
"""Whose requests are refused first when a process is full: the lowest."""

PRIORITIES: Final[tuple[Priority, ...]] = get_args(Priority)
DEFAULT_PRIORITY: Final[Priority] = "normal"


class Queue(msgspec.Struct, frozen=True):
    """How long a request waits that a limit would refuse now: so many seconds at most, and so many requests at once."""

    seconds: float = 10.0
    length: int = 100


class Limits(msgspec.Struct, frozen=True):
    """How much a caller may use; None is no limit.

    Attributes:
        burst: how much of a limit may be used at once, by the limit's name; the limit itself where nothing is said.
        shadow: what would be refused is noted, and let through.
        queue: how requests wait for these limits; None if nothing is said.
    """

    requests_per_minute: int | None = None
    requests_per_hour: int | None = None
    requests_per_day: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_hour: int | None = None
    tokens_per_day: int | None = None
    output_tokens_per_minute: int | None = None
    output_tokens_per_hour: int | None = None
    output_tokens_per_day: int | None = None
    max_parallel_requests: int | None = None
    burst: Mapping[str, int] = msgspec.field(default_factory=lambda: MappingProxyType({}))
    shadow: bool = False
    queue: Queue | None = None


class Budget(msgspec.Struct, frozen=True):
    """How much a caller may spend in each `period`, in millionths of a US dollar.

    With `shadow` what would be refused is noted, and let through.
    """

    micro_usd: int
    period: Period
    shadow: bool = False


class AliasTarget(msgspec.Struct, frozen=True):
    """One target of a weighted alias."""

    model: str
    weight: int = 1


Aliases = Mapping[str, tuple[AliasTarget, ...]]
"""From a name, or a pattern with one `*`, to the targets that share its requests by weight."""


class Principal(msgspec.Struct, frozen=True):
    """The caller of a request.

    Attributes:
        key_id: identity for records, metrics and limits; stays the same when the secret is rotated.
        models: names it may call, wildcards allowed; None for all.
        models_shadow: that it calls another is noted, and let through.
        priority: which place its requests have when a process is full.
        admin: it is an operator's, and opens the routes of LiteLLM's proxy and of vLLM that clients may not use.
        aliases: names of its own, looked up before its team's and the gateway's.
        on_disconnect, missing_usage: None for what the gateway does.
        weight: its share, against other keys, of a limit for which both wait.
    """

    key_id: str
    team: str | None = None
    owner: str | None = None
    tags: Mapping[str, str] = msgspec.field(default_factory=lambda: MappingProxyType({}))
    models: tuple[str, ...] | None = None
    aliases: Aliases = msgspec.field(default_factory=lambda: MappingProxyType({}))
    limits: Limits = Limits()
    budget: Budget | None = None
    on_disconnect: OnDisconnect | None = None
    missing_usage: MissingUsagePolicy | None = None
    models_shadow: bool = False
    admin: bool = False
    priority: Priority = DEFAULT_PRIORITY
    weight: int = 1
