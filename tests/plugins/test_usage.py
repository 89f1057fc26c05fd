"""Usage: exactly one record per request, whatever becomes of it."""

import asyncio
from typing import Any

import pytest

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Principal
from crplugins.core.usage import Price, TokenUsage, pico_usd
from crplugins.metering.record import record_of
from crplugins.plugins.missing_usage import MissingUsage
from crplugins.plugins.stream_usage import StreamUsage
from crplugins.plugins.usage import Usage, UsageRecord
from crplugins.testing import Drive, FrozenClock, drive
from tests.core.doubles import CHUNK, DOCUMENT, DONE, JSON, STOP, App, piece, start

USAGE = (
    b'data: {"choices":[],"usage":{"prompt_tokens":30,"completion_tokens":5,'
    b'"prompt_tokens_details":{"cached_tokens":20},"completion_tokens_details":{"reasoning_tokens":2}}}\n\n'
)
ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}


class Key(Plugin):
    def __init__(self, **fields: Any) -> None:
        self._principal = Principal("k", team="t", **fields)

    async def on_request(self, exchange: Exchange) -> None:
        exchange.principal = self._principal


async def recorded(app: Any, *inside: Plugin, body: Any = None, **options: Any) -> UsageRecord:
    records: list[UsageRecord] = []
    plugins = [Key(tags={"env": "prod"}), Usage(sinks=[records.append], **options), *inside, StreamUsage()]
    await drive(PluginMiddleware(app, plugins=plugins), body=ASK if body is None else body)
    (record,) = records
    return record


async def test_a_record_says_who_what_and_how_much() -> None:
    record = await recorded(App(CHUNK, STOP, USAGE, DONE), body={**ASK, "user": "u" * 300})
    assert (record.key_id, record.team, record.user) == ("k", "t", "u" * 256)
    assert (record.requested_model, record.stream, record.status, record.outcome) == ("m", True, 200, "ok")
    assert record.usage == TokenUsage(30, 5, 20, 0, 2)
    assert (record.usage_source, record.finish_reason, record.error_type) == ("provider", "stop", "")


async def test_the_times_of_a_stream_are_measured() -> None:
    clock, records = FrozenClock(), []

    class Slow(App):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self._read(receive)
            clock.advance(0.25)
            for message in self.sends:
                await send(message)
                clock.advance(1)

    plugins = [Usage(sinks=[records.append]), StreamUsage()]
    await drive(PluginMiddleware(Slow(CHUNK, CHUNK, STOP, USAGE, DONE), plugins=plugins, clock=clock), body=ASK)
    record = records[0]
    assert (record.ttft_ms, record.longest_gap_ms, record.duration_ms) == (1250, 1000, 6250)
    assert record.time_per_output_token_ms == 250  # one second between the two pieces, five tokens
    assert record.overhead_us == 0
    assert record.ended_at - record.started_at == pytest.approx(6.25)


async def test_a_plain_answer_has_no_stream_times() -> None:
    record = await recorded(App(DOCUMENT, content_type=JSON), body={**ASK, "stream": False})
    assert (record.stream, record.ttft_ms, record.time_per_output_token_ms, record.longest_gap_ms) == (
        False,
        None,
        None,
        None,
    )


class Refuse(Plugin):
    reads_body = True

    async def on_request(self, exchange: Exchange) -> None:
        raise GatewayError(429, "no", error_type="token_limited")


async def test_a_refusal_further_in_leaves_a_record_and_takes_no_tokens() -> None:
    record = await recorded(App(), Refuse())
    assert (record.status, record.outcome, record.error_type) == (429, "limited", "token_limited")
    assert (record.usage, record.usage_source, record.cost_micro_usd) == (TokenUsage(), "none", 0)


@pytest.mark.parametrize("body", [b"{", b"[]", b"x" * 200])
async def test_a_body_that_cannot_be_read_leaves_a_record(body: bytes) -> None:
    records: list[UsageRecord] = []
    plugins = [Key(), Usage(sinks=[records.append], metadata=["a"]), StreamUsage()]
    await drive(
        PluginMiddleware(App(), plugins=plugins, max_body_bytes=100),
        body=body,
        headers={"content-length": str(len(body))},
    )
    assert [(r.status, r.outcome, r.key_id) for r in records] == [
        (413 if len(body) > 100 else 400, "client_error", "k")
    ]


