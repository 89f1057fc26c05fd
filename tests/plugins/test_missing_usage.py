"""MissingUsage: estimates, refusals and free answers."""

import asyncio
import json
from types import TracebackType
from typing import Any, Self

import pytest

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Principal
from crplugins.core.sse import Event
from crplugins.core.usage import TokenUsage
from crplugins.plugins.missing_usage import MissingUsage
from crplugins.testing import Drive, drive
from tests.core.doubles import CHUNK, DOCUMENT, DONE, JSON, STOP, App, Watcher, piece, start

HEARD = b'data: {"choices":[{"index":0,"delta":{"content":"eight by"}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n'
PLAIN = b'{"choices":[{"index":0,"message":{"content":"eight by"},"finish_reason":"stop"}]}'
ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
ASK_PLAIN = {**ASK, "stream": False}


class Key(Plugin):
    """Stands for a key with a policy of its own."""

    def __init__(self, **policy: Any) -> None:
        self._principal = Principal("k", **policy)

    async def on_request(self, exchange: Exchange) -> None:
        exchange.principal = self._principal


async def after(app: Any, plugin: MissingUsage, *outside: Plugin, body: Any = None) -> tuple[Any, Exchange]:
    watcher = Watcher()
    answer = await drive(PluginMiddleware(app, plugins=[watcher, *outside, plugin]), body=body or ASK)
    return answer, watcher.exchange


