"""A request on its way in, and how it is concluded."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.asgi.scope import SCOPE_KEY
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, Reply
from crplugins.core.plugin import Plugin
from crplugins.testing import Answer, Drive, drive
from crplugins.testing.asgi import Message
from tests.core.doubles import (
    ASK,
    CHUNK,
    DOCUMENT,
    DONE,
    JSON,
    STOP,
    App,
    Reader,
    Rewriter,
    Watcher,
    failing,
    finishes,
    messages,
    piece,
    start,
)

LIMIT = 100
REFUSAL = GatewayError(403, "No.")


class Editor(Plugin):
    """Sets one key of the body."""

    reads_body = True

    def __init__(self, key: str = "model", value: object = "other") -> None:
        self.key, self.value = key, value

    async def on_request(self, exchange: Exchange) -> None:
        assert exchange.body is not None
        exchange.body.set(self.key, self.value)


def around(app: Any, *plugins: Plugin) -> PluginMiddleware:
    return PluginMiddleware(app, plugins=plugins, max_body_bytes=LIMIT)


def receiving(receive: Any, app: Any) -> Any:
    """`app`, with another `receive` than the server's."""

    async def wrapped(scope: Any, _receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    return wrapped


async def ask(app: Any, *plugins: Plugin, **options: Any) -> Answer:
    return await drive(around(app, *plugins), **({} if "chunks" in options else {"body": ASK}), **options)


# The body.


async def test_a_body_nobody_needs_is_not_read_by_us() -> None:
    app = App(reads=False)
    assert (await ask(app, Watcher(), forbid_body=True)).status == 200


async def test_the_app_receives_a_body_nobody_needs_message_by_message() -> None:
    app = App()
    await ask(app, Watcher(), chunks=[b"a", b"b"])
    assert [message["body"] for message in app.bodies_received] == [b"a", b"b"]


async def test_the_app_receives_what_a_plugin_has_read() -> None:
    app = App()
    await ask(app, Reader(), chunks=[b'{"mod', b'el": "m"}'])
    assert app.bodies == [b'{"model": "m"}']


async def test_after_the_body_the_app_hears_of_the_disconnect() -> None:
    heard: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        heard.extend([(await receive())["type"], (await receive())["type"]])

    async with Drive(around(app, Reader()), body=ASK) as call:
        await asyncio.sleep(0)
        call.disconnect()
        await call.finish()
    assert heard == ["http.request", "http.disconnect"]


async def test_the_facts_of_the_body_are_on_the_exchange() -> None:
    await ask(App(), Reader(), watcher := Watcher())
    assert (watcher.exchange.requested_model, watcher.exchange.stream) == ("m", True)
    assert watcher.exchange.body.raw == ASK


async def test_a_body_that_is_no_json_is_openais_400_before_the_app_is_asked() -> None:
    app, outer = App(), Watcher()
    answer = await drive(around(app, outer, Reader()), body=b"{")
    assert answer.status == 400
    assert answer.json()["error"]["message"].startswith("We could not parse the JSON body")
    assert not app.called
    assert outer.ending == (400, "client_error")


async def test_the_body_is_read_only_once_the_plugins_before_its_reader_agree() -> None:
    answer = await ask(App(), failing("on_request", REFUSAL)(), Reader(), forbid_body=True)
    assert answer.status == 403


async def test_an_edited_body_reaches_the_app_with_its_length() -> None:
    app = App()
    await ask(app, Editor(value="a-longer-name"), headers={"content-length": str(len(ASK)), "x": "y"})
    assert app.bodies == [ASK.replace(b'"m"', b'"a-longer-name"')]
    headers = dict(app.headers[0])
    assert headers[b"content-length"] == str(len(app.bodies[0])).encode()
    assert headers[b"x"] == b"y"


async def test_an_edited_chunked_body_is_no_longer_chunked() -> None:
    app = App()
    await ask(app, Editor(), chunks=[ASK[:9], ASK[9:]], headers={"transfer-encoding": "chunked"})
    headers = dict(app.headers[0])
    assert b"transfer-encoding" not in headers
    assert headers[b"content-length"] == str(len(app.bodies[0])).encode()


async def test_an_unedited_body_is_the_same_object_under_the_same_headers() -> None:
    body, seen = b'{"model": "m"}', []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend([await receive(), list(scope["headers"])])

    given = {"content-length": "14", "transfer-encoding": "chunked"}
    async with Drive(around(app, Reader()), body=body, headers=given) as call:
        headers = list(call.scope["headers"])
        await call.finish()
    assert seen[0]["body"] is body
    assert seen[1] == headers


async def test_edits_of_several_plugins_add_up() -> None:
    app = App()
    await ask(app, Editor("a", 1), Editor("b", 2), Editor("a", 3))
    body = json.loads(app.bodies[0])
    assert (body["a"], body["b"], body["model"]) == (3, 2, "m")


# Its size.


@pytest.mark.parametrize("plugin", [Plugin, Reader, Watcher])
async def test_a_body_that_declares_itself_too_large_is_refused_unread(plugin: type[Plugin]) -> None:
    app = App()
    answer = await ask(app, plugin(), headers={"content-length": str(LIMIT + 1)}, forbid_body=True)
    assert answer.status == 413
    assert answer.json()["error"]["code"] == "request_too_large"
    assert answer.headers["x-request-id"]
    assert not app.called


@pytest.mark.parametrize("plugin", [Plugin, Reader, Watcher, Rewriter])
async def test_a_body_that_turns_out_too_large_is_refused_once(plugin: type[Plugin]) -> None:
    last = Watcher()
    answer = await ask(App(), last, plugin(), chunks=[b"x" * 60, b"x" * 60, b"x" * 60])
    assert answer.status == 413
    assert answer.json()["error"]["message"] == "Maximum content size limit (100) exceeded (120 bytes read)"
    assert answer.complete
    assert last.ending == (413, "client_error")


@pytest.mark.parametrize("plugin", [Plugin, Reader])
async def test_a_body_of_just_the_limit_is_allowed(plugin: type[Plugin]) -> None:
    body = b'{"a": "' + b"x" * (LIMIT - 9) + b'"}'
    app = App()
    assert (await ask(app, plugin(), chunks=[body[:50], body[50:]])).status == 200
    assert app.bodies == [body]


async def test_an_app_that_answers_a_body_too_large_itself_is_not_heard() -> None:
    async def framework(scope: Any, receive: Any, send: Any) -> None:
        """Like FastAPI: any failure to read the body is a 400 of its own."""
        try:
            while (await receive())["more_body"]:
                pass
        except Exception:
            await send(start(400, JSON))
            await send(piece(b'{"detail": "There was an error parsing the body"}', more=False))

    answer = await ask(framework, Watcher(), chunks=[b"x" * 60, b"x" * 60])
    assert (answer.status, answer.json()["error"]["code"]) == (413, "request_too_large")


async def test_an_answer_under_way_when_the_body_grows_too_large_is_cut() -> None:
    async def echo(scope: Any, receive: Any, send: Any) -> None:
        await send(start(content_type="text/plain"))
        while True:
            message = await receive()
            await send(piece(message["body"], more=message["more_body"]))

    async with Drive(around(echo, watcher := Watcher()), chunks=[b"x" * 60, b"x" * 60, b"x"]) as call:
        with pytest.raises(RuntimeError, match="after the response had started"):
            await call.finish()
    assert not call.complete
    assert watcher.ending == (200, "server_error")


async def test_a_body_too_large_that_nobody_waits_for_changes_no_finished_answer() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in App().sends:
            await send(message)
        while (await receive())["more_body"]:
            pass

    async def endless() -> Message:
        return {"type": "http.request", "body": b"x" * 60, "more_body": True}

    answer = await drive(receiving(endless, around(app, watcher := Watcher())))
    assert answer.body == CHUNK + STOP + DONE
    assert watcher.ending == (200, "ok")


# The scope.


async def test_the_scope_is_changed_in_place_and_restored() -> None:
    inside: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        inside.update(scope)
        scope["route"] = "seen from outside"

    async with Drive(around(app, Editor(), Watcher()), body=ASK, headers={"accept-encoding": "gzip"}) as call:
        headers = call.scope["headers"]
        await call.finish()
    assert isinstance(inside[SCOPE_KEY], Exchange)
    assert inside["headers"] is not headers
    assert SCOPE_KEY not in call.scope
    assert call.scope["headers"] is headers
    assert call.scope["route"] == "seen from outside"


@pytest.mark.parametrize("error", [LookupError("app's"), REFUSAL, asyncio.CancelledError()])
async def test_the_scope_is_restored_after_any_end(error: BaseException) -> None:
    async with Drive(around(App(sends=[], raises=error), Editor()), body=ASK) as call:
        headers = call.scope["headers"]
        await asyncio.gather(call.task, return_exceptions=True)
    assert call.scope["headers"] is headers
    assert SCOPE_KEY not in call.scope


async def test_an_app_that_clears_the_scope_does_not_keep_plugins_from_finishing() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope.clear()

    await ask(app, watcher := Watcher())
    assert finishes(watcher.log) == ["w"]


@pytest.mark.parametrize(("plugin", "kept"), [(Plugin, True), (Reader, True), (Watcher, False), (Rewriter, False)])
async def test_compression_is_asked_for_only_if_nobody_reads_the_events(plugin: type[Plugin], kept: bool) -> None:
    app = App()
    await ask(app, plugin(), headers={"accept-encoding": "gzip, br"})
    assert (b"accept-encoding" in dict(app.headers[0])) is kept


async def test_plugins_see_the_headers_the_client_sent() -> None:
    await ask(App(), watcher := Watcher(), Editor(), headers={"accept-encoding": "gzip", "content-length": "83"})
    assert watcher.exchange.header(b"accept-encoding") == "gzip"
    assert watcher.exchange.header(b"content-length") == "83"


# Outcomes.


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "ok"), (204, "ok"), (304, "ok"), (400, "client_error"), (401, "client_error"), (404, "client_error"),
        (429, "server_error"), (499, "client_error"), (500, "server_error"), (502, "server_error"), (529, "server_error"),
    ],
)  # fmt: skip
async def test_the_outcome_of_a_whole_answer_follows_its_status(status: int, outcome: str) -> None:
    await ask(App(DOCUMENT, status=status, content_type=JSON), watcher := Watcher())
    assert watcher.ending == (status, outcome)
    await ask(App(sends=[], raises=GatewayError(max(status, 400), "x")), watcher := Watcher())
    ours = {429: "limited"}.get(status, outcome)  # a limit of ours is no failure, a provider's is
    assert watcher.ending == (max(status, 400), ours if status >= 400 else "client_error")


