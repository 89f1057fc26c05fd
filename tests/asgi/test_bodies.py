"""Bodies on their way out: observed, rewritten, plain."""

import asyncio
import json
from collections.abc import Iterable

import pytest
from starlette.types import Message, Receive, Scope, Send

from crplugins.asgi import documents
from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core import sse
from crplugins.core.errors import internal_error
from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.sse import Event
from crplugins.testing import Drive, FrozenClock, drive
from tests.core.doubles import (
    ASK,
    CHUNK,
    DOCUMENT,
    DONE,
    JSON,
    STOP,
    App,
    Rewriter,
    Watcher,
    failing,
    piece,
    start,
)

USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n'
ERROR = b'data: {"error": {"message": "m"}}\n\n'


class Hider(Rewriter):
    """Drops chunks with usage."""

    def on_event(self, exchange: Exchange, event: Event) -> Event | None:
        super().on_event(exchange, event)
        return None if event.answer is not None and event.answer.usage is not None else event


class Adder(Rewriter):
    def on_end(self, exchange: Exchange) -> Iterable[Event]:
        yield Event.of(b'{"added": 1}')


class Renamer(Rewriter):
    def on_event(self, exchange: Exchange, event: Event) -> Event:
        super().on_event(exchange, event)
        return event.with_data(b'{"renamed": true}') if event.data and not event.is_done else event


def behind(app: App, *plugins: Plugin, **options: object) -> PluginMiddleware:
    return PluginMiddleware(app, plugins=plugins, **options)


# Streams that are only observed.


@pytest.mark.parametrize("content_type", [JSON, "text/event-stream"])
async def test_what_is_observed_is_what_the_app_sent_whoever_writes_into_it_further_out(content_type: str) -> None:
    def compressing(app: PluginMiddleware) -> object:
        async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
            async def compress(message: Message) -> None:
                if message["type"] == "http.response.body":
                    message["body"] = b"\x1f\x8b" + message["body"][::-1]  # in place, as Starlette's GZip does
                await send(message)

            await app(scope, receive, compress)

        return wrapped

    sent = (DOCUMENT,) if content_type == JSON else (CHUNK, STOP, DONE)
    app = App(*sent, content_type=content_type)
    await drive(compressing(behind(app, watcher := Watcher())), body=ASK)
    assert [event.raw for event in watcher.events] == list(sent)
    assert watcher.ending == (200, "ok")


async def test_observed_messages_go_out_as_the_identical_objects() -> None:
    app = App(CHUNK[:7], CHUNK[7:] + STOP, b"", DONE)
    async with Drive(behind(app, Watcher()), body=ASK) as call:
        await call.finish()
    assert [id(message) for message in call.sent[1:]] == [id(message) for message in app.sends[1:]]


async def test_observers_see_whole_events_however_they_were_cut() -> None:
    watcher, stream = Watcher(), CHUNK + STOP + DONE
    await drive(behind(App(*(stream[i : i + 5] for i in range(0, len(stream), 5))), watcher), body=ASK)
    assert [event.raw for event in watcher.events] == [CHUNK, STOP, DONE]


async def test_an_observed_message_goes_out_before_it_is_looked_at() -> None:
    calls: list[Drive] = []
    sent: list[int] = []

    class Late(Watcher):
        def on_event(self, exchange: Exchange, event: Event) -> Event:
            sent.append(len(calls[0].sent))
            return event

    async with Drive(behind(App(CHUNK, STOP, DONE), Late()), body=ASK) as call:
        calls.append(call)
        await call.finish()
    assert sent == [2, 3, 4]


async def test_what_follows_the_last_blank_line_is_an_event_too() -> None:
    watcher = Watcher()
    await drive(behind(App(CHUNK, STOP[:-2]), watcher), body=ASK)
    assert [event.raw for event in watcher.events] == [CHUNK, STOP[:-2]]


async def test_an_event_past_the_limit_passes_and_blinds_the_observer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    watcher, huge = Watcher(), b"data: " + b"x" * 2000
    answer = await drive(behind(App(CHUNK, huge, b"\n\n" + STOP), watcher), body=ASK)
    assert answer.body == CHUNK + huge + b"\n\n" + STOP
    assert [event.raw for event in watcher.events] == [CHUNK]
    assert watcher.ending == (200, "ok")