async def test_a_client_that_leaves_has_a_record() -> None:
    records: list[UsageRecord] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(start())
        await send(piece(CHUNK))
        await receive()

    plugins = [Usage(sinks=[records.append]), MissingUsage()]
    async with Drive(PluginMiddleware(app, plugins=plugins), body=ASK) as call:
        await call.next_message()
        await call.next_message()
        call.disconnect()
        await call.finish()
    (record,) = records
    assert (record.status, record.outcome, record.error_type) == (200, "cancelled", "client_disconnected")
    assert (record.usage_source, record.usage.output_tokens) == ("estimated", 1)


async def test_a_cancelled_request_has_a_record() -> None:
    records: list[UsageRecord] = []
    entered = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        entered.set()
        await asyncio.Event().wait()

    plugins = [Usage(sinks=[records.append]), MissingUsage()]
    async with Drive(PluginMiddleware(app, plugins=plugins), body=ASK) as call:
        await entered.wait()
        call.cancel()
    assert [(r.status, r.outcome, r.usage_source) for r in records] == [(499, "cancelled", "estimated")]


async def test_cost_is_computed_from_the_price_and_unknown_without_one() -> None:
    price = Price(pico_usd("1.5e-7"), pico_usd("6e-7"), cached_input=pico_usd("7.5e-8"))
    record = await recorded(App(CHUNK, STOP, USAGE, DONE), prices=lambda model: price if model == "m" else None)
    assert record.cost_micro_usd == 6  # 10 x 0.15 + 20 x 0.075 + 5 x 0.6
    assert (await recorded(App(CHUNK, STOP, USAGE, DONE))).cost_micro_usd is None


async def test_chosen_metadata_becomes_tags_and_never_replaces_those_of_the_key() -> None:
    metadata = {"feature": "search", "n": 7, "env": "mine", "secret": "x", "list": [1]}
    record = await recorded(
        App(CHUNK, DONE), body={**ASK, "metadata": metadata}, metadata=["feature", "n", "env", "list"]
    )
    assert record.tags == {"env": "prod", "feature": "search", "n": "7"}


async def test_a_sink_that_fails_keeps_no_other_from_its_record(caplog: pytest.LogCaptureFixture) -> None:
    records: list[UsageRecord] = []

    def broken(record: UsageRecord) -> None:
        raise RuntimeError("disk full")

    usage = Usage(sinks=[broken, records.append])
    answer = await drive(PluginMiddleware(App(CHUNK, DONE), plugins=[usage, StreamUsage()]), body=ASK)
    assert (answer.status, len(records), usage.failures) == (200, 1, 1)
    assert records[0].request_id in caplog.text


async def test_the_record_is_made_once_for_all_who_ask() -> None:
    seen: list[UsageRecord] = []

    class Outer(Plugin):
        def on_finish(self, exchange: Exchange) -> None:
            seen.append(record_of(exchange))

    await drive(PluginMiddleware(App(), plugins=[Outer(), Usage(sinks=[seen.append]), StreamUsage()]), body=ASK)
    assert seen[0] is seen[1]


async def test_the_ledger_is_opened_and_closed_with_the_plugin_and_comes_first() -> None:
    log: list[str] = []

    class Books:
        def add(self, record: UsageRecord) -> None:
            log.append("kept")

        async def __aenter__(self) -> None:
            log.append("open")

        async def __aexit__(self, *error: object) -> None:
            log.append("closed")

    usage = Usage(Books(), sinks=[lambda _record: log.append("sink")])
    async with usage:
        await drive(PluginMiddleware(App(), plugins=[usage, StreamUsage()]), body=ASK)
    assert [entry for entry in log if entry != "open"][:2] == ["kept", "sink"]
    assert log[0] == "open"
    assert log[-1] == "closed"