async def test_an_answer_that_was_never_finished_is_a_failure_of_the_server() -> None:
    await ask(App(sends=[start(), piece(CHUNK)]), watcher := Watcher())
    assert watcher.ending == (200, "server_error")


async def test_the_outcome_is_known_to_every_finishing_plugin() -> None:
    outcomes: list[tuple[int | None, str | None, float | None]] = []

    class Asking(Plugin):
        def on_finish(self, exchange: Exchange) -> None:
            outcomes.append((exchange.status, exchange.outcome, exchange.timings.ended))

    await ask(App(), Asking(), Asking())
    assert outcomes[0][:2] == (200, "ok")
    assert outcomes[0][2] is not None
    assert len(set(outcomes)) == 1


# A client that leaves.


@pytest.mark.parametrize("plugin", [Plugin, Reader])
async def test_a_client_gone_before_its_body_is_499(plugin: type[Plugin]) -> None:
    gone: list[Exception] = []
    async with Drive(around(App(), watcher := Watcher(), plugin()), body=ASK) as call:
        call.disconnect()
        try:
            await call.finish()
        except ConnectionError as error:  # the app's own way to say it
            gone.append(error)
    assert call.sent == []
    assert watcher.ending == (499, "cancelled")
    assert finishes(watcher.log) == ["w"]
    assert len(gone) == (plugin is Plugin)


