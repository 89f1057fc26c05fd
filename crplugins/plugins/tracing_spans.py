"""The spans of one request. Needs opentelemetry-api."""

import time
from collections.abc import Sequence
from contextvars import Token
from typing import Final

from opentelemetry import context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from crplugins.core.errors import Header
from crplugins.core.exchange import Attempt, Exchange
from crplugins.metering.record import UsageRecord, record_of
from crplugins.plugins import tracing_attributes as attributes

SERVER_SPAN: Final = "POST /v1/chat/completions"


class RequestSpans:
    """Begun when a request comes in, ended when its last byte has gone out.

    The span of the request is current in between, so that spans of the app behind us and of its clients stand below
    it. One that was current before, of an instrumented server or framework, is taken in place of our own. Its owner
    may end it with the last byte, before we hear of that: what it is to say is said when the answer begins, and the
    calls of providers get their spans below it all the same.
    """

    __slots__ = ("_epoch", "_exchange", "_recorded", "_span", "_token", "_tracer")

    def __init__(self, tracer: Tracer, exchange: Exchange) -> None:
        self._tracer = tracer
        self._exchange = exchange
        self._epoch = time.time_ns() - round(exchange.clock() * 1e9)
        self._span = trace.get_current_span()
        self._token: Token[Context] | None = None
        if not self._span.get_span_context().is_valid:
            self._span, self._token = self._begin()
        self._recorded = self._span.is_recording()

    def _begin(self) -> tuple[Span, Token[Context]]:
        remote = propagate.extract(self._exchange.headers, getter=_HEADERS)
        span = self._tracer.start_span(
            SERVER_SPAN,
            remote,
            SpanKind.SERVER,
            attributes.of_request(self._exchange),
            start_time=self._at(self._exchange.timings.started),
        )
        return span, context.attach(trace.set_span_in_context(span, remote))

    def answered(self) -> None:
        """The status is known, and nothing is sent."""
        if self._token is None and self._span.is_recording():
            self._span.set_attributes(dict(attributes.of_caller(self._exchange)))

    def end(self) -> None:
        """In the task that began them."""
        try:
            if self._recorded:
                self._describe(record_of(self._exchange))
        finally:
            if self._token is not None:
                context.detach(self._token)
                self._span.end(self._at(self._ended))

    def _describe(self, record: UsageRecord) -> None:
        span = self._span
        if span.is_recording():
            span.set_attributes(dict(attributes.of_gateway(self._exchange, record)))
        if self._token is not None:
            span.set_attributes(dict(attributes.of_end(record)))
            if record.outcome == "server_error":
                span.set_status(Status(StatusCode.ERROR, record.error_type))
        below = trace.set_span_in_context(span)
        for attempt in self._exchange.attempts:
            self._add(attempt, below, record)

    def _add(self, attempt: Attempt, below: Context, record: UsageRecord) -> None:
        """A finished span: calls of providers are noted where they happen, and become spans only here."""
        facts = dict(attributes.of_attempt(attempt, record))
        if attempt is self._exchange.attempts[-1] and not attempt.error_type:
            facts |= attributes.of_answer(self._exchange, attempt, record)
        name = f"{attributes.OPERATION} {attributes.model_of(record)}"
        span = self._tracer.start_span(name, below, SpanKind.CLIENT, facts, start_time=self._at(attempt.started))
        if attempt.error_type:
            span.set_status(Status(StatusCode.ERROR, attempt.error_type))
        span.end(self._at(self._ended if attempt.ended is None else attempt.ended))

    @property
    def _ended(self) -> float:
        ended = self._exchange.timings.ended
        return ended if ended is not None else self._exchange.clock()

    def _at(self, moment: float) -> int:
        """Nanoseconds since 1970, of a moment of the exchange's clock."""
        return self._epoch + round(moment * 1e9)


class _Headers(Getter[Sequence[Header]]):
    """Reads request headers as ASGI has them."""

    def get(self, carrier: Sequence[Header], key: str) -> list[str] | None:
        name = key.encode()
        return [value.decode("latin-1") for header, value in carrier if header == name] or None

    def keys(self, carrier: Sequence[Header]) -> list[str]:
        return [name.decode("latin-1") for name, _ in carrier]


_HEADERS: Final = _Headers()