async def test_a_message_the_client_no_longer_takes_is_still_counted() -> None:
    watcher = Watcher()
    gate = asyncio.Event()
    async with Drive(behind(App(CHUNK, USAGE, gate=gate), watcher), body=ASK, spec_version="2.4") as call:
        await call.next_body()
        call.disconnect()
        gate.set()
        with pytest.raises(OSError, match="disconnected"):
            await call.finish()
    assert watcher.exchange.usage.output_tokens == 4


# Streams that a plugin may rewrite.


async def test_a_message_of_unchanged_events_is_still_the_identical_object() -> None:
    app = App(CHUNK, STOP + b": c\r\n\r\n", DONE)
    async with Drive(behind(app, Rewriter(), Watcher()), body=ASK) as call:
        await call.finish()
    assert [id(message) for message in call.sent[1:]] == [id(message) for message in app.sends[1:]]


async def test_only_whole_events_go_out() -> None:
    app = App(CHUNK[:9], CHUNK[9:] + STOP[:4], STOP[4:], DONE)
    assert (await drive(behind(app, Rewriter()), body=ASK)).chunks == [CHUNK, STOP, DONE]


async def test_a_dropped_event_leaves_no_empty_message() -> None:
    async with Drive(behind(App(CHUNK, USAGE, STOP, DONE), Hider()), body=ASK) as call:
        assert (await call.finish()).body == CHUNK + STOP + DONE
    assert all(message.get("body", b"x") for message in call.sent)


async def test_a_stream_whose_last_event_is_dropped_still_ends() -> None:
    answer = await drive(behind(App(CHUNK, STOP, USAGE), Hider()), body=ASK)
    assert answer.body == CHUNK + STOP
    assert answer.complete


@pytest.mark.parametrize(
    ("sent", "whole"),
    [(CHUNK, CHUNK), (CHUNK + USAGE, CHUNK + USAGE), (CHUNK + STOP[:9], CHUNK), (CHUNK + USAGE[:-1], CHUNK)],
)
async def test_a_stream_that_stops_amid_its_answer_gets_an_end_that_says_so(sent: bytes, whole: bytes) -> None:
    outer = Watcher()
    answer = await drive(behind(App(sent), outer, Rewriter()), body=ASK)
    assert answer.body.startswith(whole + b'data: {"error":{"message":"The model provider ended the stream')
    assert answer.body.endswith(b"}\n\ndata: [DONE]\n\n")
    assert answer.complete
    assert (outer.ending, outer.exchange.error_type) == ((200, "server_error"), "upstream_stream_broken")


@pytest.mark.parametrize("whole", [CHUNK + DONE, CHUNK + STOP, b": nothing said\n\n", b""])
async def test_a_stream_that_comes_to_its_end_in_either_way_is_left_as_it_is(whole: bytes) -> None:
    assert (await drive(behind(App(whole), Rewriter()), body=ASK)).body == whole


async def test_a_changed_event_changes_nothing_around_it() -> None:
    answer = await drive(behind(App(b": hi\n\n" + CHUNK + DONE), Renamer()), body=ASK)
    assert answer.body == b': hi\n\ndata: {"renamed": true}\n\n' + DONE


async def test_a_plugin_inside_sees_what_one_outside_will_not() -> None:
    outer, inner = Watcher(), Watcher()
    await drive(behind(App(CHUNK, USAGE, DONE), outer, Hider(), inner), body=ASK)
    assert [event.raw for event in inner.events] == [CHUNK, USAGE, DONE]
    assert [event.raw for event in outer.events] == [CHUNK, DONE]
    assert outer.exchange.usage.input_tokens == 3


@pytest.mark.parametrize("bodies", [(CHUNK, STOP, DONE), (CHUNK + STOP + DONE,), (CHUNK + STOP, DONE, b"")])
async def test_added_events_stand_before_done(bodies: tuple[bytes, ...]) -> None:
    outer, inner = Watcher(), Watcher()
    answer = await drive(behind(App(*bodies), outer, Adder(), inner), body=ASK)
    assert answer.body == CHUNK + STOP + b'data: {"added": 1}\n\n' + DONE
    assert b"added" in outer.events[-2].raw
    assert [event.raw for event in inner.events] == [CHUNK, STOP, DONE]


