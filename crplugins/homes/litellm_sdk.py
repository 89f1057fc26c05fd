"""UsageCallback: plain `litellm.completion` and `acompletion` calls, metered like requests to a gateway.

    litellm.callbacks = [UsageCallback(sinks=[print])]

The same records, ledger and metrics as in a gateway. litellm reports a call when it is over, so nothing can be refused.
"""

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack
from contextvars import copy_context
from datetime import datetime
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import msgspec
from litellm.integrations.custom_logger import CustomLogger

from crplugins.core.body import Body
from crplugins.core.bounded_map import BoundedMap
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Attempt, Exchange, Timings, new_request_id
from crplugins.core.paths import CHAT_PATH
from crplugins.core.pipeline import Pipeline, Run
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Principal
from crplugins.core.sse import Event
from crplugins.core.usage import Price
from crplugins.handlers.litellm.errors import Failures
from crplugins.homes.litellm_objects import (
    ServingDeployment,
    ServingDeployments,
    note_answer,
    note_chunks,
    note_unfinished,
    note_usage,
    reported_in,
    reported_in_chunks,
    requested_group,
)
from crplugins.homes.litellm_sdk_streams import STREAMS, StreamListener, WatchedStream, watch_streams
from crplugins.metering.estimate import completed_usage, settle_missing
from crplugins.metering.listed_prices import installed_prices
from crplugins.plugins.usage import Recorder, Sink, Usage

if TYPE_CHECKING:
    from crplugins.plugins.metrics.plugin import Metrics


logger = logging.getLogger("crplugins.litellm")


CALL_TYPES: Final = frozenset({"completion", "acompletion"})


