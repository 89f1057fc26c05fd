"""A call of litellm's SDK that is over, as an Exchange."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from crplugins.core.body import Body
from crplugins.core.exchange import Attempt, Exchange, Timings, new_request_id, note_facts
from crplugins.core.outcome import OUTCOMES
from crplugins.core.sse import Event
from crplugins.core.usage import TokenUsage
from crplugins.core.wire import CHAT_PATH
from crplugins.handlers.litellm.errors import Failures
from crplugins.handlers.litellm.usage import as_usage, usage_object
from crplugins.metering.estimate import ByteEstimator, owes_usage


def answered(kwargs: Mapping[str, Any], response: Any, start: datetime, end: datetime) -> Exchange:
    """A call that litellm reports as a success."""
    exchange = _exchange(kwargs, start, end)
    exchange.status, exchange.outcome = 200, "ok"
    moments = exchange.timings.first_token, exchange.timings.last_token
    if hasattr(response, "model_dump_json"):
        note_facts(exchange, Event.json_document(response.model_dump_json().encode()))
    exchange.timings.first_token, exchange.timings.last_token = moments
    exchange.usage, exchange.usage_source = None, "none"  # until it is known whose counts they are
    found = usage_object(getattr(response, "usage", None)) if getattr(response, "usage", None) else None
    if found is not None:
        exchange.usage = as_usage(found)
        exchange.usage_source = "provider" if not exchange.stream or _asked(kwargs) else "estimated"
    elif owes_usage(exchange):
        exchange.usage, exchange.usage_source = _estimate(exchange), "estimated"
    return exchange


def failed(kwargs: Mapping[str, Any], start: datetime, end: datetime) -> Exchange:
    """A call that raised. Of a stream that broke litellm does not tell what had come: the prompt alone is estimated."""
    exchange = _exchange(kwargs, start, end)
    cause, begun = kwargs.get("exception"), exchange.timings.first_token is not None
    failures = Failures(str(kwargs.get("model")), ())
    error = failures.of(cause if isinstance(cause, BaseException) else Exception(), begun=begun)
    exchange.status, exchange.error, exchange.error_type = error.status, error.error, error.error_type
    if begun:
        exchange.status = 200
        exchange.usage, exchange.usage_source = _estimate(exchange), "estimated"
    exchange.outcome = OUTCOMES[error.error_type]
    exchange.attempts[-1].fail(error, exchange.timings.ended or exchange.clock())
    return exchange


def priced_name(kwargs: Mapping[str, Any]) -> str:
    """The model in litellm's notation."""
    model, provider = str(kwargs.get("model") or ""), _provider(kwargs)
    return model if not provider or model.startswith(f"{provider}/") else f"{provider}/{model}"


def _exchange(kwargs: Mapping[str, Any], start: datetime, end: datetime) -> Exchange:
    model = kwargs.get("model")
    timings = Timings(_monotonic(start), app=_monotonic(start), response=_monotonic(end), ended=_monotonic(end))
    stream = kwargs.get("stream") is True or (kwargs.get("optional_params") or {}).get("stream") is True
    first = kwargs.get("completion_start_time")
    if stream and isinstance(first, datetime):
        timings.first_token, timings.last_token = _monotonic(first), timings.ended
    return Exchange(
        id=new_request_id(),
        method="POST",
        path="/v1" + CHAT_PATH,
        headers=(),
        client=None,
        clock=time.monotonic,
        timings=timings,
        body=_body(kwargs),
        requested_model=str(model) if model else None,
        served_model=str(model) if model else None,
        stream=stream,
        attempts=[Attempt(_provider(kwargs) or "unknown", "initial", timings.started, timings.ended)],
    )


def _body(kwargs: Mapping[str, Any]) -> Body:
    """What plugins read of a request: the conversation, the user, metadata."""
    parameters = kwargs.get("optional_params") or {}
    fields: dict[str, Any] = {"model": kwargs.get("model"), "messages": kwargs.get("messages")}
    for name in ("tools", "user"):
        if (value := kwargs.get(name) or parameters.get(name)) is not None:
            fields[name] = value
    metadata = (kwargs.get("litellm_params") or {}).get("metadata")
    if isinstance(metadata, Mapping):
        fields["metadata"] = {k: v for k, v in metadata.items() if isinstance(v, str | int | float)}
    return Body(msgspec.json.encode(fields, enc_hook=str))


def _provider(kwargs: Mapping[str, Any]) -> str | None:
    provider = kwargs.get("custom_llm_provider") or (kwargs.get("litellm_params") or {}).get("custom_llm_provider")
    return str(provider) if provider else None


def _asked(kwargs: Mapping[str, Any]) -> bool:
    """Whether the provider was asked for the usage of a stream."""
    for place in (kwargs, kwargs.get("optional_params") or {}):
        options = place.get("stream_options")
        if isinstance(options, Mapping) and options.get("include_usage"):
            return True
    return False


def _estimate(exchange: Exchange) -> TokenUsage:
    return ByteEstimator().count(exchange)


def _monotonic(moment: datetime) -> float:
    return time.monotonic() - (time.time() - moment.timestamp())