@pytest.mark.parametrize("bodies", [(CHUNK, STOP), (CHUNK, STOP, b"")])
async def test_a_stream_without_done_gets_the_added_events_at_its_end(bodies: tuple[bytes, ...]) -> None:
    answer = await drive(behind(App(*bodies), Adder()), body=ASK)
    assert answer.body == CHUNK + STOP + b'data: {"added": 1}\n\n'
    assert answer.complete


async def test_a_failed_stream_gets_no_added_events() -> None:
    assert (await drive(behind(App(CHUNK, ERROR + DONE), Adder()), body=ASK)).body == CHUNK + ERROR + DONE


async def test_a_cut_stream_gets_no_added_events() -> None:
    app = behind(App(sends=[start(), piece(CHUNK)]), Adder())
    assert (await drive(app, body=ASK)).body == CHUNK


async def test_a_declared_length_does_not_survive_rewriting() -> None:
    bodies = CHUNK + DONE
    app = App(bodies, headers=[("content-length", str(len(bodies)))])
    assert "content-length" not in (await drive(behind(app, Adder()), body=ASK)).headers
    assert (await drive(behind(app, Watcher()), body=ASK)).headers["content-length"] == str(len(bodies))


async def test_an_event_past_the_limit_ends_a_rewritten_stream_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    rewriter = Rewriter()
    answer = await drive(behind(App(CHUNK, b"x" * 2000, DONE), rewriter), body=ASK)
    assert answer.body == CHUNK + internal_error().frame() + DONE
    assert rewriter.ending == (200, "server_error")


@pytest.mark.parametrize("plugin", [Watcher, Rewriter])
async def test_the_first_event_is_out_before_the_second_is_in(plugin: type[Watcher]) -> None:
    gate = asyncio.Event()
    async with Drive(behind(App(CHUNK, STOP, DONE, gate=gate), plugin()), body=ASK) as call:
        assert (await call.next_message())["status"] == 200
        assert await call.next_body() == CHUNK
        assert len(call.sent) == 2
        gate.set()
        assert (await call.finish()).body == CHUNK + STOP + DONE


# A plugin fails in the middle of a stream.


async def test_a_rewriter_that_fails_aborts_the_stream_with_an_error_frame() -> None:
    outer = Watcher()
    answer = await drive(behind(App(CHUNK, STOP, DONE), outer, failing("on_event", base=Rewriter)()), body=ASK)
    assert (answer.status, answer.body) == (200, internal_error().frame() + DONE)
    assert answer.complete
    assert outer.ending == (200, "server_error")
    assert outer.exchange.failed_in_stream


async def test_an_observer_that_fails_leaves_the_stream_alone(caplog: pytest.LogCaptureFixture) -> None:
    app = behind(App(CHUNK, STOP, DONE), outer := Watcher(), bad := failing("on_event", observes=True)())
    assert (await drive(app, body=ASK)).body == CHUNK + STOP + DONE
    assert len(outer.events) == 3
    assert len(bad.events) == 1
    assert app.faults == {(bad.name, "on_event"): 1}
    assert len(caplog.records) == 1
    assert outer.ending == (200, "ok")


async def test_an_observer_that_decides_aborts_the_stream_with_readable_frames() -> None:
    app = behind(App(CHUNK + STOP[:11], STOP[11:], DONE), failing("on_event")())
    answer = await drive(app, body=ASK)
    assert answer.body.startswith(CHUNK + STOP[:11] + b'\n\ndata: {"error"')
    assert answer.body.endswith(b"\n\n" + DONE)


async def test_an_observer_that_fails_when_all_is_said_changes_nothing() -> None:
    class Late(Watcher):
        def on_event(self, exchange: Exchange, event: Event) -> Event:
            if event.is_done:
                raise LookupError
            return event

    answer = await drive(behind(App(CHUNK, STOP + DONE), plugin := Late()), body=ASK)
    assert answer.body == CHUNK + STOP + DONE
    assert plugin.ending == (200, "ok")


