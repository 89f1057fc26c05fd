"""PastRequest: what a ledger knows of a request, and an Exchange as it was when it came."""

import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from crplugins.core.body import Body
from crplugins.core.dialects import BY_NAME, CHAT
from crplugins.core.exchange import Exchange, Timings
from crplugins.core.outcome import ErrorType
from crplugins.core.principal import Principal
from crplugins.core.usage import TokenUsage, UsageSource
from crplugins.homes.replay.clock import SimulatedLoop
from crplugins.ledger.reader import LedgerReader
from crplugins.ledger.rows import read_rows
from crplugins.metering.prompt import assume_prompt


class PastRequest(NamedTuple):
    """One row, by the names of its columns; those of a release that did not write them are None."""

    started_at: datetime
    request_id: str
    ended_at: datetime
    key_id: str | None
    team: str | None
    user: str | None
    requested_model: str | None
    served_model: str | None
    stream: bool
    status: int
    error_type: ErrorType
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    cache_write_input_tokens: int
    reasoning_output_tokens: int
    usage_source: UsageSource
    cost_micro_usd: int | None
    provider_cost_micro_usd: int | None
    attempts: int
    tags: str
    service_tier: str | None
    asked_ms: float | None
    queued_ms: float | None
    admitted_ms: float | None
    settled_ms: float | None
    expected_input_tokens: int | None
    output_limit: int | None
    choices: int | None
    endpoint: str | None

    @property
    def asked_at(self) -> float:
        """When it asked its limits, in seconds since 1970: after its body and its key, before it waited for them.

        Where it had none, when it was admitted; in a row of an older release, when it came.
        """
        if self.asked_ms is not None:
            return self.started_at.timestamp() + self.asked_ms / 1e3
        return self.started_at.timestamp() + (self.admitted_ms or 0.0) / 1e3

    @property
    def seconds(self) -> float:
        """From when it asked its limits until it was settled, without what it waited for them."""
        if self.settled_ms is None:  # a row of an older release
            return (self.ended_at - self.started_at).total_seconds()
        before = (self.admitted_ms if self.asked_ms is None else self.asked_ms) or 0.0
        return max(0.0, self.settled_ms - before - (self.queued_ms or 0.0)) / 1e3

    @property
    def refused(self) -> ErrorType:
        """Why it was refused, if for what a replay decides anew; else "", also where its provider failed."""
        return self.error_type if self.error_type in DECIDED and not self.attempts else ""

    @property
    def came_to_limits(self) -> bool:
        """Not if it was refused before, as a request that is none, or as one too many for the process."""
        return bool(self.refused or self.admitted_ms is not None or self.attempts or not self.error_type)

    @property
    def usage(self) -> TokenUsage:
        return TokenUsage(
            self.input_tokens, self.output_tokens, self.cached_input_tokens, self.cache_write_input_tokens,
            self.reasoning_output_tokens,
        )  # fmt: skip


LIMITED: Final[frozenset[ErrorType]] = frozenset({"rate_limited", "token_limited", "budget_exceeded"})
DECIDED: Final[frozenset[ErrorType]] = LIMITED | {"forbidden_model", "unknown_model"}


async def read_history(
    reader: LedgerReader, since: datetime | None, until: datetime
) -> AsyncIterator[list[PastRequest]]:
    """Slices, in the order in which the requests began. Raises the errors of `LedgerDatabase.fetch`."""
    async for rows in read_rows(reader, PastRequest._fields, since, until):
        yield [PastRequest(*row) for row in rows]


def exchange_of(past: PastRequest, principal: Principal | None, loop: SimulatedLoop) -> Exchange:
    """The request when it asked its limits. Of its body there is what a record has of it, and nobody's words."""
    dialect = BY_NAME.get(past.endpoint or "", CHAT)
    fields: dict[str, object] = {
        "model": past.requested_model,
        dialect.prompt[0]: [],
        "user": past.user,
        "service_tier": past.service_tier,
        **dict.fromkeys(dialect.output_limits[:1], past.output_limit),
        # The limit of a record is that of all choices together.
        "n": past.choices if past.output_limit is None else None,
        "metadata": json.loads(past.tags) or None,
    }
    body = Body(msgspec.json.encode({name: value for name, value in fields.items() if value is not None}))
    exchange = Exchange(
        id=past.request_id,
        method="POST",
        path="/v1" + dialect.path,
        dialect=dialect,
        headers=(),
        client=None,
        clock=loop.time,
        timings=Timings(loop.time()),
        body=body,
        principal=principal,
        requested_model=past.requested_model,
        stream=past.stream,
        wall_clock=loop.time,
    )
    prompt = past.expected_input_tokens
    assume_prompt(exchange, past.input_tokens if prompt is None else prompt)
    return exchange
