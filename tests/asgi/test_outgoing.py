"""The response side: whose answer goes out, and that only one does."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.asgi.outgoing import AnswerState, ClientState, Outgoing
from crplugins.asgi.scope import make_exchange
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, Reply
from crplugins.core.pipeline import Pipeline, Run
from crplugins.core.plugin import Plugin
from crplugins.testing import Answer, Drive, drive
from crplugins.testing.asgi import Message, http_scope
from tests.core.doubles import (
    ASK,
    CHUNK,
    DOCUMENT,
    DONE,
    EVENT_STREAM,
    JSON,
    STOP,
    App,
    Rewriter,
    Watcher,
    failing,
    piece,
    start,
)

REFUSAL = GatewayError(403, "No.", code="forbidden", headers=[("retry-after", "7")])


class Replying(Watcher):
    """Answers itself, in place of everything further in."""

    def __init__(self, body: Any, content_type: str = EVENT_STREAM) -> None:
        super().__init__()
        self.body, self.content_type = body, content_type

    async def on_request(self, exchange: Exchange) -> None:
        await super().on_request(exchange)
        exchange.reply = Reply(200, [(b"content-type", self.content_type.encode())], self.body)


async def ask(app: Any, *plugins: Plugin, **options: Any) -> Answer:
    return await drive(PluginMiddleware(app, plugins=plugins), **{"body": ASK, **options})


# A plugin's own answer.


async def test_a_plugin_can_answer_itself() -> None:
    app, outer, inner = App(), Watcher(), Watcher()
    answer = await ask(app, outer, plugin := Replying(DOCUMENT, JSON), inner)
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, DOCUMENT, JSON)
    assert not app.called
    assert inner.log == []
    assert outer.log == ["w.on_request", "w.on_response", "w.on_event", "w.on_finish"]
    assert outer.ending == plugin.ending == (200, "ok")


async def test_the_app_is_not_asked_and_the_body_not_read_for_a_reply() -> None:
    assert (await ask(App(), Replying(DOCUMENT, JSON), forbid_body=True)).body == DOCUMENT


async def test_a_streamed_reply_passes_the_plugins_event_by_event() -> None:
    gate = asyncio.Event()

    async def events() -> AsyncGenerator[bytes, None]:
        yield CHUNK
        await gate.wait()
        yield STOP
        yield DONE

    outer = Watcher()
    async with Drive(PluginMiddleware(App(), plugins=[outer, Replying(events())]), body=ASK) as call:
        assert await call.next_body() == CHUNK
        assert len(outer.events) == 1
        gate.set()
        answer = await call.finish()
    assert answer.body == CHUNK + STOP + DONE
    assert answer.complete
    assert outer.ending == (200, "ok")


class Stream:
    """A stream that waits after its first event, and knows whether it was closed."""

    closed = False

    async def events(self) -> AsyncGenerator[bytes, None]:
        try:
            yield CHUNK
            await asyncio.Event().wait()
        finally:
            self.closed = True


async def test_a_streamed_reply_is_closed_when_the_client_leaves() -> None:
    stream = Stream()
    plugin = Replying(stream.events())
    async with Drive(PluginMiddleware(App(), plugins=[plugin]), body=ASK) as call:
        await call.next_body()
        call.disconnect()
        await call.finish()
    assert stream.closed
    assert plugin.ending == (200, "cancelled")


async def test_a_streamed_reply_is_closed_when_the_task_is_cancelled() -> None:
    stream = Stream()
    plugin = Replying(stream.events())
    async with Drive(PluginMiddleware(App(), plugins=[plugin]), body=ASK) as call:
        await call.next_body()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call.finish()
    assert stream.closed
    assert plugin.ending == (200, "cancelled")


async def test_a_streamed_reply_is_closed_when_a_plugin_aborts_it() -> None:
    stream = Stream()
    answer = await ask(App(), failing("on_event", base=Rewriter)(), Replying(stream.events()))
    assert answer.done
    assert stream.closed


async def test_a_streamed_reply_may_fail_with_an_error() -> None:
    async def events() -> AsyncGenerator[bytes, None]:
        yield CHUNK
        raise REFUSAL

    plugin = Replying(events())
    assert (await ask(App(), plugin)).body == CHUNK + REFUSAL.frame() + DONE
    assert plugin.ending == (200, "server_error")


# Errors before and after the start.


async def test_a_refusal_is_rendered_in_openais_shape() -> None:
    app, outer = App(), Watcher()
    answer = await ask(app, outer, failing("on_request", REFUSAL)(), forbid_body=True)
    assert (answer.status, answer.body) == (403, REFUSAL.body())
    assert answer.headers["content-type"] == JSON
    assert answer.headers["content-length"] == str(len(REFUSAL.body()))
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["x-request-id"] == outer.exchange.id
    assert not app.called
    assert outer.exchange.error is REFUSAL.error
    assert outer.ending == (403, "client_error")


async def test_a_refusal_passes_the_entered_plugins_as_a_document() -> None:
    outer, inner = Watcher(), Watcher()
    refusing = failing("on_request", REFUSAL)()
    await ask(App(), outer, refusing, inner)
    assert [event.raw for event in outer.events] == [REFUSAL.body()]
    assert outer.log == ["w.on_request", "w.on_response", "w.on_event", "w.on_finish"]
    assert refusing.log == ["w.on_request", "w.on_response", "w.on_event", "w.on_finish"]
    assert inner.log == []


async def test_a_bug_on_the_way_in_is_our_500() -> None:
    app, outer = App(), Watcher()
    answer = await ask(app, outer, failing("on_request")())
    assert answer.status == 500
    assert answer.json()["error"]["type"] == "server_error"
    assert b"bug" not in answer.body
    assert not app.called
    assert outer.ending == (500, "server_error")


async def test_a_bug_of_an_observer_on_the_way_in_is_muted(caplog: pytest.LogCaptureFixture) -> None:
    bad = failing("on_request", observes=True)()
    answer = await ask(App(), bad)
    assert answer.body == CHUNK + STOP + DONE
    assert bad.log == ["w.on_request", "w.on_finish"]
    assert "bug" in caplog.text


async def test_an_error_of_the_app_before_its_start_becomes_the_answer() -> None:
    outer = Watcher()
    answer = await ask(App(sends=[], raises=REFUSAL), outer)
    assert (answer.status, answer.body) == (403, REFUSAL.body())
    assert outer.ending == (403, "client_error")


@pytest.mark.parametrize("plugin", [Plugin, Watcher, Rewriter])
async def test_an_error_of_the_app_in_mid_stream_becomes_a_frame_and_done(plugin: type[Plugin]) -> None:
    outer = Watcher()
    answer = await ask(App(sends=[start(), piece(CHUNK)], raises=REFUSAL), outer, plugin())
    assert (answer.status, answer.body) == (200, CHUNK + REFUSAL.frame() + DONE)
    assert answer.complete
    assert outer.exchange.failed_in_stream
    assert outer.exchange.error is REFUSAL.error
    assert outer.ending == (200, "server_error")


async def test_an_error_after_a_plain_answer_has_started_drops_the_connection() -> None:
    outer = Watcher()
    app = App(sends=[start(content_type=JSON), piece(b"{")], raises=REFUSAL)
    with pytest.raises(RuntimeError, match="after the response had started") as error:
        await ask(app, outer)
    assert error.value.__cause__ is REFUSAL
    assert outer.ending == (200, "server_error")


async def test_no_plain_frame_is_put_into_an_encoded_stream() -> None:
    app = App(sends=[start(headers=[("content-encoding", "gzip")]), piece(b"\x1f\x8b")], raises=REFUSAL)
    with pytest.raises(RuntimeError, match="after the response had started"):
        await ask(app, Watcher())


async def test_an_error_after_the_end_of_a_stream_adds_nothing() -> None:
    outer = Watcher()
    async with Drive(PluginMiddleware(App(raises=REFUSAL), plugins=[outer]), body=ASK) as call:
        with pytest.raises(RuntimeError):
            await call.finish()
    assert call.sent[-1]["body"] == DONE
    assert outer.ending == (200, "ok")


async def test_a_bug_of_the_app_propagates_untouched() -> None:
    outer, bug = Watcher(), LookupError("app's")
    with pytest.raises(LookupError) as error:
        await ask(App(sends=[], raises=bug), outer)
    assert error.value is bug
    assert outer.ending == (500, "server_error")


@pytest.mark.parametrize("plugin", [Watcher, Rewriter])
@pytest.mark.parametrize(("sent", "closed"), [(CHUNK, b""), (CHUNK[:20], b"\n\n")])
async def test_a_bug_of_the_app_in_mid_stream_is_told_in_the_stream_and_raised(plugin, sent, closed) -> None:
    outer, bug = plugin(), LookupError("app's")
    app = PluginMiddleware(App(sends=[start(), piece(sent)], raises=bug), plugins=[outer])
    async with Drive(app, body=ASK) as call:
        with pytest.raises(LookupError) as error:
            await call.finish()
    assert error.value is bug
    answer = Answer(tuple(call.sent))
    assert answer.complete
    whole = b"" if plugin is Rewriter and closed else sent + closed
    assert answer.body.startswith(whole + b'data: {"error":{"message":"The model provider ended the stream before')
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert (outer.ending, outer.exchange.error_type) == ((200, "server_error"), "upstream_stream_broken")


async def test_where_nobody_reads_events_a_bug_in_mid_stream_leaves_the_answer_visibly_cut() -> None:
    app = PluginMiddleware(App(sends=[start(), piece(CHUNK)], raises=LookupError()), plugins=[Plugin()])
    async with Drive(app, body=ASK) as call:
        with pytest.raises(LookupError):
            await call.finish()
    assert not call.complete


async def test_an_app_that_says_nothing_is_a_failure_of_the_server() -> None:
    outer = Watcher()
    assert (await ask(App(sends=[]), outer)).messages == ()
    assert outer.ending == (500, "server_error")


# A plugin fails before the start of the answer.


@pytest.mark.parametrize("bodies", [(CHUNK, STOP, DONE), (DOCUMENT,)])
@pytest.mark.parametrize("base", [Watcher, Rewriter])
async def test_a_plugin_that_fails_on_the_response_makes_it_a_500(bodies: tuple[bytes, ...], base: Any) -> None:
    kind = EVENT_STREAM if len(bodies) > 1 else JSON
    outer = Watcher()
    answer = await ask(App(*bodies, content_type=kind), outer, failing("on_response", base=base)())
    assert answer.status == 500
    assert answer.json()["error"]["type"] == "server_error"
    assert outer.ending == (500, "server_error")


async def test_a_plugin_may_refuse_once_it_knows_the_response() -> None:
    class Picky(Watcher):
        def on_response(self, exchange: Exchange) -> None:
            if exchange.status == 200:
                raise REFUSAL

    assert (await ask(App(), outer := Watcher(), Picky())).body == REFUSAL.body()
    assert outer.ending == (403, "client_error")


@pytest.mark.parametrize(("hook", "base"), [("on_response", Watcher), ("on_event", Rewriter)])
async def test_a_plugin_that_fails_on_the_error_too_does_not_keep_the_client_waiting(hook: str, base: Any) -> None:
    outer = Watcher()
    answer = await ask(App(), outer, failing(hook, base=base)(), failing("on_request", REFUSAL)())
    assert answer.status == 500
    assert answer.headers["x-request-id"] == outer.exchange.id
    assert answer.complete
    assert outer.ending == (500, "server_error")


async def test_an_observer_that_fails_on_the_error_does_not_start_a_second_response() -> None:
    answer = await ask(App(), failing("on_event")(), failing("on_request", REFUSAL)())
    assert (answer.status, answer.body) == (403, REFUSAL.body())


async def test_a_plugin_that_fails_on_the_response_is_not_hidden_by_an_app_that_carries_on() -> None:
    class Stubborn(App):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            for message in [*self.sends, start(500, "text/plain"), piece(b"oops", more=False)]:
                try:
                    await send(message)
                except Exception:
                    continue

    answer = await ask(Stubborn(), failing("on_response")())
    assert answer.status == 500
    assert answer.json()["error"]["type"] == "server_error"


# What an app may not do, and what a server offers beside start and body.


async def test_a_second_start_of_the_app_is_an_error_in_the_app() -> None:
    with pytest.raises(RuntimeError, match="second response"):
        await ask(App(sends=[start(), start()]), Watcher())


async def test_a_body_before_the_start_is_an_error_in_the_app() -> None:
    with pytest.raises(RuntimeError, match="before the response had started"):
        await ask(App(sends=[piece(b"x")]), Watcher())


async def test_a_task_the_app_left_behind_cannot_answer_after_an_error() -> None:
    sends: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        sends.append(send)
        raise REFUSAL

    async with Drive(PluginMiddleware(app, plugins=[Watcher()]), body=ASK) as call:
        answer = await call.finish()
        for message in (start(), piece(CHUNK)):
            await sends[0](message)
    assert answer.status == 403
    assert len(call.sent) == 2


@pytest.mark.parametrize("plugin", [Plugin, Watcher, Rewriter])
async def test_trailers_pass(plugin: type[Plugin]) -> None:
    trailers = {"type": "http.response.trailers", "headers": [(b"x", b"y")], "more_trailers": False}
    app = App(sends=[start() | {"trailers": True}, piece(CHUNK), piece(DONE, more=False), trailers])
    watcher = Watcher()
    async with Drive(PluginMiddleware(app, plugins=[watcher, plugin()]), body=ASK) as call:
        await call.finish()
    assert call.sent[0]["trailers"] is True
    assert call.sent[-1] is trailers
    assert watcher.ending == (200, "ok")


@pytest.mark.parametrize("plugin", [Plugin, Watcher, Rewriter])
@pytest.mark.parametrize("content_type", [JSON, EVENT_STREAM, "text/plain"])
async def test_a_file_the_server_sends_itself_passes(plugin: type[Plugin], content_type: str) -> None:
    path = {"type": "http.response.pathsend", "path": "/answer"}
    async with Drive(
        PluginMiddleware(App(sends=[start(content_type=content_type), path]), plugins=[plugin(), last := Watcher()]),
        body=ASK,
    ) as call:
        await call.finish()
    assert [message["type"] for message in call.sent] == ["http.response.start", "http.response.pathsend"]
    assert call.sent[1] is path
    assert last.ending == (200, "ok")


async def test_messages_before_the_start_pass() -> None:
    hint = {"type": "http.response.early_hint", "links": []}
    async with Drive(PluginMiddleware(App(sends=[hint, *App().sends]), plugins=[Rewriter()]), body=ASK) as call:
        await call.finish()
    assert call.sent[0] is hint


# Headers.


async def test_the_app_cannot_set_our_request_id() -> None:
    answer = await ask(App(headers=[("x-request-id", "theirs"), ("x-a", "1")]), watcher := Watcher())
    assert [value for name, value in answer.header_list if name == "x-request-id"] == [watcher.exchange.id]
    assert answer.headers["x-a"] == "1"


async def test_plugins_can_change_response_headers() -> None:
    class Tagging(Watcher):
        def on_response(self, exchange: Exchange) -> None:
            exchange.set_response_header("x-tag", "new")

    app = App(headers=[("x-tag", "old")])
    assert [v for n, v in (await ask(app, Tagging())).header_list if n == "x-tag"] == ["new"]
    assert (b"x-tag", b"old") in app.sends[0]["headers"]


async def test_the_apps_own_start_message_is_left_alone() -> None:
    app = App()
    before = dict(app.sends[0]), list(app.sends[0]["headers"])
    await ask(app, Watcher())
    assert (dict(app.sends[0]), list(app.sends[0]["headers"])) == before


async def test_a_start_without_headers_is_allowed() -> None:
    answer = await ask(App(sends=[{"type": "http.response.start", "status": 204}, piece(b"", more=False)]), Rewriter())
    assert (answer.status, list(answer.headers)) == (204, ["x-request-id"])


# How a request has ended, by what the client was sent and whether it was there.


async def nowhere(message: Message) -> None:
    """Takes what is sent."""


@pytest.mark.parametrize(
    ("answer", "client", "received", "recorded"),
    [
        ("awaited", "connected", False, (500, "internal")),
        ("awaited", "left", False, (499, "client_disconnected")),
        ("awaited", "lost", False, (499, "client_disconnected")),
        ("begun", "connected", False, (200, "upstream_stream_broken")),
        ("begun", "left", False, (200, "client_disconnected")),
        ("begun", "lost", False, (200, "client_disconnected")),
        ("begun", "left", True, (200, "")),
        ("begun", "lost", True, (200, "")),
        ("complete", "connected", False, (200, "")),
        ("complete", "left", False, (200, "")),
        ("complete", "lost", False, (200, "client_disconnected")),
        ("complete", "lost", True, (200, "")),
    ],
)
def test_the_two_states_decide_how_a_request_has_ended(
    answer: AnswerState, client: ClientState, received: bool, recorded: tuple[int, str]
) -> None:
    exchange = make_exchange(http_scope("POST", "/v1/chat/completions"), lambda: 0.0, lambda: "id")
    exchange.received = received
    if answer != "awaited":
        exchange.responded(200)
    outgoing = Outgoing(Run(Pipeline([], Counter(), 0), exchange), nowhere, outermost=True)
    outgoing.answer, outgoing.client = answer, client
    outgoing.conclude()
    assert (exchange.status, exchange.error_type) == recorded


async def test_a_client_that_leaves_before_any_status_is_lost_and_one_that_leaves_later_has_left() -> None:
    exchange = make_exchange(http_scope("POST", "/v1/chat/completions"), lambda: 0.0, lambda: "id")
    for answer, client in (("awaited", "lost"), ("begun", "left"), ("complete", "left")):
        outgoing = Outgoing(Run(Pipeline([], Counter(), 0), exchange), nowhere, outermost=True)
        outgoing.answer = answer
        await outgoing.disconnected()
        assert outgoing.client == client
