"""What a provider has counted before its first word, or between its words, when the client leaves."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from crplugins.homes.gateway.app import Gateway
from crplugins.testing import FakeProvider, Script
from tests.core.doubles import Watcher
from tests.gateway_setup import CLIENT_KEY, UPSTREAM_KEY, Setup

COUNTED = {
    "prompt_tokens": 5025, "completion_tokens": 0, "total_tokens": 5025, "prompt_tokens_details": {"cached_tokens": 5000}
}  # fmt: skip


def chunk(text: str, usage: Any = None) -> bytes:
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
    whole = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps({**whole, "usage": usage}).encode() + b"\n\n"


@pytest.mark.parametrize("words", [0, 3])
@pytest.mark.parametrize(("handler", "stream"), [("direct", True), ("direct", False), ("litellm", True)])
async def test_it_is_in_the_books_whether_a_word_was_shown_or_not(
    serve: Any, handler: str, stream: bool, words: int
) -> None:
    """And where the provider streams though it was not asked to."""
    events, watcher = [chunk("", COUNTED), *[chunk("word ")] * words], Watcher()
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(FakeProvider())
        params = {"model": "openai/m", "api_base": provider.base_url, "api_key": UPSTREAM_KEY}
        model = {"model_name": "m", "handler": handler, "litellm_params": params}
        app = Gateway(model_list=[model], keys=[{"id": "k", "secret": CLIENT_KEY}], plugins=[watcher])
        url = await stack.enter_async_context(serve(app))
        await app.loaded()
        gateway = Setup(provider, url, await stack.enter_async_context(aiohttp.ClientSession()))
        provider.default = Script(events=events, stall_after=len(events))
        call = asyncio.create_task(gateway.post(model="m", stream=stream))
        async with asyncio.timeout(30):
            await provider.wait_for_requests(1)
            while provider.requests[0].frames_sent < len(events):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)  # until the gateway has read it
            call.cancel()
            while watcher.exchange.outcome is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        usage = watcher.exchange.usage
        assert usage is not None
        assert (watcher.exchange.outcome, usage.input_tokens, usage.cached_input_tokens) == ("cancelled", 5025, 5000)


@pytest.mark.parametrize("path", ["messages", "responses"])
async def test_it_is_in_the_books_of_a_translated_stream_that_breaks(serve: Any, path: str) -> None:
    watcher = Watcher()
    used = {"prompt_tokens": 5025, "completion_tokens": 3, "total_tokens": 5028}
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(FakeProvider())
        provider.default = Script(events=[chunk("word "), chunk("word ", used)])
        params = {"model": "openai/m", "api_base": provider.base_url, "api_key": UPSTREAM_KEY, "num_retries": 0}
        info = {"supported_endpoints": ["/v1/chat/completions"]}
        model = {"model_name": "m", "litellm_params": params, "model_info": info, "handler": "direct"}
        app = Gateway(model_list=[model], keys=[{"id": "k", "secret": CLIENT_KEY}], plugins=[watcher])
        url = await stack.enter_async_context(serve(app))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        said = (
            {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}
            if path == "messages"
            else {"input": "Hi"}
        )
        headers = {"authorization": f"Bearer {CLIENT_KEY}"}
        async with session.post(
            f"{url}/v1/{path}", json={"model": "m", "stream": True, **said}, headers=headers
        ) as told:
            assert b"error" in await told.read()
    usage = watcher.exchange.usage
    assert usage is not None
    assert (watcher.exchange.error_type, usage.input_tokens) == ("upstream_stream_broken", 5025)
    assert usage.output_tokens >= 3


@pytest.mark.parametrize("words", [0, 2])
async def test_it_is_in_the_books_where_it_stands_behind_a_finish_reason_that_is_a_failure(
    serve: Any, words: int
) -> None:
    watcher = Watcher()
    used = {"prompt_tokens": 5025, "completion_tokens": 3, "total_tokens": 5028}
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    failed = {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]}
    count = {**head, "choices": [], "usage": used}
    end = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in (failed, count)) + b"data: [DONE]\n\n"
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(FakeProvider())
        params = {"model": "openai/m", "api_base": provider.base_url, "api_key": UPSTREAM_KEY}
        model = {"model_name": "m", "handler": "direct", "litellm_params": params}
        app = Gateway(model_list=[model], keys=[{"id": "k", "secret": CLIENT_KEY}], plugins=[watcher])
        url = await stack.enter_async_context(serve(app))
        gateway = Setup(provider, url, await stack.enter_async_context(aiohttp.ClientSession()))
        provider.default = Script(events=[*[chunk("word ")] * words, end])
        answer = await gateway.post(model="m", stream=True)
        assert (answer.status, b"error" in answer.body) == (200 if words else 502, True)
    exchange = watcher.exchange
    usage = exchange.usage
    assert usage is not None
    assert (exchange.usage_source, usage.input_tokens, usage.output_tokens) == ("provider", 5025, 3)
