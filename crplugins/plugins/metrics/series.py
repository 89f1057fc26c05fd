"""Series: where each request is counted, and how many series there can be.

There is one bundle of series per model and one per model and key (`bundles.py`). `LabelGuard` and the classes of
`slots.py` keep the number of label values bounded.
"""

from collections.abc import Iterable, Sequence
from itertools import islice, product
from math import prod
from typing import Final, get_args

from crplugins.core.dialects import ALL, CHAT
from crplugins.core.exchange import FallbackReason
from crplugins.core.outcome import ERROR_TYPES, HEALTH_STATES, OUTCOMES
from crplugins.core.patterns import Pattern, PatternTable
from crplugins.core.principal import PRIORITIES
from crplugins.limits.applicant import WAIT_ENDS
from crplugins.plugins.metrics.bundles import REASONS, KeySeries, ModelSeries
from crplugins.plugins.metrics.directory import shared_directory
from crplugins.plugins.metrics.families import Families
from crplugins.plugins.metrics.hidden_keys import HiddenKeys
from crplugins.plugins.metrics.label_guard import ENDINGS, NONE, OTHER, PROVIDERS, LabelGuard
from crplugins.plugins.metrics.slots import NEVER, KeySlots
from crplugins.plugins.metrics.table import (
    COOLDOWNS,
    DEPLOYMENT_RUNNING,
    DEPLOYMENTS,
    HOOK_ERRORS,
    INTER_CHUNK,
    REQUESTS,
    TABLE,
)
from crplugins.plugins.rate_limits.rules import Scope

_MOST_REASONS: Final = max(len(REASONS), len(get_args(FallbackReason)))

PREPARED_PAIRS: Final = 500
"""So many pairs of a configured model and key have series before their first request, so that `rate` sees its
increment. Many more would make every scrape long before anything has happened."""

PREPARED_MODELS: Final = 300
"""The same of what is there per model alone. Where processes share their series in files, those of one model take 2 ms
of each process."""


class Series:
    """The bundles by model and key. Those of configured models and keys are made at once, so far as they are not too
    many, and others when first needed."""

    def __init__(self, families: Families, models: Iterable[str], keys: Iterable[str], key_cap: int) -> None:
        self._families = families
        self.deployments = 0  # that have series of their own
        self._guard = LabelGuard(families)
        directory = shared_directory()
        hidden = None if directory is None else HiddenKeys(directory)
        self._key_ids = KeySlots(key_cap, self._last_use, hidden)
        self.other: Final = ModelSeries(families, self._guard, OTHER)
        self._by_label = {OTHER: self.other}
        self._by_name: dict[str | None, ModelSeries] = {None: self.other, OTHER: self.other}
        self._waiting: set[str] = set()  # configured names that have no series yet
        self.configure(models, keys, key_cap)

    def configure(self, models: Iterable[str], keys: Iterable[str], key_cap: int) -> None:
        """Make series for these. Those that there are stay."""
        self._key_ids.cap = key_cap
        pinned = self._key_ids.pin(list(dict.fromkeys(keys))[:key_cap])
        names = [Pattern.of(text) for text in models]
        self._waiting = {name.text for name in names if name.text not in self._by_label}
        for name in names:
            if name.text in self._waiting and len(self._by_label) <= PREPARED_MODELS:  # and that of `other`
                self._make(name.text)
        self._patterns = PatternTable((name, name.text) for name in names if name.star)
        self._prepare(pinned or [None])

    def _prepare(self, key_ids: Sequence[str | None]) -> None:
        """Without configured keys, the series of requests without a key are prepared."""
        models = [model for label, model in self._by_label.items() if label != OTHER]
        for model, key_id in islice(product(models, key_ids), PREPARED_PAIRS):
            self.key(model, key_id, NEVER).ended[CHAT.name, 200, ""]

    def model(self, name: str | None) -> "ModelSeries":
        """The bundle of a requested model; that of `other` if no name could be read."""
        if (found := self._by_name.get(name)) is not None:
            return found
        label = self._label(name or "")
        return self._make(label) if label in self._waiting else self._by_label[label]

    def _make(self, label: str) -> "ModelSeries":
        self._waiting.discard(label)
        self._by_label[label] = self._by_name[label] = made = ModelSeries(self._families, self._guard, label)
        return made

    def _label(self, name: str) -> str:
        """That of a name without series: its own, or the first pattern that matches, in configured order."""
        return name if name in self._waiting else self._patterns.find(name) or OTHER

    def key(self, model: "ModelSeries", key_id: str | None, now: float) -> "KeySeries":
        return model.keys.get(key_id) or self._new_key(model, key_id, now)

    def _new_key(self, model: "ModelSeries", key_id: str | None, now: float) -> "KeySeries":
        if key_id is not None and not self._key_ids.admit(key_id) and not self._takes_over(key_id, now):
            self._guard.overflow["key_id"]()
            key_id = OTHER
        if key_id not in model.keys:
            model.keys[key_id] = KeySeries(self._families, self._guard, model.label, NONE if key_id is None else key_id)
        return model.keys[key_id]

    def _takes_over(self, key_id: str, now: float) -> bool:
        """Whether a new key has series in the place of one that is quiet."""
        if (quiet := self._key_ids.free_one(now)) is None:
            return False
        for model in self._by_label.values():
            if (series := model.keys.pop(quiet, None)) is not None:
                series.remove(self._families, model.label, quiet)
        return self._key_ids.admit(key_id)

    def _last_use(self, key_id: str) -> float:
        bundles = [model.keys.get(key_id) for model in self._by_label.values()]
        return max((bundle.used for bundle in bundles if bundle is not None), default=NEVER)

    def key_label(self, key_id: str) -> str | None:
        return key_id if self._key_ids.admit(key_id) else None

    def note_unknown(self, name: str) -> None:
        """Count a request whose model is `other` because its name is not configured."""
        if name not in self._by_name:
            self._guard.overflow["model"]()

    def worst_case(self) -> int:
        """The largest possible number of samples, without those of the process, of hooks and of added collectors."""
        sizes = {
            "model": self._models, "key_id": self._key_ids.cap + 2, "stream": 2,
            "outcome": len(set(OUTCOMES.values())), "reason": _MOST_REASONS, "provider": PROVIDERS + 1, "kind": 3,
            "result": 3, "sink": 2, "error_type": len(ERROR_TYPES), "label": len(self._guard.overflow),
            "priority": len(PRIORITIES), "scope": len(get_args(Scope)), "end": len(WAIT_ENDS),
            "endpoint": len(ALL),
        }  # fmt: skip
        left_out = {REQUESTS, HOOK_ERRORS, DEPLOYMENTS, DEPLOYMENT_RUNNING, COOLDOWNS} | (
            {INTER_CHUNK} if self._families.inter_chunk is None else set()
        )
        by_labels = sum(
            prod(sizes.get(x, 1) for x in spec.labels) * spec.lines for spec in TABLE if spec not in left_out
        )
        endings = ENDINGS + len(ERROR_TYPES)  # each error type has few statuses, and those past the cap are `other`
        of_deployments = self.deployments * (len(HEALTH_STATES) + 2)
        return by_labels + sizes["model"] * sizes["key_id"] * sizes["endpoint"] * endings + of_deployments

    def __str__(self) -> str:
        return f"{self._models} models, up to {self._key_ids.cap} keys"

    @property
    def _models(self) -> int:
        return len(self._by_label) + len(self._waiting)