@pytest.mark.parametrize("app", [App(HEARD, STOP, DONE), App(PLAIN, content_type=JSON)])
async def test_an_answer_without_usage_is_estimated_and_says_so(app: App) -> None:
    _, exchange = await after(app, MissingUsage())
    prompt = -(-len(b'[{"role":"user","content":"hi"}]') // 4) + 4
    assert (exchange.usage, exchange.usage_source) == (TokenUsage(prompt, 2), "estimated")


@pytest.mark.parametrize("policy", ["estimate", "refuse", "free"])
@pytest.mark.parametrize("app", [App(HEARD, STOP, USAGE, DONE), App(DOCUMENT, content_type=JSON)])
async def test_the_providers_own_number_is_left_alone(app: App, policy: Any) -> None:
    answer, exchange = await after(app, MissingUsage(policy))
    assert (answer.status, exchange.usage.input_tokens, exchange.usage_source) == (200, 3, "provider")


@pytest.mark.parametrize("app", [App(b"{}", status=500, content_type=JSON), App(b"{}", status=404, content_type=JSON)])
async def test_an_answer_that_failed_counts_nothing(app: App) -> None:
    _, exchange = await after(app, MissingUsage())
    assert (exchange.usage, exchange.usage_source) == (None, "none")


class Refuse(Plugin):
    """Stands for a limit."""

    async def on_request(self, exchange: Exchange) -> None:
        raise GatewayError(429, "no")


async def test_a_request_that_was_never_sent_on_counts_nothing() -> None:
    watcher = Watcher()
    await drive(PluginMiddleware(App(), plugins=[watcher, MissingUsage(), Refuse()]), body=ASK)
    assert watcher.exchange.usage is None


async def test_a_stream_that_breaks_counts_what_came() -> None:
    app = App(sends=[start(), piece(HEARD)], raises=GatewayError(502, "broken"))
    _, exchange = await after(app, MissingUsage())
    assert (exchange.usage.output_tokens, exchange.usage_source) == (2, "estimated")


@pytest.mark.parametrize("frames", [0, 1])
async def test_a_client_that_leaves_pays_for_its_prompt_and_for_what_had_come(frames: int) -> None:
    watcher, asked = Watcher(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        asked.set()
        if frames:
            await send(start())
            await send(piece(HEARD))
        assert (await receive())["type"] == "http.disconnect"

    async with Drive(PluginMiddleware(app, plugins=[watcher, MissingUsage()]), body=ASK) as call:
        await asked.wait()
        for _ in range(2 * frames):
            await call.next_message()
        call.disconnect()
        await call.finish()
    exchange = watcher.exchange
    assert (exchange.outcome, exchange.status) == ("cancelled", 200 if frames else 499)
    assert (exchange.usage_source, exchange.usage.output_tokens) == ("estimated", 2 * frames)
    assert exchange.usage.input_tokens > 4


async def test_free_counts_nothing_not_even_a_handlers_estimate() -> None:
    class Handler(App):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await super().__call__(scope, receive, send)
            exchange = scope["crplugins.exchange"]
            exchange.counted(TokenUsage(1, 1), "estimated")

    for app in (App(HEARD, STOP, DONE), Handler(HEARD, STOP, DONE)):
        _, exchange = await after(app, MissingUsage("free"))
        assert (exchange.usage, exchange.usage_source) == (None, "none")


async def test_refuse_answers_502_in_place_of_a_plain_answer_and_still_counts() -> None:
    answer, exchange = await after(App(PLAIN, content_type=JSON), MissingUsage("refuse"), body=ASK_PLAIN)
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (502, "upstream_no_usage")
    assert (exchange.outcome, exchange.usage_source, exchange.usage.output_tokens) == ("server_error", "estimated", 2)


@pytest.mark.parametrize("end", [[DONE], []])
async def test_refuse_ends_a_stream_with_an_error_frame(end: list[bytes]) -> None:
    answer, exchange = await after(App(HEARD, STOP, *end), MissingUsage("refuse"))
    frames = answer.body.split(b"\n\n")
    assert answer.body.startswith(HEARD + STOP)
    assert json.loads(frames[-3][6:])["error"]["code"] == "upstream_no_usage"
    assert frames[-2] == b"data: [DONE]"
    assert (exchange.outcome, exchange.usage_source) == ("server_error", "estimated")


async def test_refuse_ends_a_document_that_became_a_stream_with_an_error_frame() -> None:
    answer, exchange = await after(App(PLAIN, content_type=JSON), MissingUsage("refuse"))
    assert b'"code":"upstream_no_usage"' in answer.body
    assert answer.done
    assert exchange.outcome == "server_error"


async def test_a_key_may_have_a_policy_of_its_own() -> None:
    _, exchange = await after(App(HEARD, STOP, DONE), MissingUsage("refuse"), Key(missing_usage="free"))
    assert (exchange.outcome, exchange.usage_source) == ("ok", "none")
    answer, _ = await after(App(PLAIN, content_type=JSON), MissingUsage(), Key(missing_usage="refuse"), body=ASK_PLAIN)
    assert answer.status == 502


class Counting:
    """An estimator with a result of its own."""

    def __init__(self, result: TokenUsage | None) -> None:
        self.result, self.heard, self.log = result, 0, []  # type: ignore[var-annotated]

    def observe(self, exchange: Exchange, event: Event) -> None:
        self.heard += 1

    async def count(self, exchange: Exchange) -> TokenUsage | None:
        await asyncio.sleep(0)
        return self.result

    async def __aenter__(self) -> Self:
        self.log.append("open")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.log.append("closed")


async def test_an_estimator_counts_after_the_last_byte() -> None:
    estimator = Counting(TokenUsage(70, 80))
    _, exchange = await after(App(CHUNK, STOP, DONE), MissingUsage(estimator=estimator))
    assert (exchange.usage, exchange.usage_source, estimator.heard) == (TokenUsage(70, 80), "estimated", 3)


async def test_where_the_estimator_fails_bytes_are_counted() -> None:
    _, exchange = await after(App(HEARD, STOP, DONE), MissingUsage(estimator=Counting(None)))
    assert (exchange.usage.output_tokens, exchange.usage_source) == (2, "estimated")


async def test_the_estimator_is_opened_and_closed_with_the_plugin() -> None:
    estimator = Counting(None)
    async with MissingUsage(estimator=estimator):
        assert estimator.log == ["open"]
    assert estimator.log == ["open", "closed"]
