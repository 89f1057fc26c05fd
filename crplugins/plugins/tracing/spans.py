"""RequestSpans: the spans of one request, and their attributes by the semantic conventions. Needs opentelemetry-api."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextvars import Token
from typing import Final

from opentelemetry import context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from crplugins.core.errors import Header
from crplugins.core.exchange import Attempt, Exchange
from crplugins.core.redaction import short_name
from crplugins.core.usage import usd
from crplugins.metering.record import UsageRecord, record_of

Attribute = str | bool | int | float | list[str]

OPERATIONS: Final = {"completions": "text_completion", "embeddings": "embeddings"}
"""OpenTelemetry's names of operations (`gen_ai.operation.name`) that are no `chat`, by endpoint."""

_PROVIDERS: Final[Mapping[str, str]] = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "cohere_chat": "cohere",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
"""Names of LiteLLM's providers in the semantic conventions, if they differ."""

_TOKENS: Final[Mapping[str, str]] = {
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cached_input_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cache_write_input_tokens": "gen_ai.usage.cache_write.input_tokens",
    "reasoning_output_tokens": "gen_ai.usage.reasoning.output_tokens",
}


class RequestSpans:
    """Started when a request comes in, ended when its last byte has been sent.

    The span of the request is current in between, so that it is the parent of spans of the app behind us and of its
    clients. A span that was current before, of an instrumented server or framework, is used instead of our own. Its
    owner may end it with the last byte, before we do: so its attributes are set when the answer begins, and the calls
    of providers get child spans of it all the same.
    """

    __slots__ = ("_epoch", "_exchange", "_recorded", "_span", "_token", "_tracer")

    def __init__(self, tracer: Tracer, exchange: Exchange) -> None:
        self._tracer = tracer
        self._exchange = exchange
        self._epoch = time.time_ns() - round(exchange.clock() * 1e9)
        self._span = trace.get_current_span()
        self._token: Token[Context] | None = None
        if not self._span.get_span_context().is_valid:
            self._span, self._token = self._start()
        self._recorded = self._span.is_recording()

    def _start(self) -> tuple[Span, Token[Context]]:
        remote = propagate.extract(self._exchange.headers, getter=_HEADERS)
        span = self._tracer.start_span(
            f"POST /v1{self._exchange.dialect.path}",
            remote,
            SpanKind.SERVER,
            request_attributes(self._exchange),
            start_time=self._at(self._exchange.timings.started),
        )
        if not span.get_span_context().is_valid:  # without an SDK, of a release before 1.40: the client's trace goes on
            return span, context.attach(remote)
        return span, context.attach(trace.set_span_in_context(span, remote))

    def answered(self) -> None:
        """To be called when the status is known and nothing is sent yet."""
        if self._token is None and self._span.is_recording():
            self._span.set_attributes(dict(caller_attributes(self._exchange)))

    def end(self) -> None:
        """To be called in the task that started them."""
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
            span.set_attributes(dict(gateway_attributes(self._exchange, record)))
        if self._token is not None:
            span.set_attributes(dict(end_attributes(record)))
            if record.outcome == "server_error":
                span.set_status(Status(StatusCode.ERROR, record.error_type))
        parent = trace.set_span_in_context(span)
        for attempt in self._exchange.attempts:
            self._add(attempt, parent, record)

    def _add(self, attempt: Attempt, parent: Context, record: UsageRecord) -> None:
        """A finished span: handlers only note calls of providers, and the spans are made here."""
        facts = dict(attempt_attributes(attempt, record))
        if attempt is self._exchange.attempts[-1] and not attempt.error_type:
            facts |= answer_attributes(self._exchange, attempt, record)
        name = f"{operation_of(record)} {model_of(record)}"
        span = self._tracer.start_span(name, parent, SpanKind.CLIENT, facts, start_time=self._at(attempt.started))
        if attempt.error_type:
            span.set_status(Status(StatusCode.ERROR, attempt.error_type))
        span.end(self._at(self._ended if attempt.ended is None else attempt.ended))

    @property
    def _ended(self) -> float:
        ended = self._exchange.timings.ended
        return ended if ended is not None else self._exchange.clock()

    def _at(self, moment: float) -> int:
        """Nanoseconds since 1970, for a time of the exchange's clock."""
        return self._epoch + round(moment * 1e9)