async def test_a_client_gone_before_the_first_byte_is_499() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async with Drive(around(app, watcher := Watcher()), body=ASK) as call:
        await asyncio.sleep(0)
        call.disconnect()
        await call.finish()
    assert watcher.ending == (499, "cancelled")


async def test_what_an_app_still_answers_to_a_client_that_has_gone_is_499_too() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        for message in messages(b"null", content_type=JSON):
            await send(message)

    async with Drive(around(app, watcher := Watcher()), body=ASK) as call:
        await asyncio.sleep(0)
        call.disconnect()
        await call.finish()
    assert watcher.ending == (499, "cancelled")


async def test_a_client_gone_in_mid_stream_is_200_and_cancelled() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(start())
        await send(piece(CHUNK))
        assert (await receive())["type"] == "http.disconnect"

    async with Drive(around(app, watcher := Watcher()), body=ASK) as call:
        await call.next_body()
        call.disconnect()
        await call.finish()
    assert watcher.ending == (200, "cancelled")


async def test_a_server_that_says_so_when_sending_is_believed() -> None:
    gate = asyncio.Event()
    async with Drive(
        around(App(CHUNK, DONE, gate=gate), watcher := Watcher(), Rewriter()), body=ASK, spec_version="2.4"
    ) as call:
        await call.next_body()
        call.disconnect()
        gate.set()
        with pytest.raises(OSError, match="disconnected"):
            await call.finish()
    assert watcher.ending == (200, "cancelled")