async def test_after_an_abort_nothing_of_the_app_comes_through() -> None:
    class Stubborn(App):
        async def __call__(self, scope, receive, send):
            for message in self.sends:
                try:
                    await send(message)
                except Exception:
                    continue

    app = behind(Stubborn(CHUNK, STOP, DONE), failing("on_event", base=Rewriter)())
    answer = await drive(app, body=ASK)
    assert answer.body == internal_error().frame() + DONE


# Plain JSON answers.


async def test_an_observed_document_goes_out_at_once_and_is_one_event() -> None:
    watcher = Watcher()
    app = App(DOCUMENT[:9], DOCUMENT[9:20], DOCUMENT[20:], content_type=JSON)
    async with Drive(behind(app, watcher), body=ASK) as call:
        await call.finish()
    assert [id(message) for message in call.sent[1:]] == [id(message) for message in app.sends[1:]]
    assert [event.raw for event in watcher.events] == [DOCUMENT]
    assert watcher.events[0].document
    assert watcher.log.count("w.on_end") == 0


async def test_a_rewritten_document_has_its_own_length() -> None:
    length = str(len(DOCUMENT))
    app = App(DOCUMENT[:9], DOCUMENT[9:], content_type=f"{JSON}; charset=utf-8", headers=[("content-length", length)])
    answer = await drive(behind(app, Renamer()), body=ASK)
    assert answer.json() == {"renamed": True}
    assert [value for name, value in answer.header_list if name == "content-length"] == ["17"]


async def test_an_unchanged_document_keeps_its_bytes() -> None:
    answer = await drive(behind(App(DOCUMENT[:9], DOCUMENT[9:], content_type=JSON), Rewriter()), body=ASK)
    assert answer.body == DOCUMENT
    assert answer.headers["content-length"] == str(len(DOCUMENT))


async def test_a_dropped_document_is_an_empty_answer() -> None:
    answer = await drive(behind(App(DOCUMENT, content_type=JSON), Hider()), body=ASK)
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")


async def test_a_rewriter_that_fails_on_a_document_makes_it_a_500() -> None:
    outer = Watcher()
    app = App(DOCUMENT, content_type=JSON)
    answer = await drive(behind(app, outer, failing("on_event", base=Rewriter)()), body=ASK)
    assert answer.status == 500
    assert answer.json()["error"]["type"] == "server_error"
    assert outer.ending == (500, "server_error")


@pytest.mark.parametrize(("base", "body"), [(Watcher, DOCUMENT), (Rewriter, None)])
async def test_a_document_past_the_limit_is_unseen_or_refused(
    monkeypatch: pytest.MonkeyPatch, base: type[Watcher], body: bytes | None
) -> None:
    monkeypatch.setattr(documents, "MAX_DOCUMENT_BYTES", 20)
    answer = await drive(behind(App(DOCUMENT[:30], DOCUMENT[30:], content_type=JSON), watcher := base()), body=ASK)
    if body is None:
        assert answer.status == 500
    else:
        assert (answer.body, watcher.events) == (body, [])


# What is not read.


@pytest.mark.parametrize("content_type", ["text/html", "image/png", "text/html; charset=utf-8"])
@pytest.mark.parametrize("plugin", [Watcher, Rewriter])
async def test_other_kinds_of_content_pass_unseen(content_type: str, plugin: type[Watcher]) -> None:
    app = App(b"ab", b"cd", content_type=content_type)
    async with Drive(behind(app, watcher := plugin()), body=ASK) as call:
        assert (await call.finish()).body == b"abcd"
    assert watcher.events == []
    assert [id(message) for message in call.sent[1:]] == [id(message) for message in app.sends[1:]]


@pytest.mark.parametrize("content_type", [JSON, "text/event-stream"])
async def test_an_encoded_answer_passes_unseen(content_type: str) -> None:
    app = App(b"\x1f\x8b..", b"..", content_type=content_type, headers=[("content-encoding", "gzip")])
    answer = await drive(behind(app, watcher := Rewriter()), body=ASK)
    assert answer.body == b"\x1f\x8b...."
    assert watcher.events == []
    assert watcher.ending == (200, "ok")