class _Headers(Getter[Sequence[Header]]):
    """Reads request headers in the form of ASGI."""

    def get(self, carrier: Sequence[Header], key: str) -> list[str] | None:
        """None for a `traceparent` that stands there twice: nobody can tell which one is meant (W3C)."""
        name = key.encode()
        found = [value.decode("latin-1") for header, value in carrier if header == name]
        return found if found and (len(found) == 1 or key != "traceparent") else None

    def keys(self, carrier: Sequence[Header]) -> list[str]:
        return [name.decode("latin-1") for name, _ in carrier]


_HEADERS: Final = _Headers()


def request_attributes(exchange: Exchange) -> dict[str, Attribute]:
    """For the span of the whole request, at its start, so that a sampler can use them."""
    return {"http.request.method": exchange.method, "url.path": exchange.path}


def end_attributes(record: UsageRecord) -> Iterator[tuple[str, Attribute]]:
    """For the same span, at its end."""
    yield "http.response.status_code", record.status
    if record.error_type:
        yield "error.type", record.error_type


def caller_attributes(exchange: Exchange) -> Iterator[tuple[str, Attribute]]:
    """What only the gateway knows when the answer begins, for the span of the request, whoever started it."""
    yield "crplugins.request_id", exchange.id
    if exchange.principal is not None:
        yield "crplugins.key_id", short_name(exchange.principal.key_id)
        if exchange.principal.team is not None:
            yield "crplugins.team", short_name(exchange.principal.team)
    if exchange.requested_model is not None:
        yield "crplugins.model", short_name(exchange.requested_model)


def gateway_attributes(exchange: Exchange, record: UsageRecord) -> Iterator[tuple[str, Attribute]]:
    """The same at the end, with how it ended and the cost."""
    yield from caller_attributes(exchange)
    yield "crplugins.outcome", record.outcome
    yield "crplugins.attempts", record.attempts
    yield "crplugins.usage_source", record.usage_source
    if record.cost_micro_usd is not None:
        yield "crplugins.cost_usd", usd(record.cost_micro_usd)


def attempt_attributes(attempt: Attempt, record: UsageRecord) -> Iterator[tuple[str, Attribute]]:
    """For the call of a provider, before its answer."""
    yield "gen_ai.operation.name", operation_of(record)
    yield "gen_ai.provider.name", _PROVIDERS.get(attempt.provider, attempt.provider)
    yield "gen_ai.request.model", model_of(record)
    yield "gen_ai.request.stream", record.stream
    if attempt.error_type:
        yield "error.type", attempt.error_type


def operation_of(record: UsageRecord) -> str:
    """What OpenTelemetry calls what the model was asked to do."""
    return OPERATIONS.get(record.endpoint, "chat")


def model_of(record: UsageRecord) -> str:
    """The provider's name of the model; clients may use aliases."""
    return short_name(record.served_model or record.requested_model or "unknown")


def answer_attributes(exchange: Exchange, attempt: Attempt, record: UsageRecord) -> Iterator[tuple[str, Attribute]]:
    """For the call of the provider that answered."""
    if (model := record.provider_model or record.served_model) is not None:
        yield "gen_ai.response.model", short_name(model)
    if record.service_tier is not None:
        yield "openai.response.service_tier", short_name(record.service_tier)
    if record.finish_reason is not None:
        yield "gen_ai.response.finish_reasons", [short_name(record.finish_reason)]
    if record.stream and exchange.timings.first_token is not None:
        yield "gen_ai.response.time_to_first_chunk", exchange.timings.first_token - attempt.started
    if record.usage_source == "provider":  # an estimate is left out
        for field, name in _TOKENS.items():
            yield name, getattr(record.usage, field)
