"""A stream of the proxy on its way to the client, and its one settlement."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from crplugins.core.errors import GatewayError
from crplugins.homes.litellm_proxy_answer import (
    added_chunks,
    error_frame,
    note_chunk,
    shown_chunk,
    tidy_usage_chunk,
    without_usage,
)
from crplugins.homes.litellm_proxy_boundary import boundary
from crplugins.homes.litellm_proxy_calls import ProxyCall
from crplugins.homes.litellm_proxy_facts import field_of, is_made_up
from crplugins.homes.litellm_proxy_failure import failure_of
from crplugins.homes.litellm_proxy_runtime import Runtime


async def tidied(response: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
    """A stream whose plugins run around the whole proxy."""
    around = boundary()
    begun = False
    try:
        async for chunk in response:
            has_choices = hasattr(chunk, "choices")
            begun = begun or has_choices
            if around is None or not has_choices or field_of(chunk, "usage") is None:
                yield chunk
                continue
            made_up = is_made_up(around, chunk)
            tidy_usage_chunk(chunk)
            yield chunk
            if made_up:  # the boundary has it now, and takes it for the provider's
                around.usage_source = "estimated"
    except Exception as error:
        if around is None or not begun:
            raise
        failure = failure_of(around, error, begun=True)
        around.error, around.error_type = failure.error, failure.error_type
        yield error_frame(failure)


async def around_other_stream(
    runtime: Runtime, call: ProxyCall, response: AsyncIterator[Any]
) -> AsyncGenerator[Any, None]:
    """A stream of another API than chat completions. What it used is in LiteLLM's log event, which settles it."""
    try:
        async for chunk in response:
            if (shown := without_usage(chunk) if call.hides_usage else chunk) is not None:
                call.begun = True
                yield shown
    except (asyncio.CancelledError, GeneratorExit):
        runtime.calls.settle_left(call)
        raise


async def around_stream(runtime: Runtime, call: ProxyCall, response: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
    """The chunks as the plugins leave them. However it ends, the call is settled then."""
    kind: type[Any] | None = None
    try:
        async for chunk in response:
            if not hasattr(chunk, "choices"):  # an error of LiteLLM's, written out
                yield chunk
                continue
            kind = type(chunk)
            if (shown := _shown(runtime, call, chunk)) is not None:
                call.begun = True
                yield shown
        for chunk in added_chunks(call, kind) if kind is not None else ():
            yield chunk
    except (asyncio.CancelledError, GeneratorExit):
        runtime.calls.settle(call, 200 if call.begun else 499, left=True)
        raise
    except GatewayError as error:  # a plugin's
        call.exchange.failed_in_stream = call.begun
        await runtime.calls.end(call, 200 if call.begun else error.status, error)
        yield error_frame(error)
        return
    except Exception as error:
        if not call.begun:  # LiteLLM has another hook for it, and other answers than a stream
            raise
        failure = failure_of(call.exchange, error, begun=True)
        call.exchange.failed_in_stream = True
        await runtime.calls.end(call, 200, failure)
        yield error_frame(failure)
        return
    if kind is not None:
        await runtime.calls.end(call, 200)


def _shown(runtime: Runtime, call: ProxyCall, chunk: Any) -> Any | None:
    usage = field_of(chunk, "usage")
    note_chunk(call, chunk, usage)
    if usage is not None:
        tidy_usage_chunk(chunk)
    shown = shown_chunk(call, chunk) if runtime.reads_chunks else chunk
    return shown if usage is None or shown is None or not call.hides_usage else without_usage(shown)