async def test_identity_is_no_encoding() -> None:
    app = App(DOCUMENT, content_type=JSON, headers=[("content-encoding", "identity")])
    await drive(behind(app, watcher := Watcher()), body=ASK)
    assert len(watcher.events) == 1


# Facts.


async def test_the_facts_of_a_stream_are_kept_once_for_all() -> None:
    clock = FrozenClock()

    class Ticking(App):
        async def __call__(self, scope, receive, send):
            for message in self.sends:
                await send(message)
                clock.advance(1)

    app = Ticking(b": c\n\n", CHUNK, CHUNK, STOP, USAGE, DONE)
    await drive(behind(app, watcher := Watcher(), clock=clock), body=ASK)
    exchange = watcher.exchange
    assert (exchange.finish_reason, exchange.usage_source) == ("stop", "provider")
    assert (exchange.usage.input_tokens, exchange.usage.output_tokens) == (3, 4)
    timings = exchange.timings
    assert [moment - 1000 for moment in (timings.started, timings.first_token, timings.last_token, timings.ended)] == [
        0, 2, 3, 7,
    ]  # fmt: skip
    assert timings.longest_gap == 1


async def test_a_choice_that_goes_on_does_not_undo_the_end_of_another() -> None:
    await drive(behind(App(CHUNK, STOP, CHUNK, DONE), watcher := Watcher()), body=ASK)
    assert watcher.exchange.finish_reason == "stop"


async def test_a_later_usage_replaces_an_earlier_one() -> None:
    early = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":0}}\n\n'
    await drive(behind(App(early, USAGE, b'data: {"usage":null}\n\n', DONE), watcher := Watcher()), body=ASK)
    assert watcher.exchange.usage.output_tokens == 4


async def test_the_facts_of_a_document_are_kept() -> None:
    await drive(behind(App(DOCUMENT, content_type=JSON), watcher := Watcher()), body=ASK)
    assert (watcher.exchange.finish_reason, watcher.exchange.usage.input_tokens) == ("stop", 3)


async def test_an_error_in_a_stream_is_a_failure_of_the_server() -> None:
    await drive(behind(App(CHUNK, ERROR, CHUNK, DONE), watcher := Watcher()), body=ASK)
    assert watcher.exchange.failed_in_stream
    assert watcher.ending == (200, "server_error")


async def test_an_error_document_is_judged_by_its_status() -> None:
    body = json.dumps({"error": {"message": "m"}}).encode()
    await drive(behind(App(body, status=404, content_type=JSON), watcher := Watcher()), body=ASK)
    assert not watcher.exchange.failed_in_stream
    assert watcher.ending == (404, "client_error")


# Events that a handler has split already.


async def test_events_handed_on_with_their_bytes_are_not_split_again() -> None:
    events = [sse.Event(CHUNK, CHUNK[6:-2]), sse.Event(STOP, STOP[6:-2])]
    together = CHUNK + STOP

    async def app(scope, receive, send):
        await receive()
        await send(start())
        scope["crplugins.exchange"].split = together, events
        await send(piece(together))
        await send(piece(CHUNK))
        await send(piece(DONE, more=False))

    answer = await drive(behind(app, watcher := Rewriter()), body=ASK)
    assert answer.body == together + CHUNK + DONE
    assert watcher.events[:2] == events
    assert watcher.events[0] is events[0]
    assert watcher.events[2].raw == CHUNK


async def test_handed_events_are_left_aside_while_an_event_is_unfinished() -> None:
    async def app(scope, receive, send):
        await receive()
        await send(start())
        await send(piece(CHUNK[:10]))
        scope["crplugins.exchange"].split = CHUNK[10:], []
        await send(piece(scope["crplugins.exchange"].split[0]))
        await send(piece(DONE, more=False))

    answer = await drive(behind(app, watcher := Rewriter()), body=ASK)
    assert answer.body == CHUNK + DONE
    assert [event.raw for event in watcher.events] == [CHUNK, DONE]
