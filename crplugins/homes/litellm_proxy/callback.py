"""ProxyCallback: the plugins in the hooks of LiteLLM's proxy.

    async_pre_call_hook                      on_request of every plugin
    async_pre_call_deployment_hook           a provider is called, once per attempt
    async_post_call_success_hook             the facts of a plain answer; on_event
    async_post_call_response_headers_hook    on_response; a plain answer is settled
    async_post_call_streaming_iterator_hook  the facts of each chunk; on_event; a stream is settled
    async_post_call_failure_hook             a failure is translated and settled
    async_log_success_event                  what no other hook has seen the end of is settled
    async_log_failure_event                  an attempt has failed

Where the whole proxy is wrapped, the plugins run there, and the hooks add what only LiteLLM knows: providers,
attempts, what went wrong.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final

from litellm.integrations.custom_logger import CustomLogger

from crplugins.core.dialects import CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES, MODERATIONS, RESPONSES, Dialect
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange
from crplugins.handlers.upstream_errors import refuses_stream_options
from crplugins.homes.litellm_objects import (
    begin_attempt,
    is_from_cache,
    note_answer,
    note_cache,
    note_usage,
    reported_in,
)
from crplugins.homes.litellm_proxy.calls import ProxyCall
from crplugins.homes.litellm_proxy.runtime import Runtime, boundary, configuration, runtime
from crplugins.homes.litellm_proxy.startup import DISPATCHED_BY_CLASS, start

METERED: Final[Mapping[str, Dialect]] = MappingProxyType(
    {
        **dict.fromkeys(("completion", "acompletion"), CHAT),
        **dict.fromkeys(("text_completion", "atext_completion"), COMPLETIONS),
        **dict.fromkeys(("embeddings", "embedding", "aembedding"), EMBEDDINGS),
        **dict.fromkeys(("responses", "aresponses"), RESPONSES),
        "anthropic_messages": MESSAGES,
    }
)
"""Call types that use tokens, and their protocols. Limits of chat completions alone would be no limits."""

DEFAULT_MODELS: Final[Mapping[str, str]] = MappingProxyType(
    dict.fromkeys(("moderation", "amoderation"), MODERATIONS.default_model)
)
"""Whom a request without a model means. LiteLLM asks OpenAI then, with a key of the environment, and passes by the
deployment that is configured."""

CLIENT_LEFT: Final = 499
"""LiteLLM's status for a client that left, under `cancel_on_disconnect`."""


