"""A refusal of the app is shown to the plugins before the client, and may be answered with a second call."""

from typing import Any

import pytest

from crplugins.asgi import held
from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.exchange import Exchange, Refusal
from crplugins.core.plugin import Plugin
from crplugins.testing import drive
from tests.core.doubles import ASK, CHUNK, DONE, JSON, STOP, App, Watcher, messages, piece, start

NO = b'{"error": "no"}'


class Again(Plugin):
    """Asks again, with another body, for as long as `times`."""

    reads_body = True

    def __init__(self, times: int = 1) -> None:
        self.times = times
        self.seen: list[Refusal] = []

    def on_refused(self, exchange: Exchange, refusal: Refusal) -> bool:
        self.seen.append(refusal)
        if len(self.seen) > self.times:
            return False
        exchange.body.set("model", "other-model")
        return True


class Twice(App):
    """Refuses the first request and answers the next."""

    def __init__(self, *refusal: bytes, **options: Any) -> None:
        super().__init__()
        self._first = messages(*(refusal or (NO,)), **({"status": 400, "content_type": JSON} | options))
        self._rest = self.sends

    async def _read(self, receive: Any) -> None:
        await super()._read(receive)
        self.sends = self._first if len(self.bodies) == 1 else self._rest


async def test_the_second_call_has_the_edited_body_and_its_answer_alone_reaches_the_client() -> None:
    app, watcher, again = Twice(NO[:5], NO[5:]), Watcher(), Again()
    answer = await drive(PluginMiddleware(app, plugins=[watcher, again]), body=ASK)
    assert (answer.status, answer.body) == (200, CHUNK + STOP + DONE)
    assert app.bodies == [ASK, ASK.replace(b'"m"', b'"other-model"')]
    assert dict(app.headers[1])[b"content-length"] == str(len(app.bodies[1])).encode()
    assert again.seen == [Refusal(400, NO)]
    assert watcher.log.count("w.on_response") == 1
    assert watcher.ending == (200, "ok")


async def test_a_refusal_is_known_however_the_app_spells_its_headers() -> None:
    app = Twice()
    app._first[0]["headers"] = [(b"Content-Type", b"application/json; charset=utf-8")]
    assert (await drive(PluginMiddleware(app, plugins=[Again()]), body=ASK)).status == 200


async def test_a_refusal_nobody_wants_to_answer_passes_as_it_came() -> None:
    app = App(NO[:5], NO[5:], status=400, content_type=JSON, headers=[("x-own", "1")])
    answer = await drive(PluginMiddleware(app, plugins=[Again(times=0)]), body=ASK)
    assert (answer.status, answer.body, answer.headers["x-own"]) == (400, NO, "1")


async def test_there_is_no_third_call() -> None:
    app = App(NO, status=400, content_type=JSON)
    answer = await drive(PluginMiddleware(app, plugins=[Again(times=9)]), body=ASK)
    assert (answer.status, answer.body, len(app.bodies)) == (400, NO, 2)


@pytest.mark.parametrize("options", [{"status": 200}, {"content_type": "text/html"}])
async def test_what_is_no_refusal_in_json_is_not_held(options: dict[str, Any]) -> None:
    again = Again()
    answer = await drive(PluginMiddleware(Twice(**options), plugins=[again]), body=ASK)
    assert (answer.body, again.seen) == (NO, [])


async def test_a_long_refusal_passes_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "MAX_REFUSAL_BYTES", 10)
    again = Again()
    answer = await drive(PluginMiddleware(Twice(NO[:12], NO[12:]), plugins=[again]), body=ASK)
    assert (answer.status, answer.body, again.seen) == (400, NO, [])


async def test_what_the_app_sends_behind_a_refusal_that_is_asked_again_is_dropped() -> None:
    app = Twice()
    app._first.append(piece(b"more", more=False))
    answer = await drive(PluginMiddleware(app, plugins=[Again()]), body=ASK)
    assert answer.body == CHUNK + STOP + DONE


async def test_a_file_the_server_sends_itself_is_let_through() -> None:
    sends = [start(status=404, content_type=JSON), {"type": "http.response.pathsend", "path": "/x"}]
    answer = await drive(PluginMiddleware(App(sends=sends), plugins=[Again()]), body=ASK)
    assert [message["type"] for message in answer.messages] == ["http.response.start", "http.response.pathsend"]


async def test_a_refusal_behind_an_answer_that_has_begun_is_an_error_in_the_app() -> None:
    sends = [start(), start(status=500, content_type=JSON), piece(NO, more=False)]
    with pytest.raises(RuntimeError, match="second response"):
        await drive(PluginMiddleware(App(sends=sends), plugins=[again := Again()]), body=ASK)
    assert again.seen == []


async def test_a_hint_before_a_refusal_does_not_hide_it() -> None:
    app = Twice()
    app._first.insert(0, {"type": "http.response.early_hint", "links": []})
    assert (await drive(PluginMiddleware(app, plugins=[Again()]), body=ASK)).status == 200


class Broken(Plugin):
    reads_body = True

    def __init__(self, *, observes: bool) -> None:
        self.observes = observes

    def on_refused(self, exchange: Exchange, refusal: Refusal) -> bool:
        raise RuntimeError("bug")


async def test_a_bug_in_an_observer_lets_the_refusal_pass_and_one_in_a_decider_is_a_500() -> None:
    app = App(NO, status=400, content_type=JSON)
    assert (await drive(PluginMiddleware(app, plugins=[Broken(observes=True)]), body=ASK)).status == 400
    served = PluginMiddleware(app, plugins=[Broken(observes=False)])
    assert (await drive(served, body=ASK)).status == 500
    assert served.faults == {("Broken", "on_refused"): 1}
