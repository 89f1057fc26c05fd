"""Disconnects: an answer is read on for its usage, within bounds, when its client has disconnected."""

import asyncio
from typing import Any

import pytest

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Principal
from crplugins.plugins.disconnects import Disconnects
from crplugins.plugins.missing_usage import MissingUsage
from crplugins.plugins.stream_usage import StreamUsage
from crplugins.testing import Drive
from tests.core.doubles import CHUNK, DONE, JSON, STOP, Watcher, piece, start

USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n'
DOCUMENT = b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}'
ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}


class Key(Plugin):
    def __init__(self, **fields: Any) -> None:
        self._principal = Principal("k", **fields)

    async def on_request(self, exchange: Exchange) -> None:
        exchange.principal = self._principal


class Provider:
    """An app that goes on when told, and ends its work when it hears that the client has gone."""

    def __init__(self, *frames: bytes, endless: bool = False, content_type: str = "text/event-stream") -> None:
        self.frames, self.endless, self.content_type = frames, endless, content_type
        self.go = asyncio.Event()
        self.asked = asyncio.Event()
        self.sent = 0
        self.told = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        work = asyncio.create_task(self._work(send))
        listening = asyncio.create_task(receive())
        await asyncio.wait({work, listening}, return_when=asyncio.FIRST_COMPLETED)
        self.told = listening.done()
        for task in (work, listening):
            task.cancel()
        await asyncio.wait({work, listening})
        if not work.cancelled():
            work.result()

    async def _work(self, send: Any) -> None:
        self.asked.set()
        if self.content_type == JSON:
            await self.go.wait()
        await send(start(content_type=self.content_type))
        for frame in self.frames:
            await send(piece(frame))
            self.sent += 1
            await self.go.wait()
        while self.endless:
            await send(piece(CHUNK))
            self.sent += 1
            await asyncio.sleep(0)
        await send(piece(b"", more=False))


async def left(provider: Provider, *plugins: Plugin, spec_version: str = "2.3", after: int = 2) -> Exchange:
    """The exchange of a request whose client leaves after so many messages."""
    watcher = Watcher()
    app = PluginMiddleware(provider, plugins=[watcher, *plugins, StreamUsage(), MissingUsage()])
    async with Drive(app, body=ASK, spec_version=spec_version) as call:
        await provider.asked.wait()
        for _ in range(after):
            await call.next_message()
        call.disconnect()
        await asyncio.sleep(0.01)
        provider.go.set()
        await call.finish()
        assert not call.sent_too_late or spec_version == "2.3"
    return watcher.exchange


async def test_by_default_the_work_ends_at_once_and_the_count_is_an_estimate() -> None:
    provider = Provider(CHUNK, STOP, USAGE, DONE)
    exchange = await left(provider, Disconnects())
    assert (provider.sent, provider.told) == (1, True)
    assert (exchange.status, exchange.outcome, exchange.usage_source) == (200, "cancelled", "estimated")


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
async def test_drained_the_record_has_the_providers_number(spec_version: str) -> None:
    provider = Provider(CHUNK, STOP, USAGE, DONE)
    exchange = await left(provider, Disconnects("drain"), spec_version=spec_version)
    assert provider.sent == 4
    assert (exchange.status, exchange.outcome, exchange.error_type) == (200, "cancelled", "client_disconnected")
    assert (exchange.usage.output_tokens, exchange.usage_source) == (4, "provider")


async def test_a_plain_answer_is_waited_for_too() -> None:
    provider = Provider(DOCUMENT, content_type=JSON)
    exchange = await left(provider, Disconnects("drain"), after=0)
    assert (exchange.status, exchange.outcome) == (499, "cancelled")
    assert (exchange.usage.output_tokens, exchange.usage_source) == (4, "provider")


async def test_a_key_has_a_policy_of_its_own() -> None:
    exchange = await left(Provider(CHUNK, USAGE, DONE), Key(on_disconnect="drain"), Disconnects())
    assert exchange.usage_source == "provider"
    exchange = await left(Provider(CHUNK, USAGE, DONE), Key(on_disconnect="cancel"), Disconnects("drain"))
    assert exchange.usage_source == "estimated"


async def test_an_endless_answer_is_read_no_further_than_so_many_tokens() -> None:
    provider = Provider(CHUNK, endless=True)
    exchange = await left(provider, Disconnects("drain", drain_tokens=10, drain_seconds=60))
    assert provider.told
    assert 20 <= provider.sent < 40  # a character each, which is half a token at most
    assert (exchange.outcome, exchange.usage_source) == ("cancelled", "estimated")


async def test_a_silent_answer_is_waited_for_no_longer_than_so_many_seconds() -> None:
    provider = Provider(CHUNK, STOP, USAGE, DONE)
    provider.go.wait = asyncio.Event().wait  # type: ignore[method-assign]  # never goes on
    began, seconds = asyncio.get_running_loop().time(), 0.1
    async with asyncio.timeout(60):
        exchange = await left(provider, Disconnects("drain", drain_seconds=seconds))
    assert asyncio.get_running_loop().time() - began >= seconds
    assert (exchange.outcome, exchange.usage_source, provider.told) == ("cancelled", "estimated", True)


async def test_a_client_that_stays_is_served_as_ever() -> None:
    provider = Provider(CHUNK, STOP, USAGE, DONE)
    provider.go.set()
    watcher = Watcher()
    app = PluginMiddleware(provider, plugins=[watcher, Disconnects("drain"), StreamUsage(), MissingUsage()])
    async with Drive(app, body=ASK) as call:
        answer = await call.finish()
    assert answer.body == CHUNK + STOP + DONE
    assert (watcher.exchange.outcome, watcher.exchange.client_gone) == ("ok", False)
