"""The bundles of series: what is counted and observed per model (`ModelSeries`), and per model and key (`KeySeries`).

Finding a metric's child by its labels costs more than writing it. So the methods that write are bound once, here: a
request looks up two bundles and no child.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from crplugins.core.dialects import CHAT
from crplugins.core.exchange import Attempt, AttemptKind, RescueKind
from crplugins.core.outcome import ErrorType, Outcome
from crplugins.core.usage import usd
from crplugins.metering.record import UsageRecord
from crplugins.plugins.metrics.families import Counter, Families
from crplugins.plugins.metrics.label_guard import OTHER, LabelGuard, Write
from crplugins.plugins.metrics.slots import NEVER

K = TypeVar("K")
V = TypeVar("V")

REASONS: Final = ("no_usage", "estimated", "no_price")
"""Why the usage or the cost of a request is not the provider's own."""

Call = tuple[str, AttemptKind, ErrorType]
Rescued = tuple[RescueKind, str]


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


class LazyDict(dict[K, V]):
    """A dict that makes missing values. Reading a value that is there costs the same as in a plain dict."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[K], V]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: K) -> V:
        value = self[key] = self._make(key)
        return value