async def test_an_oserror_of_the_app_is_no_client_that_left() -> None:
    with pytest.raises(ConnectionResetError):
        await ask(App(sends=[start(), piece(CHUNK)], raises=ConnectionResetError()), watcher := Watcher())
    assert watcher.ending == (200, "server_error")


async def test_a_client_that_leaves_after_the_last_byte_has_its_answer() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in App().sends:
            await send(message)
        assert (await receive())["type"] == "http.disconnect"

    await ask(app, watcher := Watcher())
    assert watcher.ending == (200, "ok")


def leaving(after: int) -> Any:
    """An app whose client leaves when it has been sent so many messages, and that gives up before the last one."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for message in [start(), piece(CHUNK), piece(STOP), piece(DONE)][:after]:
            await send(message)
        assert (await receive())["type"] == "http.disconnect"

    return app


class Unread(Watcher):
    """Watches how a request ends, and reads no answer."""

    reads_events = False
    on_event, on_end = Plugin.on_event, Plugin.on_end


@pytest.mark.parametrize("reader", [Watcher, Rewriter])
@pytest.mark.parametrize(("messages_sent", "outcome"), [(4, "ok"), (3, "cancelled"), (2, "cancelled")])
async def test_a_client_that_leaves_at_the_end_mark_has_its_answer(
    reader: type[Watcher], messages_sent: int, outcome: str
) -> None:
    outer = Unread()  # as a middleware of its own, which has to be told by the one that reads
    app = PluginMiddleware(around(leaving(messages_sent), inner := reader()), plugins=[outer])
    async with Drive(app, body=ASK) as call:
        for _ in range(messages_sent - 1):
            await call.next_body()
        call.disconnect()
        await call.finish()
    assert (outer.exchange.status, inner.log[-1]) == (200, "w.on_finish")
    assert outer.exchange.outcome == inner.exchange.outcome == outcome


# Cancellation.


async def cancelled(call: Drive) -> None:
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call.finish()


async def test_cancelled_while_the_body_is_read() -> None:
    async def silence() -> Message:
        return await asyncio.Event().wait()

    app = App()
    async with Drive(receiving(silence, around(app, watcher := Watcher(), Reader()))) as call:
        await asyncio.sleep(0)
        await cancelled(call)
    assert not app.called
    assert watcher.ending == (499, "cancelled")


async def test_cancelled_in_a_plugin() -> None:
    class Waiting(Watcher):
        async def on_request(self, exchange: Exchange) -> None:
            await super().on_request(exchange)
            await asyncio.Event().wait()

    log: list[str] = []
    async with Drive(
        around(App(), Watcher(log, "a"), plugin := Waiting(log, "b"), Watcher(log, "c")), body=ASK
    ) as call:
        await asyncio.sleep(0)
        await cancelled(call)
    assert finishes(log) == ["b", "a"]
    assert plugin.ending == (499, "cancelled")


async def test_cancelled_in_mid_stream() -> None:
    app = App(CHUNK, DONE, gate=asyncio.Event())
    async with Drive(around(app, watcher := Watcher()), body=ASK) as call:
        await call.next_body()
        await cancelled(call)
    assert app.cancelled
    assert watcher.ending == (200, "cancelled")


@pytest.mark.parametrize("plugin", [Plugin, Watcher, Rewriter])
async def test_cancelled_while_the_client_does_not_read(plugin: type[Plugin]) -> None:
    async with Drive(around(App(), watcher := Watcher(), plugin()), body=ASK, lockstep=True) as call:
        await call.next_message()
        await asyncio.sleep(0)
        await cancelled(call)
    assert watcher.ending == (200, "cancelled")


async def test_cancelled_while_an_error_is_sent() -> None:
    async with Drive(
        around(App(), watcher := Watcher(), failing("on_request", REFUSAL)()), body=ASK, lockstep=True
    ) as call:
        await asyncio.sleep(0.001)
        await cancelled(call)
    assert watcher.exchange.outcome == "cancelled"
    assert finishes(watcher.log) == ["w"]


async def test_a_cancellation_is_not_lost_when_a_plugin_fails_at_that_moment() -> None:
    async with Drive(around(App(), failing("on_event")(), watcher := Watcher()), body=ASK, lockstep=True) as call:
        await call.next_message()
        await asyncio.sleep(0.001)
        await cancelled(call)
    assert watcher.ending == (200, "cancelled")


async def test_cancelled_after_the_last_byte_has_changed_nothing_for_the_client() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in App().sends:
            await send(message)
        await asyncio.Event().wait()

    async with Drive(around(app, watcher := Watcher()), body=ASK) as call:
        while not call.complete:
            await call.next_message()
        await cancelled(call)
    assert watcher.ending == (200, "ok")


# Finishing.


def entered(log: list[str]) -> tuple[Plugin, ...]:
    return Watcher(log, "a"), Rewriter(log, "b"), Watcher(log, "c")


ENDS = {
    "success": (App(), None),
    "app refuses": (App(sends=[], raises=REFUSAL), None),
    "app fails": (App(sends=[], raises=LookupError()), LookupError),
    "app fails in mid-stream": (App(sends=[start(), piece(CHUNK)], raises=LookupError()), LookupError),
    "app refuses in mid-stream": (App(sends=[start(), piece(CHUNK)], raises=REFUSAL), None),
    "stream is cut": (App(sends=[start(), piece(CHUNK)]), None),
    "app says nothing": (App(sends=[]), None),
    "app is cancelled": (App(sends=[], raises=asyncio.CancelledError()), asyncio.CancelledError),
    "app exits": (App(sends=[], raises=GeneratorExit()), GeneratorExit),
}


@pytest.mark.parametrize("name", ENDS)
async def test_every_entered_plugin_finishes_once_in_reverse(name: str) -> None:
    app, error = ENDS[name]
    log: list[str] = []
    if error is None:
        await ask(app, *entered(log))
    else:
        with pytest.raises(error):
            await ask(app, *entered(log))
    assert finishes(log) == ["c", "b", "a"]


@pytest.mark.parametrize("hook", ["on_request", "on_response", "on_event", "on_end", "on_finish"])
@pytest.mark.parametrize("observes", [True, False])
async def test_a_bug_in_any_hook_keeps_nobody_from_finishing(hook: str, observes: bool) -> None:
    log: list[str] = []
    bad = failing(hook, base=Rewriter, observes=observes)(log, "bad")
    await ask(App(), Watcher(log, "a"), bad, Watcher(log, "c"))
    stopped = hook == "on_request" and not observes
    assert finishes(log) == (["bad", "a"] if stopped else ["c", "bad", "a"])


async def test_plugins_behind_a_refusal_are_not_entered_and_do_not_finish() -> None:
    log: list[str] = []
    await ask(App(), Watcher(log, "a"), failing("on_request", REFUSAL)(log, "b"), Watcher(log, "c"))
    assert finishes(log) == ["b", "a"]
    assert not [entry for entry in log if entry.startswith("c.")]


async def test_a_plugin_whose_turn_never_came_does_not_finish() -> None:
    log: list[str] = []
    async with Drive(around(App(), Watcher(log, "a"), Reader(), Watcher(log, "c")), body=ASK) as call:
        call.disconnect()
        await call.finish()
    assert finishes(log) == ["a"]


async def test_finishing_comes_after_everything_else() -> None:
    log: list[str] = []
    await ask(App(), *entered(log))
    assert [entry.partition(".")[2] for entry in log].index("on_finish") == len(log) - 3


# What is awaited when the answer is over.


class Refuser(Plugin):
    async def on_request(self, exchange: Exchange) -> None:
        raise GatewayError(403, "no")


class Waiter(Watcher):
    """Awaits something in `on_ended`."""

    def __init__(self, log: list[str] | None = None, label: str = "w", *, raises: bool = False) -> None:
        super().__init__(log, label)
        self.raises = raises
        self.seen: list[object] = []

    async def on_ended(self, exchange: Exchange) -> None:
        await asyncio.sleep(0)
        self.seen.append((exchange.status, exchange.outcome, exchange.timings.ended is not None))
        self.note("on_ended")
        if self.raises:
            raise RuntimeError("bug")


async def test_on_ended_runs_after_the_last_byte_and_before_on_finish_inside_out() -> None:
    log: list[str] = []
    outer, inner = Waiter(log, "outer"), Waiter(log, "inner")
    await ask(App(), outer, inner)
    assert log[-4:] == ["inner.on_ended", "outer.on_ended", "inner.on_finish", "outer.on_finish"]
    assert outer.seen == [(200, "ok", True)]


async def test_a_bug_in_on_ended_keeps_nothing_from_being_settled() -> None:
    log: list[str] = []
    answer = await ask(App(), Waiter(log, "outer"), Waiter(log, "inner", raises=True))
    assert answer.status == 200
    assert log[-3:] == ["outer.on_ended", "inner.on_finish", "outer.on_finish"]


async def test_on_ended_is_due_to_the_plugins_a_refused_request_has_entered() -> None:
    outer, inner = Waiter(), Waiter()
    await ask(App(), outer, Refuser(), inner)
    assert (len(outer.seen), len(inner.seen)) == (1, 0)


async def test_a_cancelled_request_is_settled_without_on_ended() -> None:
    waiter = Waiter()
    async with Drive(around(App(gate=asyncio.Event()), waiter), body=ASK) as call:
        await call.next_message()
        call.cancel()
    assert (waiter.seen, waiter.log[-1], waiter.exchange.outcome) == ([], "w.on_finish", "cancelled")


async def test_a_body_too_large_that_comes_while_a_plugin_answers_changes_no_answer() -> None:
    class Answering(Plugin):
        async def on_request(self, exchange: Exchange) -> None:
            exchange.reply = Reply(200, [(b"content-type", b"text/event-stream")], slowly())

    async def slowly() -> AsyncGenerator[bytes, None]:
        for each in (CHUNK, STOP, DONE):
            for _ in range(5):
                await asyncio.sleep(0)
            yield each

    watcher = Watcher()
    inner = PluginMiddleware(App(), plugins=[watcher, Answering()], max_body_bytes=1000)
    outer = PluginMiddleware(inner, max_body_bytes=100)
    answer = await drive(outer, chunks=[b"x" * 60] * 3)
    assert answer.body == CHUNK + STOP + DONE
    assert watcher.ending == (200, "ok")