class UsageCallback(StreamListener, CustomLogger):
    """Makes one record of each call, when it is over. Reads litellm's list of prices: 0.1 s.

    litellm makes up counts for a stream that was not asked for its usage. Such a stream is estimated as in every other
    home, and marked: pass `stream_options={"include_usage": True}` for the provider's own. A stream that its caller
    abandons leaves its record some seconds later. A router's failed attempts are calls of their own, each with its
    record.

    Args:
        ledger: where records are kept; enter the callback (`async with`) to open it, in the loop the calls run in.
        sinks: called with each record, in whichever thread litellm tells of the call.
        metrics: counts calls too, if it is given.
        principal: whose calls they are; or a function of what litellm knows of a call, such as its `metadata`.
        metadata: names in `metadata` that become tags of the record.
        prices: the price of a model in litellm's notation; by default those of the router's deployment or of the call
            itself, else litellm's own table.
        plugins: one's own, which see each call when it is over and can refuse nothing.
    """

    def __init__(
        self,
        *,
        ledger: Recorder | None = None,
        sinks: Iterable[Sink] = (),
        metrics: "Metrics | None" = None,
        principal: Principal | Callable[[Mapping[str, Any]], Principal | None] | None = None,
        metadata: Iterable[str] = (),
        prices: Callable[[str], Price | None] | None = None,
        plugins: Iterable[Plugin] = (),
    ) -> None:
        super().__init__()
        self._prices: Final = prices
        self._deployments: Final = ServingDeployments()
        installed_prices()  # reads a file: now, and not in the midst of a call
        watch_streams()
        outside = () if metrics is None else (metrics,)
        self._plugins: Final = (*outside, Usage(ledger, sinks=sinks, metadata=metadata), *plugins)
        self._pipeline: Final = Pipeline(self._plugins, Counter(), 0)
        self._may_wait: Final = len(self._plugins) > len(outside) + 1
        self._principal: Final = principal
        self._seen: Final[BoundedMap[tuple[str, bool], float]] = BoundedMap()
        self._lock: Final = threading.Lock()
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for plugin in self._plugins:
            await self._open.enter_async_context(plugin)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(STREAMS.finish)
        await self._open.aclose()

    async def async_log_success_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        if self._is_new(kwargs, failed=False):
            await self._record(answered(self._facts(kwargs), response_obj, start_time, end_time), kwargs)

    async def async_log_failure_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        del response_obj
        if self._is_new(kwargs, failed=True):
            await self._record(failed(self._facts(kwargs), start_time, end_time), kwargs)

    def log_success_event(self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Of `completion`; litellm calls it in a thread."""
        if self._is_new(kwargs, failed=False):
            self._at_once(self._record(answered(self._facts(kwargs), response_obj, start_time, end_time), kwargs))

    def log_failure_event(self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any) -> None:
        del response_obj
        if self._is_new(kwargs, failed=True):
            self._at_once(self._record(failed(self._facts(kwargs), start_time, end_time), kwargs))

    def stream_gone(self, stream: WatchedStream) -> None:
        """Litellm has not reported how this stream ended: nobody has read it to its end."""
        parameters = stream.call.get("litellm_params") or {}
        if parameters.get("no-log") is not True and self._is_new(stream.call, failed=False, since=stream.begun):
            with self._lock:  # on a busy machine litellm tells of a failure later than this
                self._seen[stream.call_id, True] = time.monotonic()
            self._at_once(self._record(abandoned(self._facts(stream.call), stream), stream.call))

    def _facts(self, kwargs: Mapping[str, Any]) -> "CallFacts":
        return CallFacts(kwargs, self._deployments.of(kwargs), STREAMS.of(kwargs))

    def _is_new(self, kwargs: Mapping[str, Any], *, failed: bool, since: float = inf) -> bool:
        """Litellm tells of some calls twice, in a thread and in the loop.

        `fallbacks` and retries go on under the same id: a failure may come before the success of a call. One that came
        after `since` is the end of the stream that began then.
        """
        if kwargs.get("call_type") not in CALL_TYPES:
            return False
        call_id = str(kwargs.get("litellm_call_id"))
        with self._lock:
            if (call_id, failed) in self._seen or self._seen.get((call_id, True), 0.0) > since:
                return False
            self._seen[call_id, failed] = time.monotonic()
            return True

    async def _record(self, call: "CompletedCall", kwargs: Mapping[str, Any]) -> None:
        exchange, owner, ended = call.exchange, self._principal, call.exchange.timings.ended
        exchange.principal = owner(kwargs) if callable(owner) else owner
        if self._prices is not None:
            exchange.price = self._prices(priced_name(kwargs))
        run = Run(self._pipeline, exchange)
        try:
            await run.down()
            if call.answer is not None and self._pipeline.watching:
                run.event(call.answer)
            run.conclude(call.status, call.error, left=call.left)
            exchange.timings.ended = ended  # litellm reports a call some time after its end
            settle_missing(exchange, "estimate")
            await run.ended()
        except GatewayError as error:  # nobody can be refused any more; the record says that somebody would have been
            logger.warning("a plugin refuses a call of litellm's that is over: %s", error.error.message)
            run.conclude(error.status, error)
        finally:
            run.conclude(None)
            run.finish()

    def _at_once(self, life: Coroutine[Any, Any, None]) -> None:
        """Run what happens to a call of `completion`, which litellm reports in a thread without an event loop.

        Usage and Metrics wait for nothing. For plugins that may, the thread gets a loop of its own for as long. The id
        of the call is set in a context of its own: the thread's later lines of the log are not about this call.
        """
        if self._may_wait and not _in_a_loop():
            asyncio.run(life)
            return
        try:
            copy_context().run(life.send, None)
        except StopIteration:
            return
        life.close()
        raise RuntimeError("a plugin of UsageCallback waits in a hook: call acompletion where an event loop runs")


class CallFacts(NamedTuple):
    """A call as litellm reports it, what served it, and its stream if it had one that was watched."""

    reported: Mapping[str, Any]
    deployment: ServingDeployment
    stream: WatchedStream | None


class CompletedCall(NamedTuple):
    """What litellm reports of a call that is over.

    `answer` is the whole answer as one event, for a stream too; `error` is what a call that failed has raised; `left`
    says that the caller has abandoned a stream.
    """

    exchange: Exchange
    status: int
    answer: Event | None = None
    error: GatewayError | None = None
    left: bool = False


def answered(call: CallFacts, response: Any, start: datetime, end: datetime) -> CompletedCall:
    """A call that litellm reports as a success."""
    exchange = _exchange(call, start, end)
    answer = Event.json_document(response.model_dump_json().encode()) if hasattr(response, "model_dump_json") else None
    moments = exchange.timings.first_token, exchange.timings.last_token
    if call.stream is not None and call.stream.chunks:  # what litellm puts together of them has lost some of it
        note_chunks(exchange, call.stream.chunks)
    elif answer is not None:
        exchange.note_facts(answer)
        exchange.counted(None, "none")  # until it is known whose counts they are
    exchange.timings.first_token, exchange.timings.last_token = moments
    exchange.status = 200
    _note_reported(exchange, call, response)
    return CompletedCall(exchange, 200, answer)


def _note_reported(exchange: Exchange, call: CallFacts, response: Any) -> None:
    """The provider's counts. Of a stream whose provider told none litellm makes some up, which nobody needs."""
    if not exchange.stream:
        note_answer(exchange, response)
    elif call.stream is not None:
        note_usage(exchange, reported_in_chunks(call.stream.chunks))
    elif _asked(call.reported):
        note_usage(exchange, reported_in(response))


def failed(call: CallFacts, start: datetime, end: datetime) -> CompletedCall:
    """A call that raised. Of a stream that broke, what had come counts; where nobody knows, the prompt alone."""
    exchange = _exchange(call, start, end)
    cause, begun = call.reported.get("exception"), exchange.timings.first_token is not None
    failures = Failures(str(call.reported.get("model")), ())
    error = failures.of(cause if isinstance(cause, BaseException) else Exception(), begun=begun)
    if begun or _is_of(call.stream, exchange):
        _note_stream(exchange, call.stream)
    if begun:
        exchange.status = 200
        if exchange.usage is None and (call.stream is None or exchange.answer_says):
            exchange.counted(completed_usage(exchange), "estimated")
    exchange.attempts[-1].fail(error, exchange.timings.ended or exchange.clock())
    return CompletedCall(exchange, 200 if begun else error.status, error=error)


def _is_of(stream: WatchedStream | None, exchange: Exchange) -> bool:
    """Whether a stream was made for this attempt: others of the same call have its id too."""
    return stream is not None and stream.begun >= exchange.timings.started


def abandoned(call: CallFacts, stream: WatchedStream) -> CompletedCall:
    """A stream whose caller has not read it to its end. One that has read its finish reason has the whole answer."""
    begun = call.reported.get("start_time")
    # Local time without a zone, as litellm's are. `datetime.now()` less something would be an hour early in the hour
    # that comes twice in autumn.
    end = datetime.fromtimestamp(time.time() - (time.monotonic() - stream.gone))  # noqa: DTZ006
    exchange = _exchange(call, begun if isinstance(begun, datetime) else end, end)
    exchange.stream, exchange.status = True, 200
    first = next((getattr(chunk, "_hidden_params", {}).get("created_at") for chunk in stream.chunks), None)
    if isinstance(first, int | float):
        timings = exchange.timings
        seen = max(timings.started, _monotonic(datetime.fromtimestamp(first), timings.ended))  # noqa: DTZ006
        timings.first_token = timings.last_token = seen
    _note_stream(exchange, stream)
    return CompletedCall(exchange, 200, left=exchange.finish_reason is None)


def _note_stream(exchange: Exchange, stream: WatchedStream | None) -> None:
    """What had come of a stream, and what its provider had told of it so far; else an estimate."""
    moments = exchange.timings.first_token, exchange.timings.last_token
    if stream is not None:
        note_chunks(exchange, stream.chunks)
        note_unfinished(exchange, stream.chunks)
    exchange.timings.first_token, exchange.timings.last_token = moments


def priced_name(kwargs: Mapping[str, Any]) -> str:
    """The model in litellm's notation."""
    model, provider = str(kwargs.get("model") or ""), _provider(kwargs)
    return model if not provider or model.startswith(f"{provider}/") else f"{provider}/{model}"


def _exchange(call: CallFacts, start: datetime, end: datetime) -> Exchange:
    kwargs, deployment = call.reported, call.deployment
    ended = _monotonic(end)
    begun = _monotonic(start, ended)
    timings = Timings(begun, app=begun, response=ended, ended=ended)
    stream = kwargs.get("stream") is True or (kwargs.get("optional_params") or {}).get("stream") is True
    first = kwargs.get("completion_start_time")
    if stream and isinstance(first, datetime):
        timings.first_token, timings.last_token = max(begun, _monotonic(first, ended)), ended
    exchange = Exchange(
        id=new_request_id(),
        method="POST",
        path="/v1" + CHAT_PATH,
        headers=(),
        client=None,
        clock=time.monotonic,
        timings=timings,
        body=_body(kwargs),
        requested_model=requested_group(kwargs) or deployment.model or None,
        served_model=deployment.model or None,
        stream=stream,
        price=deployment.price,
    )
    if kwargs.get("cache_hit") is True or (call.stream is not None and call.stream.cached):
        exchange.answered_from_cache()
    else:
        exchange.attempts.append(Attempt(deployment.provider, "initial", begun, ended))
    return exchange


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


def _monotonic(moment: datetime, latest: float | None = None) -> float:
    """A time of litellm's, which is of the wall clock, by the monotonic one; no later than `latest`, nor than now.

    Somebody may have set the wall clock meanwhile: nothing takes less than no time.
    """
    now = time.monotonic()
    found = now - (time.time() - moment.timestamp())
    return min(found, now if latest is None else latest)


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
