"""ReplayReport: what happened beside what would have happened, added up while a simulation runs."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from crplugins.core.outcome import ErrorType
from crplugins.core.usage import usd
from crplugins.homes.replay.history import DECIDED
from crplugins.homes.replay.simulation import Fate

CLOSE_MILLISECONDS: Final = 50
"""A refusal that so short a wait would have spared is a close one: the clocks of two processes differ by as much."""

MOST_GROUPS: Final = 10_000
"""Clients can invent names of models. Further groups are added up as one."""

_OTHERS: Final = "(others)"


class RefusalGroup(NamedTuple):
    """Refusals are counted by whose they are, of what, and why."""

    key_id: str | None
    team: str | None
    model: str | None
    reason: ErrorType
    limit: str


@dataclass(slots=True)
class RefusalSums:
    """The refusals of one group.

    Attributes:
        newly: those that were answered really.
        cost_micro_usd: what these have cost, as far as their price is known.
    """

    first: datetime
    last: datetime
    requests: int = 0
    newly: int = 0
    cost_micro_usd: int = 0


@dataclass(slots=True)
class Side:
    """One of the two histories.

    Attributes:
        refused: how many requests, by reason.
        unpriced: requests whose cost is unknown.
    """

    refused: Counter[ErrorType] = field(default_factory=Counter)
    cost_micro_usd: int = 0
    unpriced: int = 0

    def add(self, refused: ErrorType, cost: int | None) -> None:
        if refused:
            self.refused[refused] += 1
        self.cost_micro_usd += cost or 0
        self.unpriced += cost is None

    def to_dict(self) -> dict[str, Any]:
        return {
            "refused": dict(sorted(self.refused.items())),
            "cost_usd": usd(self.cost_micro_usd),
            "unpriced_requests": self.unpriced,
        }


class ReplayReport:
    """Takes the fate of each request that began at `since` or later; what was before only fills the limits."""

    def __init__(self, since: datetime) -> None:
        self.requests = 0
        self.today: Final = Side()
        self.replayed: Final = Side()
        self.newly_refused = self.newly_admitted = self.other_reason = self.close = self.assumed = 0
        self.not_decided = 0
        self.refusals: Final[dict[RefusalGroup, RefusalSums]] = {}
        self.without_estimate = 0
        self._since: Final = since

    def add(self, fate: Fate) -> None:
        past = fate.past
        if past.started_at < self._since:
            return
        self.requests += 1
        was, now = past.refused, fate.refused
        if not past.came_to_limits:
            self.not_decided += 1
            was = past.error_type
        elif past.expected_input_tokens is None:
            self.without_estimate += 1
        self.today.add(was, past.cost_micro_usd)
        self.replayed.add(now, fate.cost_micro_usd)
        self.newly_refused += bool(now and not was)
        self.newly_admitted += bool(was and not now)
        self.other_reason += bool(was and now and was != now)
        self.assumed += fate.assumed
        self.close += fate.wait is not None and fate.wait <= CLOSE_MILLISECONDS
        if now and past.came_to_limits:
            self._add_refusal(fate, newly=not was)

    def to_dict(self) -> dict[str, Any]:
        """As JSON. The refusals of most requests first."""
        found = sorted(self.refusals.items(), key=lambda item: (-item[1].requests, tuple(map(str, item[0]))))
        return {
            "requests": self.requests,
            "today": self.today.to_dict(),
            "replayed": self.replayed.to_dict(),
            "newly_refused": self.newly_refused,
            "newly_admitted": self.newly_admitted,
            "refused_for_another_reason": self.other_reason,
            "close_refusals": self.close,
            "assumed_requests": self.assumed,
            "not_decided_requests": self.not_decided,
            "requests_without_estimate": self.without_estimate,
            "refusals": [
                {
                    **group._asdict(),
                    "requests": refused.requests,
                    "newly": refused.newly,
                    "first": _text(refused.first),
                    "last": _text(refused.last),
                    "cost_usd_today": usd(refused.cost_micro_usd),
                }
                for group, refused in found
            ],
        }

    def _add_refusal(self, fate: Fate, *, newly: bool) -> None:
        past = fate.past
        group = RefusalGroup(past.key_id, past.team, past.requested_model, fate.refused, fate.limit)
        if group not in self.refusals and len(self.refusals) >= MOST_GROUPS:
            group = RefusalGroup(_OTHERS, None, _OTHERS, fate.refused, fate.limit)
        refused = self.refusals.get(group)
        if refused is None:
            refused = self.refusals[group] = RefusalSums(past.started_at, past.started_at)
        refused.first, refused.last = min(refused.first, past.started_at), max(refused.last, past.started_at)
        refused.requests += 1
        if newly:
            refused.newly += 1
            refused.cost_micro_usd += past.cost_micro_usd or 0


def fate_to_dict(fate: Fate) -> dict[str, Any]:
    """One request as JSON."""
    past = fate.past
    return {
        "request_id": past.request_id,
        "started_at": _text(past.started_at),
        "key_id": past.key_id,
        "team": past.team,
        "model": past.requested_model,
        "was": past.error_type if past.error_type in DECIDED else "",
        "would_be": fate.refused,
        "limit": fate.limit,
        "cost_usd_today": None if past.cost_micro_usd is None else usd(past.cost_micro_usd),
        "cost_usd": None if fate.cost_micro_usd is None else usd(fate.cost_micro_usd),
    }


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
