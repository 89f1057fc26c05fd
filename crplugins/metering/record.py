"""UsageRecord: everything that is kept of one request, and nothing of its content."""

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from crplugins.core.dialects import CHAT
from crplugins.core.exchange import Exchange, Slot
from crplugins.core.outcome import ErrorType, Outcome
from crplugins.core.usage import CostSource, TokenUsage, UsageSource
from crplugins.metering.estimate import DEMAND

NO_TAGS: Final[Mapping[str, str]] = MappingProxyType({})


class UsageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One request, when it is over.

    Attributes:
        request_id: the `x-request-id` of the answer; a second record with it is the same one.
        started_at, ended_at: seconds since 1970 (UTC).
        key_id: whose request; None for one that was not authenticated.
        endpoint: the protocol in which the model was asked, a name of `core.dialects`.
        user: the `user` field of the request, at most 256 characters.
        tags: those of the key, and the chosen metadata of the request under names the key has not taken.
        requested_model: what the client asked for; None if its request could not be read that far.
        served_model: the name under which the provider was asked for the model that answered.
        provider_model: the name that the answer gave; None if it gave none. `gpt-5-2025-08-07` answers for `gpt-5`.
        provider: the provider called last; None if none was called.
        status: what the client saw; 499 if it disconnected before the first byte.
        usage: what all attempts at an answer took; with the source `cache` what it would have taken from a provider.
        service_tier: the processing tier that the answer named, such as `flex`; None if it named none.
        cost_micro_usd: in millionths of a US dollar; None where the price is unknown, 0 where nothing was used or the
            answer came from a cache.
        cost_source: whose price that is; None where there is no cost.
        provider_cost_micro_usd: what the providers themselves say it cost; None if they say nothing.
        ttft_ms: time to the first piece of a stream that has content.
        time_per_output_token_ms: between output tokens of a stream, if the provider reported how many there were.
        longest_gap_ms: the longest time between two pieces of a stream.
        overhead_us: the part of the duration in which no provider was working, and it did not wait for limits.
        asked_ms: after how long it asked the first of its limits; None if it has none.
        queued_ms: how long it waited for limits that were used up.
        admitted_ms: after how long the plugins had let it through; None if they did not.
        settled_ms: after how long what it had reserved was settled, a little after its last byte.
        expected_input_tokens: what was reserved for the prompt; None where no limit counts tokens, here and below.
        output_limit: how long the client lets all answers together be; None, too, if it says nothing.
        choices: how many answers it asks for.
    """

    request_id: str
    started_at: float
    ended_at: float
    key_id: str | None
    team: str | None
    user: str | None
    tags: Mapping[str, str]
    requested_model: str | None
    served_model: str | None
    provider_model: str | None = None
    provider: str | None
    stream: bool
    status: int
    outcome: Outcome
    error_type: ErrorType
    finish_reason: str | None
    usage: TokenUsage
    usage_source: UsageSource
    service_tier: str | None = None
    cost_micro_usd: int | None
    cost_source: CostSource | None = None
    provider_cost_micro_usd: int | None = None
    attempts: int
    ttft_ms: float | None
    time_per_output_token_ms: float | None
    longest_gap_ms: float | None
    duration_ms: float
    overhead_us: int
    asked_ms: float | None = None
    queued_ms: float | None = None
    admitted_ms: float | None = None
    settled_ms: float | None = None
    expected_input_tokens: int | None = None
    output_limit: int | None = None
    choices: int | None = None
    endpoint: str = CHAT.name


_RECORD: Final[Slot[UsageRecord]] = Slot("usage.record")
METADATA: Final[Slot[Mapping[str, str]]] = Slot("usage.metadata")
"""Chosen metadata of the request, set before it is over."""
USER: Final[Slot[str]] = Slot("usage.user")

_NOTHING_USED: Final = TokenUsage()


def record_of(exchange: Exchange) -> UsageRecord:
    """The record of a request that is over: made by the first call, the same one for all later calls."""
    record = _RECORD.get(exchange)
    if record is None:
        record = _make(exchange)
        _RECORD.set(exchange, record)
    return record


class _Epoch:
    """When a monotonic clock was 0, by the wall clock.

    One figure for all records of a process, so that they tell in which order things happened, however busy the machine
    is between two looks at a clock. A wall clock that has been set, or drifts, is followed.
    """

    TOLERANCE: Final = 0.01

    def __init__(self) -> None:
        self._seconds = 0.0

    def of(self, reading: float, now: float) -> float:
        seconds = now - reading
        if abs(seconds - self._seconds) > self.TOLERANCE:
            self._seconds = seconds
        return self._seconds


_EPOCH: Final = _Epoch()


def _make(exchange: Exchange) -> UsageRecord:
    timings, principal, usage = exchange.timings, exchange.principal, exchange.usage
    settled, now = exchange.clock(), time.time()
    epoch = _EPOCH.of(settled, now)
    ended = timings.ended if timings.ended is not None else settled
    duration = ended - timings.started
    streamed = exchange.stream and timings.first_token is not None
    demand = DEMAND.get(exchange)
    cost, told = cost_of_answer(exchange), exchange.provider_cost_micro_usd
    if exchange.spent:
        cost, told = _whole_cost(exchange, cost), _told_cost(exchange)
    return UsageRecord(
        request_id=exchange.id,
        started_at=epoch + timings.started,
        ended_at=epoch + ended,
        key_id=principal.key_id if principal is not None else None,
        team=principal.team if principal is not None else None,
        user=USER.get(exchange),
        tags=_tags(exchange),
        requested_model=exchange.requested_model,
        served_model=exchange.served_model,
        provider_model=exchange.provider_model,
        provider=exchange.attempts[-1].provider if exchange.attempts else None,
        stream=exchange.stream,
        status=exchange.status or 500,
        outcome=exchange.outcome or "server_error",
        error_type=exchange.error_type,
        finish_reason=exchange.finish_reason,
        usage=usage if usage is not None else _NOTHING_USED,
        usage_source=exchange.usage_source,
        service_tier=exchange.service_tier,
        cost_micro_usd=cost.micro_usd,
        cost_source=cost.source,
        provider_cost_micro_usd=told,
        attempts=len(exchange.attempts),
        ttft_ms=_milliseconds(timings.first_token, timings.started) if streamed else None,
        time_per_output_token_ms=_time_per_output_token(exchange) if streamed else None,
        longest_gap_ms=timings.longest_gap * 1e3 if streamed else None,
        duration_ms=duration * 1e3,
        overhead_us=round((duration - exchange.upstream_seconds(ended) - exchange.timings.queued) * 1e6),
        asked_ms=_milliseconds(timings.asked, timings.started),
        queued_ms=timings.queued * 1e3,
        admitted_ms=_milliseconds(timings.app, timings.started),
        settled_ms=_milliseconds(settled, timings.started),
        expected_input_tokens=None if demand is None else demand.prompt,
        output_limit=None if demand is None or not demand.limited_by_client else demand.output,
        choices=None if demand is None else demand.choices,
        endpoint=exchange.dialect.name,
    )


class Cost(msgspec.Struct, frozen=True):
    """In millionths of a US dollar, and whose price it is; both None where tokens were used whose price is unknown."""

    micro_usd: int | None
    source: CostSource | None


_NO_COST: Final = Cost(0, None)


def cost_of_answer(exchange: Exchange) -> Cost:
    """What the last attempt costs: by our price where we know one, else by the provider's own bill.

    Our price comes first so that a model costs the same by every path and a budget holds to the operator's prices.
    """
    usage, price, told = exchange.answer_usage, exchange.price, exchange.provider_cost_micro_usd
    if exchange.usage_source == "cache":
        return _NO_COST
    if usage is not None and price is not None:
        return Cost(exchange.cost_at(price, usage), price.source)
    if told is not None:
        return Cost(told, "provider")
    return _NO_COST if usage is None else Cost(None, None)


def _whole_cost(exchange: Exchange, cost: Cost) -> Cost:
    """The cost of the answer and of earlier attempts, each at its own price. The source is that of the answer's."""
    total = 0
    for micro_usd in (cost.micro_usd, *(spent.cost_micro_usd for spent in exchange.spent)):
        if micro_usd is None:
            return Cost(None, None)
        total += micro_usd
    return Cost(total, cost.source)


def _told_cost(exchange: Exchange) -> int | None:
    """What the providers of all attempts have told, as far as they have."""
    bills = (exchange.provider_cost_micro_usd, *(spent.provider_cost_micro_usd for spent in exchange.spent))
    told = [bill for bill in bills if bill is not None]
    return sum(told) if told else None


def _tags(exchange: Exchange) -> Mapping[str, str]:
    metadata = METADATA.get(exchange)
    own = exchange.principal.tags if exchange.principal is not None else NO_TAGS
    return {**metadata, **own} if metadata else own


def _milliseconds(moment: float | None, since: float) -> float | None:
    return None if moment is None else (moment - since) * 1e3


def _time_per_output_token(exchange: Exchange) -> float | None:
    """(last - first) / (n - 1), once per stream. With an estimated n the figure would mean nothing."""
    timings, usage = exchange.timings, exchange.usage
    if usage is None or exchange.usage_source != "provider" or usage.output_tokens < 2 or exchange.spent:
        return None
    assert timings.first_token is not None
    assert timings.last_token is not None
    return (timings.last_token - timings.first_token) / (usage.output_tokens - 1) * 1e3
