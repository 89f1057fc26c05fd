"""All series of a gateway: in which bundle a request is counted, and how many there can be."""

from collections.abc import Iterable, Sequence
from itertools import islice, product
from math import prod
from typing import Final

from crplugins.core.outcome import ERROR_TYPES, OUTCOMES
from crplugins.plugins.metrics_bundles import ENDINGS, PROVIDERS, REASONS, Guard, KeySeries, ModelSeries
from crplugins.plugins.metrics_families import Families
from crplugins.plugins.metrics_labels import NONE, OTHER, Bounded, ModelNames
from crplugins.plugins.metrics_table import HOOK_ERRORS, INTER_CHUNK, REQUESTS, TABLE

PREPARED_PAIRS: Final = 500
"""So many pairs of a configured model and key have series before their first request, so that `rate` sees its
increment. With many more a scrape would be long before anything has happened."""


class Series:
    """The bundles by model and key. Those of configured ones are made at once, others when they are first needed."""

    def __init__(self, families: Families, models: Iterable[str], keys: Iterable[str], key_cap: int) -> None:
        self._families = families
        self._guard = Guard(families)
        self._names = ModelNames(models)
        pinned = list(dict.fromkeys(keys))[:key_cap]
        self._key_ids: Bounded[str] = Bounded(pinned, key_cap)
        self._by_label = {label: ModelSeries(families, self._guard, label) for label in self._names.labels}
        self.other: Final = self._by_label[OTHER]
        self._by_name: dict[str | None, ModelSeries] = {None: self.other}
        self._by_name.update(self._by_label)
        self._prepare(pinned or [None])

    def _prepare(self, key_ids: Sequence[str | None]) -> None:
        """Where no keys are configured, nobody authenticates as far as anybody knows now."""
        models = [model for label, model in self._by_label.items() if label != OTHER]
        for model, key_id in islice(product(models, key_ids), PREPARED_PAIRS):
            self.key(model, key_id).ended[200, ""]

    def model(self, name: str | None) -> ModelSeries:
        """The bundle of a requested model; that of `other` where no name could be read."""
        return self._by_name.get(name) or self._by_label[self._names.match(name or "") or OTHER]

    def key(self, model: ModelSeries, key_id: str | None) -> KeySeries:
        return model.keys.get(key_id) or self._new_key(model, key_id)

    def _new_key(self, model: ModelSeries, key_id: str | None) -> KeySeries:
        if key_id is not None and not self._key_ids.admit(key_id):
            self._guard.overflow["key_id"]()
            key_id = OTHER
        if key_id not in model.keys:
            model.keys[key_id] = KeySeries(self._families, self._guard, model.label, NONE if key_id is None else key_id)
        return model.keys[key_id]

    def key_label(self, key_id: str) -> str | None:
        return key_id if self._key_ids.admit(key_id) else None

    def note_unknown(self, name: str) -> None:
        """Count a request whose model is `other` because nobody has configured its name."""
        if name not in self._by_name:
            self._guard.overflow["model"]()

    def worst_case(self) -> int:
        """How many samples there can ever be, those of the process, of hooks and of added collectors aside."""
        sizes = {
            "model": len(self._by_label), "key_id": self._key_ids.cap + 2, "stream": 2,
            "outcome": len(set(OUTCOMES.values())), "reason": len(REASONS), "provider": PROVIDERS + 1, "kind": 3,
            "error_type": len(ERROR_TYPES), "label": len(self._guard.overflow),
        }  # fmt: skip
        left_out = {REQUESTS, HOOK_ERRORS} | ({INTER_CHUNK} if self._families.inter_chunk is None else set())
        by_labels = sum(
            prod(sizes.get(x, 1) for x in spec.labels) * spec.lines for spec in TABLE if spec not in left_out
        )
        endings = ENDINGS + len(ERROR_TYPES)  # few statuses go with each error type, and those past the cap are `other`
        return by_labels + sizes["model"] * sizes["key_id"] * endings

    def __str__(self) -> str:
        return f"{len(self._by_label)} models, up to {self._key_ids.cap} keys"
