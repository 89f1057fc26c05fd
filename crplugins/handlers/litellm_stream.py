"""LitellmStream: one streamed answer on its way from litellm to the client."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange
from crplugins.handlers.litellm_errors import Failures
from crplugins.handlers.litellm_raw import RawStream
from crplugins.handlers.litellm_repair import ProviderFailed, StreamRepair
from crplugins.handlers.litellm_usage import UsageObject, as_usage, usage_object

Estimate = Callable[[str], Awaitable[UsageObject | None]]
"""Counts the tokens of an answer whose provider did not, given all it said."""


class LitellmStream:
    """Yields complete events. An answer that did not come to its end raises `GatewayError` in place of [DONE]."""

    def __init__(
        self,
        exchange: Exchange,
        raw: RawStream,
        repair: StreamRepair,
        failures: Failures,
        timeout: float,
        estimate: Estimate,
    ) -> None:
        self._exchange = exchange
        self._attempt = exchange.attempts[-1]
        self._raw = raw
        self._repair = repair
        self._failures = failures
        self._timeout = timeout
        self._estimate = estimate

    async def begin(self) -> AsyncGenerator[bytes, None]:
        """The events, once the first is here: a failure before it is still a status."""
        events = self._events()
        await anext(events)
        return events

    async def _events(self) -> AsyncGenerator[bytes, None]:
        try:
            frames = await self._next_frames()
            yield b""  # to `begin`: closing a generator that has not started would not run the `finally`
            while frames:
                yield frames
                frames = await self._next_frames()
            self._attempt.ended = self._exchange.clock()
            self._keep_usage(self._repair.usage)
            if self._repair.usage is None:  # before the end mark, behind which OpenAI's SDK closes the connection
                await self._keep_estimate()
            yield self._repair.end()
        except GatewayError as error:
            self._attempt.fail(error, self._exchange.clock())
            raise
        finally:
            if self._attempt.ended is None:
                self._attempt.ended = self._exchange.clock()
            await self._raw.aclose()

    async def _next_frames(self) -> bytes:
        """Frames of the next items that say something new; none at the end of a complete answer."""
        try:
            return await self._read()
        except Exception as error:
            failure = self._failure(error)
        if self._repair.begun and self._exchange.usage is None:
            await self._keep_estimate()
        raise failure

    async def _read(self) -> bytes:
        frames = b""
        while not frames:
            try:
                async with asyncio.timeout(self._timeout):
                    item = await anext(self._raw)
            except StopAsyncIteration:
                self._check_end()
                return b""
            if self._raw.tap.malformed is not None:
                raise self._failures.malformed(self._raw.tap.malformed)
            frames = self._repair.frames(item)
        return frames

    def _check_end(self) -> None:
        repair, tap = self._repair, self._raw.tap
        if tap.error is not None:
            raise ProviderFailed(tap.error)
        if not (repair.finished or (tap.done and repair.begun)):
            raise self._failures.cut_short("neither finish_reason nor an end mark came")

    def _failure(self, error: Exception) -> GatewayError:
        tap = self._raw.tap
        if tap.error is not None:
            self._keep_usage(usage_object(tap.usage))  # OpenRouter counts a failed answer too
            return self._failures.in_stream(tap.error)
        if isinstance(error, ProviderFailed):
            return self._failures.in_stream(error.error)
        return self._failures.of(error, begun=self._repair.begun)

    def _keep_usage(self, usage: UsageObject | None) -> None:
        if usage is not None:
            self._exchange.usage, self._exchange.usage_source = as_usage(usage), "provider"

    async def _keep_estimate(self) -> None:
        """Count what was said. What the provider has counted so far (Anthropic: the prompt) is not guessed again."""
        usage = await self._estimate(self._repair.text)
        if usage is None or self._exchange.usage is not None:
            return
        counted = self._repair.usage or {}
        usage |= {k: v for k, v in counted.items() if k.startswith("prompt_tokens")}
        usage["completion_tokens"] = max(usage["completion_tokens"], counted.get("completion_tokens", 0))
        usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
        self._exchange.usage, self._exchange.usage_source = as_usage(usage), "estimated"
