"""Series: where each request is counted, and how many series there can be.

Finding a metric's child by its labels costs more than writing it. So the methods that write are bound once, in one
bundle per model (`ModelSeries`) and one per model and key (`KeySeries`): a request looks up two bundles and no child.
`LabelGuard` and the classes of `slots.py` keep the number of label values bounded.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice, product
from math import prod
from typing import Final, TypeVar, get_args

from crplugins.core.dialects import ALL, CHAT
from crplugins.core.exchange import Attempt, AttemptKind, FallbackReason, RescueKind
from crplugins.core.outcome import ERROR_TYPES, HEALTH_STATES, OUTCOMES, ErrorType, Outcome
from crplugins.core.patterns import Pattern, PatternTable
from crplugins.core.principal import PRIORITIES
from crplugins.core.usage import usd
from crplugins.limits.applicant import WAIT_ENDS
from crplugins.metering.record import UsageRecord
from crplugins.plugins.metrics.directory import shared_directory
from crplugins.plugins.metrics.families import Counter, Families
from crplugins.plugins.metrics.hidden_keys import HiddenKeys
from crplugins.plugins.metrics.slots import NEVER, Admitted, KeySlots
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

OTHER: Final = "other"
"""The label of every value without series of its own."""

NONE: Final = "none"
"""The `key_id` of requests without an authenticated key."""

K = TypeVar("K")
V = TypeVar("V")

ENDINGS: Final = 64
"""Pairs of a status and an error type with a `code` of their own; a gateway in use has about twenty."""

PROVIDERS: Final = 32

REASONS: Final = ("no_usage", "estimated", "no_price")
_MOST_REASONS: Final = max(len(REASONS), len(get_args(FallbackReason)))

Write = Callable[..., None]
"""A bound `inc` or `observe`."""

Ending = tuple[int, ErrorType]
Call = tuple[str, AttemptKind, ErrorType]
Rescued = tuple[RescueKind, str]

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


class ModelSeries:
    """What is counted and observed per model; `keys` are its bundles by key id."""

    __slots__ = (
        "called", "durations", "fell_back", "input_size", "inter_chunk", "keys", "label", "left_out", "max_gap",
        "output_size", "rescued", "took", "tpot", "ttft", "unmetered",
    )  # fmt: skip

    def __init__(self, families: Families, guard: "LabelGuard", model: str) -> None:
        self.label = model
        self.keys: dict[str | None, KeySeries] = {}
        self.durations = {stream: _durations(families, model, stream=stream) for stream in (True, False)}
        self.ttft: Write = families.ttft.labels(model).observe
        self.tpot: Write = families.tpot.labels(model).observe
        self.max_gap: Write = families.max_gap.labels(model).observe
        self.inter_chunk: Write | None = (
            families.inter_chunk.labels(model).observe if families.inter_chunk is not None else None
        )
        self.input_size: Write = families.input_size.labels(model).observe
        self.output_size: Write = families.output_size.labels(model).observe
        self.unmetered: dict[str, Write] = {reason: families.unmetered.labels(model, reason).inc for reason in REASONS}
        self.called: LazyDict[Call, Write] = LazyDict(_called(families, guard, model))
        self.fell_back: LazyDict[str, Write] = LazyDict(lambda reason: families.fallbacks.labels(model, reason).inc)
        self.rescued: LazyDict[Rescued, Write] = LazyDict(lambda rescued: families.rescues.labels(model, *rescued).inc)
        self.left_out: LazyDict[str, Write] = LazyDict(_left_out(families, guard, model))
        self.took: LazyDict[str, Write] = LazyDict(_took(families, guard, model))

    def note_stream(self, record: UsageRecord) -> None:
        if record.time_per_output_token_ms is not None:
            self.tpot(record.time_per_output_token_ms / 1e3)
        if record.longest_gap_ms is not None:
            self.max_gap(record.longest_gap_ms / 1e3)

    def note_usage(self, record: UsageRecord) -> None:
        self.input_size(record.usage.input_tokens)
        self.output_size(record.usage.output_tokens)
        if record.usage_source == "estimated":
            self.unmetered["estimated"]()
        if record.cost_micro_usd is None:
            self.unmetered["no_price"]()

    def note_rescues(self, rescues: Sequence[RescueKind], outcome: Outcome) -> None:
        """Only the last of several can have been the end of the trouble."""
        last = outcome if outcome in ("ok", "cancelled") else "failed"
        for number, kind in enumerate(rescues, 1):
            self.rescued[kind, last if number == len(rescues) else "failed"]()

    def note_attempt(self, attempt: Attempt, ended: float | None) -> None:
        """`ended` is the end of the request, for an attempt without an end of its own."""
        self.called[attempt.provider, attempt.kind, attempt.error_type]()
        if attempt.left_out:
            self.left_out[attempt.provider](attempt.left_out)
        end = attempt.ended if attempt.ended is not None else ended
        if end is not None:
            self.took[attempt.provider](end - attempt.started)


def _durations(families: Families, model: str, *, stream: bool) -> "LazyDict[tuple[str, str], Write]":
    flag = "true" if stream else "false"
    durations: LazyDict[tuple[str, str], Write] = LazyDict(
        lambda ending: families.duration.labels(model, ending[0], flag, ending[1]).observe
    )
    for outcome in ("ok", "server_error"):  # there from the start, because objectives are computed from them
        durations[CHAT.name, outcome]
    return durations


def _called(families: Families, guard: "LabelGuard", model: str) -> Callable[[Call], Write]:
    def make(call: Call) -> Write:
        provider, kind, error_type = call
        if guard.providers.admit(provider):
            return families.attempts.labels(model, provider, kind, error_type).inc
        return guard.replaced("provider", families.attempts.labels(model, OTHER, kind, error_type).inc)

    return make


def _left_out(families: Families, guard: "LabelGuard", model: str) -> Callable[[str], Write]:
    def make(provider: str) -> Write:
        label = provider if guard.providers.admit(provider) else OTHER
        return families.left_out.labels(model, label).inc

    return make


def _took(families: Families, guard: "LabelGuard", model: str) -> Callable[[str], Write]:
    def make(provider: str) -> Write:
        label = provider if guard.providers.admit(provider) else OTHER
        return families.upstream_duration.labels(model, label).observe

    return make


class KeySeries:
    """What is counted per model and key.

    Attributes:
        used: when it was used last, in seconds of the clock of requests.
    """

    __slots__ = (
        "cache", "cached_tokens", "ended", "input_tokens", "output_tokens", "reasoning_tokens", "spent", "used",
        "written_tokens",
    )  # fmt: skip

    def __init__(self, families: Families, guard: "LabelGuard", model: str, key: str) -> None:
        def ended(ending: tuple[str, int, ErrorType]) -> Write:
            endpoint, status, error_type = ending
            if guard.endings.admit((status, error_type)):
                return families.requests.labels(model, key, endpoint, str(status), error_type).inc
            return guard.replaced("code", families.requests.labels(model, key, endpoint, OTHER, error_type).inc)

        self.used = NEVER
        self.ended: LazyDict[tuple[str, int, ErrorType], Write] = LazyDict(ended)
        self.input_tokens: Write = families.input_tokens.labels(model, key).inc
        self.output_tokens: Write = families.output_tokens.labels(model, key).inc
        self.cached_tokens: Write = families.cached_tokens.labels(model, key).inc
        self.written_tokens: Write = families.written_tokens.labels(model, key).inc
        self.reasoning_tokens: Write = families.reasoning_tokens.labels(model, key).inc
        self.spent: Callable[[int], None] = Dollars(families.cost.labels(model, key).inc).add
        self.cache: LazyDict[Counter, Write] = LazyDict(lambda counter: counter.labels(model, key).inc)

    def note_usage(self, record: UsageRecord) -> None:
        usage = record.usage
        if usage.input_tokens > 0:
            self.input_tokens(usage.input_tokens)
        if usage.output_tokens > 0:
            self.output_tokens(usage.output_tokens)
        if usage.cached_input_tokens > 0:
            self.cached_tokens(usage.cached_input_tokens)
        if usage.cache_write_input_tokens > 0:
            self.written_tokens(usage.cache_write_input_tokens)
        if usage.reasoning_output_tokens > 0:
            self.reasoning_tokens(usage.reasoning_output_tokens)
        if record.cost_micro_usd:
            self.spent(record.cost_micro_usd)

    def note_cache(self, record: UsageRecord, families: Families) -> None:
        """An answer from a cache. Where none is in use, nothing has these series."""
        self.cache[families.cache_answers]()
        self.cache[families.cache_input_tokens](record.usage.input_tokens)
        self.cache[families.cache_output_tokens](record.usage.output_tokens)

    def remove(self, families: Families, model: str, key: str) -> None:
        """Show none of its series any more: `model` and `key` are its labels."""
        for endpoint, status, error_type in self.ended:
            for code in (str(status), OTHER):
                families.remove(families.requests, model, key, endpoint, code, error_type)
        for family in (*families.by_key, *self.cache):
            families.remove(family, model, key)


class Dollars:
    """A counter of US dollars that is exact to the millionth, however many amounts are added."""

    __slots__ = ("_increment", "_micro_usd", "_shown")

    def __init__(self, increment: Write) -> None:
        self._increment = increment
        self._micro_usd = 0
        self._shown = 0.0

    def add(self, micro_usd: int) -> None:
        """Moves the counter to the exact sum, so that the next addition corrects the rounding of this one."""
        self._micro_usd += micro_usd
        step = max(usd(self._micro_usd) - self._shown, 0.0)
        self._shown += step
        self._increment(step)


class LabelGuard:
    """Bounds the values of the labels `code` and `provider`, which upstreams decide, and counts what it replaces."""

    def __init__(self, families: Families) -> None:
        self.endings: Final[Admitted[Ending]] = Admitted((), ENDINGS)
        self.providers: Final[Admitted[str]] = Admitted((), PROVIDERS)
        self.overflow: Final[dict[str, Write]] = {
            label: families.overflow.labels(label).inc for label in ("model", "key_id", "code", "provider")
        }

    def replaced(self, label: str, write: Write) -> Write:
        """`write`, which also counts that the label was replaced."""
        count = self.overflow[label]

        def counted() -> None:
            count()
            write()

        return counted


class LazyDict(dict[K, V]):
    """A dict that makes missing values. Reading a value that is there costs the same as in a plain dict."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[K], V]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: K) -> V:
        value = self[key] = self._make(key)
        return value