class ProxyCallback(CustomLogger):
    """An entry of `litellm_settings.callbacks`.

    May be subclassed: the hooks that LiteLLM looks for in the class itself are put there.

    Args:
        runtime: the plugins it runs; those of the process, unless given. LiteLLM gives none.

    Raises `ConfigError` where the configuration is wrong, so that the proxy does not start without its limits.
    """

    def __init__(self, runtime: Runtime | None = None) -> None:
        super().__init__()
        self._given = runtime
        self._start: asyncio.Task[None] | None = None
        if runtime is not None:
            return
        configuration()
        with suppress(RuntimeError):  # imported before the proxy's loop runs
            self.start()

    def start(self) -> None:
        """Look at LiteLLM and open the plugins, once. Raises RuntimeError without a running event loop."""
        if self._start is None and self._given is None:
            loop = asyncio.get_running_loop()
            self._start = loop.create_task(start(self))

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        for name in DISPATCHED_BY_CLASS:
            if name not in vars(cls):
                setattr(cls, name, getattr(cls, name))

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: Any
    ) -> dict[str, Any]:
        from crplugins.homes.litellm_proxy.requests import admit

        del cache
        self.start()
        kind = getattr(call_type, "value", call_type)
        if (dialect := METERED.get(kind)) is not None:
            await admit(self._runtime, user_api_key_dict, data, dialect)
        elif not data.get("model") and (named := DEFAULT_MODELS.get(kind)) is not None:
            data["model"] = named
        return data

    async def async_pre_call_deployment_hook(self, kwargs: dict[str, Any], call_type: Any) -> None:
        if (around := boundary()) is not None:
            begin_attempt(around, self._runtime.deployments.of(kwargs))
        elif (call := self._call(kwargs)) is not None:
            asked = METERED.get(getattr(call_type, "value", call_type))
            translated = asked is not None and asked is not call.exchange.dialect
            call.note_attempt(self._runtime.deployments.of(kwargs), translated=translated)

    async def async_post_call_success_hook(self, data: dict[str, Any], user_api_key_dict: Any, response: Any) -> Any:
        from crplugins.homes.litellm_proxy.answers import note_answering, pass_document, shown_document
        from crplugins.homes.litellm_proxy.failures import ProxyRefusal
        from crplugins.homes.litellm_proxy.other_answers import hear_document

        del user_api_key_dict
        call = self._call(data)
        exchange = call.exchange if call is not None else boundary()
        if exchange is not None and is_from_cache(response):
            note_cache(exchange)
        is_chat = (call is None or call.chat) and _is_chat_answer(response)
        if exchange is not None and is_chat:
            note_answer(exchange, response)
            note_answering(exchange, [response])
        if call is None:
            return response
        call.exchange.responded(200)
        _end_attempt(call.exchange)
        if not is_chat:
            if not call.chat:
                hear_document(self._runtime, call, response)
            return response
        try:
            if self._runtime.reads_chunks:
                return shown_document(call, response)
            pass_document(call, response)
        except GatewayError as error:
            raise ProxyRefusal(error) from None
        return response

    async def async_post_call_response_headers_hook(
        self,
        data: dict[str, Any],
        user_api_key_dict: Any,
        response: Any,
        request_headers: Mapping[str, str] | None = None,
        litellm_call_info: Mapping[str, Any] | None = None,
    ) -> dict[str, str] | None:
        from crplugins.homes.litellm_proxy.answers import listen

        del user_api_key_dict, request_headers, litellm_call_info
        call = self._call(data)
        exchange = call.exchange if call is not None else boundary()
        if exchange is not None and hasattr(response, "__aiter__"):
            listen(exchange, response)
        if response is None:  # an error, settled already
            last = self._runtime.calls.last()
            return None if last is None else last.sent_headers
        if call is None:
            return None
        headers = call.headers(200)
        if call.chat and not hasattr(response, "__aiter__"):
            await self._runtime.calls.end(call, 200)
        return headers

    def async_post_call_streaming_iterator_hook(
        self, user_api_key_dict: Any, response: Any, request_data: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """No generator itself: one less for each chunk to pass."""
        from crplugins.homes.litellm_proxy.answers import around_stream, numbered, tidied
        from crplugins.homes.litellm_proxy.other_answers import around_other_stream

        del user_api_key_dict
        call = self._call(request_data)
        if call is None:
            around = boundary()
            return numbered(response) if around is None else tidied(response, around)
        return (around_stream if call.chat else around_other_stream)(self._runtime, call, response)

    async def async_post_call_failure_hook(
        self,
        request_data: dict[str, Any],
        original_exception: Exception,
        user_api_key_dict: Any,
        traceback_str: str | None = None,
    ) -> Any:
        from crplugins.homes.litellm_proxy.failures import TranslatedFailure, failure_of, is_own, reword, status_of

        del user_api_key_dict, traceback_str
        call = self._call(request_data)
        around = boundary()
        exchange = call.exchange if call is not None else around
        if exchange is None:
            return None
        error = failure_of(exchange, original_exception, begun=exchange.timings.first_token is not None)
        own = is_own(exchange, original_exception)
        if call is not None:
            await self._fail(call, error, left=status_of(original_exception) == CLIENT_LEFT)
            if not call.chat and not own:
                reword(original_exception, error)
        else:
            exchange.failed(error)
        return None if own else TranslatedFailure(error)

    async def _fail(self, call: ProxyCall, error: GatewayError, *, left: bool) -> None:
        calls, exchange = self._runtime.calls, call.exchange
        if left:
            calls.settle(call, CLIENT_LEFT, left=True)
            return
        if call.hides_usage and refuses_stream_options(error):
            self._runtime.unasked.suspect(exchange)
        if not call.begun:
            call.headers(error.status)
        await calls.end(call, 200 if call.begun else error.status, error)

    async def async_log_success_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        from crplugins.homes.litellm_proxy.answers import is_all_made_up

        del start_time, end_time
        call = self._call(kwargs)
        if call is not None:
            if kwargs.get("cache_hit") is True:
                note_cache(call.exchange)
            estimated = call.estimated or is_all_made_up(call.exchange)
            if call.exchange.usage is None and not (call.chat and estimated):
                found = reported_in(response_obj) or (None if call.chat else kwargs.get("standard_logging_object"))
                note_usage(call.exchange, found, estimated=estimated)
            self._runtime.calls.settle_soon(call)

    async def async_log_failure_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """One attempt; the router may make another."""
        from crplugins.homes.litellm_proxy.failures import failure_of

        del response_obj, start_time, end_time
        call = self._call(kwargs)
        exchange = call.exchange if call is not None else boundary()
        error = kwargs.get("exception")
        if exchange is None or not exchange.attempts or not isinstance(error, BaseException):
            return
        attempt = exchange.attempts[-1]
        if attempt.ended is None:
            attempt.fail(failure_of(exchange, error, begun=False), exchange.clock())

    @property
    def _runtime(self) -> Runtime:
        return self._given or runtime()

    def _call(self, data: Mapping[str, Any]) -> ProxyCall | None:
        return self._runtime.calls.of(data)


def _is_chat_answer(response: Any) -> bool:
    return getattr(response, "choices", None) is not None and hasattr(response, "model_dump_json")


def _end_attempt(exchange: Exchange) -> None:
    if exchange.attempts:
        exchange.attempts[-1].end(exchange.clock())
