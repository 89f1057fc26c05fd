"""Where plugins meet ASGI: which requests they see, and how several boundaries become one or share."""

import asyncio
import gzip
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.asgi.scope import SCOPE_KEY, find_exchange
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.sse import Event
from crplugins.testing import Answer, drive
from tests.core.doubles import ASK, CHUNK, DONE, STOP, App, Reader, Rewriter, Watcher, Wrapped, finishes

CHAT = "/v1/chat/completions"


class Everywhere(Watcher):
    every_path = True


async def ask(app: Any, *plugins: Plugin, method: str = "POST", path: str = CHAT, **options: Any) -> Answer:
    return await drive(PluginMiddleware(app, plugins=plugins), method, path, **{"body": ASK, **options})


# Which requests.


@pytest.mark.parametrize("path", [CHAT, "/chat/completions", "/openai/deployments/x/chat/completions"])
async def test_chat_completions_are_met_under_any_prefix(path: str) -> None:
    await ask(App(), watcher := Watcher(), path=path)
    assert watcher.log


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/completions"), ("POST", CHAT + "/x"), ("POST", "/v1/audio"), ("GET", "/healthz"),
        ("POST", "/"), ("PUT", "/v1/models"),
    ],
)  # fmt: skip
async def test_other_paths_pass_untouched(method: str, path: str) -> None:
    seen: list[Any] = []
    message = {"type": "http.request", "body": ASK}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend([scope, await receive(), send])

    async def receive() -> Any:
        return message

    scope = {"type": "http", "method": method, "path": path, "headers": [(b"accept-encoding", b"gzip")]}
    send = object()
    await PluginMiddleware(app, plugins=[Watcher(), Reader()])(scope, receive, send)
    assert list(map(id, seen)) == list(map(id, (scope, message, send)))
    assert scope == {"type": "http", "method": method, "path": path, "headers": [(b"accept-encoding", b"gzip")]}


@pytest.mark.parametrize(
    ("kind", "path"), [("websocket", "/v1/realtime"), ("lifespan.other", CHAT), ("webtransport", CHAT)]
)
async def test_other_scopes_pass_untouched(kind: str, path: str) -> None:
    seen: list[Any] = []

    async def app(*given: Any) -> None:
        seen.extend(given)

    given = ({"type": kind, "path": path}, object(), object())
    await PluginMiddleware(app, plugins=[Everywhere()])(*given)
    assert list(map(id, seen)) == list(map(id, given))
    assert given[0] == {"type": kind, "path": path}


@pytest.mark.parametrize("path", [CHAT, CHAT + "/"])
async def test_no_websocket_is_opened_on_a_chat_path(path: str) -> None:
    sent: list[Any] = []

    async def app(*given: Any) -> None:
        raise AssertionError("the app is called")

    async def send(message: Any) -> None:
        sent.append(message)

    await PluginMiddleware(app, plugins=[Watcher()])({"type": "websocket", "path": path}, object(), send)
    assert sent == [{"type": "websocket.close", "code": 1008}]


# What is nearly a chat completion.


@pytest.mark.parametrize(
    "path",
    [CHAT + "\n", CHAT + "/", "/V1/Chat/Completions", "//v1/chat/completions", CHAT + ";a", CHAT + "\0", CHAT + " "],
)
async def test_another_spelling_is_refused_as_an_unknown_path(path: str) -> None:
    app, watcher = App(), Watcher()
    answer = await ask(app, watcher, path=path)
    assert (answer.status, answer.json()["error"]["message"]) == (404, f"Invalid URL (POST {path})")
    assert answer.headers["x-request-id"]
    assert (app.scopes, watcher.log) == ([], [])


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "post", "QUERY"])
async def test_so_is_another_method(method: str) -> None:
    answer = await ask(app := App(), Watcher(), method=method)
    assert (answer.status, answer.headers["allow"], app.scopes) == (405, "POST", [])
    assert answer.json()["error"]["message"].startswith(f"Not allowed to {method} on {CHAT}.")


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("path", [CHAT, CHAT + "/"])
async def test_a_page_of_that_path_is_the_apps_own_as_long_as_nobody_sends_it_a_body(method: str, path: str) -> None:
    async def page(scope: Any, receive: Any, send: Any) -> None:
        assert await Request(scope, receive).body() == b""
        await Response("a page")(scope, receive, send)

    assert (await drive(PluginMiddleware(page, plugins=[Watcher()]), method, path)).body == b"a page"
    assert (await ask(page, Watcher(), method=method, path=path)).status == 413
    parts = await drive(PluginMiddleware(page, plugins=[Watcher()]), method, path, chunks=[ASK, b""])
    assert parts.status == 413


async def test_a_plugin_for_every_path_meets_what_is_refused() -> None:
    log: list[str] = []
    assert (await ask(App(), Everywhere(log, "all"), path=CHAT + "/")).status == 404
    assert "all.on_request" in log


async def test_the_first_one_that_is_refused_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    app = PluginMiddleware(App(), plugins=[Watcher()])
    for path in (CHAT + "\n" + "x" * 200, CHAT + "/", CHAT + "/"):
        await drive(app, path=path.replace("x", "/"), body=ASK)
    [line] = [record.getMessage() for record in caplog.records if record.name == "crplugins.paths"]
    assert "paths=[...]" in line
    assert "\n" not in line
    assert len(line) < 400


async def test_without_plugins_every_spelling_is_the_apps() -> None:
    assert (await ask(App(), path=CHAT + "/")).status == 200


# Routes with a name of their own.


async def test_a_path_that_is_named_is_one_of_chat_completions() -> None:
    app = PluginMiddleware(App(), plugins=[watcher := Watcher()], paths=["/ask", "/tenants/{tenant}/ask/"])
    for path in ("/ask", "/tenants/blue/ask/"):
        assert (await drive(app, path=path, body=ASK)).status == 200
    assert [exchange.path for exchange in watcher.exchanges] == ["/ask", "/tenants/blue/ask/"]
    for path in ("/ask/", "/ASK", "/ask\n", "/tenants/blue/ask", "/tenants//blue/ask/"):
        assert (await drive(app, path=path, body=ASK)).status == 404
    assert (await drive(app, path="/tenants/ask/", body=ASK)).status == 200
    assert len(watcher.exchanges) == 2


async def test_a_named_path_is_that_of_the_app_wherever_it_is_mounted() -> None:
    app = PluginMiddleware(App(), plugins=[watcher := Watcher()], paths=["/ask"])
    assert (await drive(Starlette(routes=[Mount("/ai", app)]), path="/ai/ask", body=ASK)).status == 200
    assert [exchange.path for exchange in watcher.exchanges] == ["/ask"]


async def test_neighbours_have_the_named_paths_of_all() -> None:
    inner = PluginMiddleware(App(), plugins=[first := Watcher()], paths=["/ask"])
    outer = PluginMiddleware(inner, plugins=[second := Watcher()], paths=["/tell"])
    for path in ("/ask", "/tell"):
        await drive(outer, path=path, body=ASK)
    assert len(first.exchanges) == len(second.exchanges) == 2


@pytest.mark.parametrize("path", ["ask", "", "/", "/a//b", "/a/../b", "/a?b", "/a\n", "/%61", "/a;b", "https://x/a"])
def test_a_named_path_has_one_spelling(path: str) -> None:
    with pytest.raises(ValueError, match="is no path of a route"):
        PluginMiddleware(App(), plugins=[Watcher()], paths=[path])


@pytest.mark.parametrize(
    "body",
    [ASK, b'{"prompt": "hi", "model": "m"}', b'{"model":"m","input":["hi"]}', b'{"messages": []}'],
)
async def test_a_route_that_asks_a_model_and_is_not_covered_is_named_once(
    body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    app = PluginMiddleware(App(), plugins=[Watcher(), Reader()])
    for path in ("/ask", "/ask", "/tell"):
        assert (await drive(app, path=path, body=body)).status == 200
    lines = [record.getMessage() for record in caplog.records if record.name == "crplugins.paths"]
    assert len(lines) == 2
    assert lines[0].startswith("POST '/ask' asks a model, and Watcher, Reader do not see it")


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b'{"model": "T", "year": 1908}', b'{"jsonrpc":"2.0","method":"prompts/get","id":1}', b"\x00" * 9],
)
async def test_other_traffic_is_not(body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    await drive(PluginMiddleware(App(), plugins=[Watcher()]), path="/mcp", body=body)
    await drive(PluginMiddleware(App(), plugins=[Everywhere()]), path="/ask", body=ASK)
    assert not [record for record in caplog.records if record.name == "crplugins.paths"]


async def test_a_scanner_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    app = PluginMiddleware(App(), plugins=[Watcher()])
    for number in range(40):
        await drive(app, path=f"/{number}", body=ASK)
    assert len([record for record in caplog.records if record.name == "crplugins.paths"]) == 16


async def test_a_plugin_for_every_path_meets_every_path_alone() -> None:
    log: list[str] = []
    answer = await ask(App(), Watcher(log, "chat"), Everywhere(log, "all"), method="GET", path="/v1/models")
    assert {entry.partition(".")[0] for entry in log} == {"all"}
    assert answer.headers["x-request-id"]


async def test_a_plugin_for_every_path_leaves_large_uploads_to_the_app() -> None:
    app = PluginMiddleware(App(), plugins=[Everywhere()], max_body_bytes=10)
    body = b"x" * 11
    assert (await drive(app, path="/v1/files", body=body, headers={"content-length": "11"})).status == 200
    assert (await drive(app, path="/v1/files", chunks=[body, body])).status == 200
    assert (await drive(app, body=body)).status == 413


async def test_a_plugin_that_reads_every_body_has_every_body_limited() -> None:
    class Reading(Everywhere):
        reads_body = True

    app = PluginMiddleware(App(), plugins=[Reading()], max_body_bytes=10)
    assert (await drive(app, path="/v1/files", body=b"x" * 11)).status == 413


async def test_without_plugins_everything_passes() -> None:
    answer = await ask(App())
    assert answer.body == CHUNK + STOP + DONE
    assert "x-request-id" not in answer.headers


# The id.


async def test_every_answer_carries_the_id_of_its_exchange() -> None:
    first, second = await ask(App(), watcher := Watcher()), await ask(App(), watcher)
    assert [first.headers["x-request-id"], second.headers["x-request-id"]] == [e.id for e in watcher.exchanges]
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


async def test_ids_and_time_can_be_given() -> None:
    app = PluginMiddleware(App(), plugins=[watcher := Watcher()], clock=lambda: 7.0, new_id=lambda: "mine")
    assert (await drive(app, body=ASK)).headers["x-request-id"] == "mine"
    assert watcher.exchange.timings.started == 7.0


# Fusion.


def names(app: PluginMiddleware) -> list[str]:
    return [plugin.label for plugin in app.plugins]


async def test_neighbours_become_one_when_constructed() -> None:
    log: list[str] = []
    app = App()
    inner = PluginMiddleware(app, plugins=[Watcher(log, "b"), Watcher(log, "c")])
    outer = PluginMiddleware(inner, plugins=[Watcher(log, "a")])
    assert names(outer) == ["a", "b", "c"]
    assert outer.app is app
    await drive(outer, body=ASK)
    assert [entry for entry in log if "on_request" in entry] == ["a.on_request", "b.on_request", "c.on_request"]
    assert finishes(log) == ["c", "b", "a"]


def test_the_inner_one_is_left_as_it_was() -> None:
    inner = PluginMiddleware(App(), plugins=[Watcher(label="b")])
    PluginMiddleware(inner, plugins=[Watcher(label="a")])
    assert names(inner) == ["b"]


def test_subclasses_that_only_name_their_plugins_fuse() -> None:
    class Mine(PluginMiddleware):
        def __init__(self, app: Any) -> None:
            super().__init__(app, plugins=[Watcher(label="mine")])

    assert names(Mine(PluginMiddleware(App(), plugins=[Watcher(label="b")]))) == ["mine", "b"]
    assert names(PluginMiddleware(Mine(App()), plugins=[Watcher(label="a")])) == ["a", "mine"]
    assert names(Mine(Mine(App()))) == ["mine", "mine"]


def test_a_subclass_with_a_call_of_its_own_is_foreign() -> None:
    class Own(PluginMiddleware):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await super().__call__(scope, receive, send)

    inner = Own(App(), plugins=[Watcher(label="b")])
    outer = PluginMiddleware(inner, plugins=[Watcher(label="a")])
    assert (names(outer), outer.app) == (["a"], inner)


@pytest.mark.parametrize("option", [{"max_body_bytes": 5}, {"clock": lambda: 0.0}, {"new_id": lambda: "x"}])
def test_different_options_do_not_fuse(option: dict[str, Any]) -> None:
    inner = PluginMiddleware(App(), plugins=[Watcher(label="b")], **option)
    assert PluginMiddleware(inner, plugins=[Watcher(label="a")]).app is inner
    assert names(PluginMiddleware(inner, plugins=[Watcher(label="a")], **option)) == ["a", "b"]


def test_repr_names_the_plugins_and_the_innermost_app() -> None:
    class Outer(Plugin):
        pass

    class Inner(Plugin):
        pass

    async def app(*_: Any) -> None: ...

    fused = PluginMiddleware(PluginMiddleware(app, plugins=[Inner()]), plugins=[Outer()])
    assert repr(fused) == f"PluginMiddleware({app!r}, plugins=[Outer, Inner])"


def starlette(*layers: Middleware) -> Starlette:
    """`layers` innermost first, as successive add_middleware calls. Answers with what it got."""

    async def chat(request: Request) -> Response:
        body = await request.body()
        exchange = find_exchange(request.scope)
        seen = {"got": body.decode(), "id": exchange.id if exchange else None}
        return JSONResponse({**seen, "choices": [{"index": 0}]}, headers={"x-app": "1"})

    app = Starlette(routes=[Route(CHAT, chat, methods=["POST"])])
    for layer in layers:
        app.add_middleware(layer.cls, *layer.args, **layer.kwargs)
    return app


def plugged(*plugins: Plugin) -> Middleware:
    return Middleware(PluginMiddleware, plugins=plugins)


def boundaries(app: Any) -> list[PluginMiddleware]:
    found = []
    while (app := getattr(app, "app", None)) is not None:
        if isinstance(app, PluginMiddleware):
            found.append(app)
    return found


async def test_layers_added_to_starlette_one_after_the_other_fuse() -> None:
    log: list[str] = []
    app = starlette(*(plugged(Watcher(log, label)) for label in ("c", "b", "a")))
    answer = await drive(app, body=ASK)
    assert answer.json()["got"] == ASK.decode()
    assert [names(found) for found in boundaries(app.middleware_stack)] == [["a", "b", "c"]]
    assert finishes(log) == ["c", "b", "a"]


FOREIGN = [
    Middleware(GZipMiddleware, minimum_size=1),
    Middleware(CORSMiddleware, allow_origins=["*"]),
    Middleware(Wrapped),
]


@pytest.mark.parametrize("foreign", FOREIGN, ids=lambda layer: layer.cls.__name__)
async def test_a_foreign_layer_makes_two_boundaries_that_share_the_exchange_and_the_parse(foreign: Middleware) -> None:
    class Peeking(Watcher):
        reads_body = True

        async def on_request(self, exchange: Exchange) -> None:
            await super().on_request(exchange)
            self.body = exchange.body

    outer, inner = Peeking(), Peeking()
    app = starlette(plugged(inner), foreign, plugged(outer))
    answer = await drive(app, body=ASK, headers={"origin": "http://x"})
    assert len(boundaries(app.middleware_stack)) == 2
    assert outer.exchange is inner.exchange
    assert outer.body is inner.body
    assert (answer.json()["got"], answer.json()["id"]) == (ASK.decode(), outer.exchange.id)
    assert answer.headers["x-request-id"] == outer.exchange.id
    assert len([name for name, _ in answer.header_list if name == "x-request-id"]) == 1
    assert outer.ending == inner.ending == (200, "ok")


async def test_an_edit_further_out_is_what_the_inner_boundary_reads_and_shares() -> None:
    class Renaming(Watcher):
        reads_body = True

        async def on_request(self, exchange: Exchange) -> None:
            await super().on_request(exchange)
            self.body = exchange.body
            exchange.body.set("model", self.label)

    outer, inner = Renaming(label="a-longer-name"), Renaming(label="b")
    answer = await drive(starlette(plugged(inner), Middleware(Wrapped), plugged(outer)), body=ASK)
    assert '"model": "b"' in answer.json()["got"]
    assert outer.body is inner.body
    assert inner.exchange.requested_model == "m"


async def test_an_inner_boundary_parses_what_a_foreign_layer_has_changed() -> None:
    class Rewriting(Wrapped):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def changed() -> Any:
                return {"type": "http.request", "body": b'{"model": "theirs"}', "more_body": False}

            await self.app(scope, changed, send)

    models: list[Any] = []

    class Noting(Reader):
        async def on_request(self, exchange: Exchange) -> None:
            models.append(exchange.body.get("model"))

    await drive(starlette(plugged(Noting()), Middleware(Rewriting), plugged(Noting())), body=ASK)
    assert models == ["m", "theirs"]


async def test_compression_outside_is_applied_to_what_the_plugins_made() -> None:
    class Renaming(Rewriter):
        def on_event(self, exchange: Exchange, event: Event) -> Event:
            return event.with_data(b'{"renamed": true}' + b" " * 100)

    app = starlette(plugged(Renaming()), Middleware(GZipMiddleware, minimum_size=1))
    answer = await drive(app, body=ASK, headers={"accept-encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(answer.body).strip() == b'{"renamed": true}'


async def test_compression_inside_is_switched_off_where_events_are_read() -> None:
    app = starlette(Middleware(GZipMiddleware, minimum_size=1), plugged(watcher := Watcher()))
    answer = await drive(app, body=ASK, headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in answer.headers
    assert len(watcher.events) == 1


@pytest.mark.parametrize("place", ["outer", "inner"])
async def test_a_refusal_in_either_boundary_is_seen_by_both(place: str) -> None:
    class Refusing(Watcher):
        async def on_request(self, exchange: Exchange) -> None:
            await super().on_request(exchange)
            raise GatewayError(429, "Slow down.", type="requests")

    log: list[str] = []
    outer, inner = Watcher(log, "outer"), Watcher(log, "inner")
    plugins = {"outer": [plugged(inner), Middleware(Wrapped), plugged(outer, Refusing(log, "no"))]}
    plugins["inner"] = [plugged(inner, Refusing(log, "no")), Middleware(Wrapped), plugged(outer)]
    answer = await drive(starlette(*plugins[place]), body=ASK)
    assert (answer.status, answer.json()["error"]["type"]) == (429, "requests")
    assert answer.headers["x-request-id"] == outer.exchange.id
    assert outer.ending == (429, "limited")
    assert finishes(log) == (["no", "outer"] if place == "outer" else ["no", "inner", "outer"])


async def test_a_failure_further_out_ends_the_inner_boundary_too() -> None:
    class Failing(Rewriter):
        def on_event(self, exchange: Exchange, event: Event) -> Event:
            raise LookupError

    log: list[str] = []
    app = PluginMiddleware(
        Wrapped(PluginMiddleware(App(), plugins=[inner := Watcher(log, "inner")])),
        plugins=[outer := Watcher(log, "outer"), Failing(log, "bad")],
    )
    answer = await drive(app, body=ASK)
    assert answer.events()[-1]["error"]["type"] == "server_error"
    assert answer.done
    assert finishes(log) == ["inner", "bad", "outer"]
    assert outer.ending == (200, "server_error")
    assert inner.exchange is outer.exchange


async def test_a_gateway_inside_another_runs_its_own_plugins_on_the_same_exchange() -> None:
    log: list[str] = []
    inside = PluginMiddleware(App(), plugins=[inner := Watcher(log, "inner")], max_body_bytes=1000)
    app = Starlette(routes=[Mount("/team", inside)])
    answer = await drive(PluginMiddleware(app, plugins=[outer := Watcher(log, "outer")]), path="/team" + CHAT, body=ASK)
    assert answer.body == CHUNK + STOP + DONE
    assert inner.exchange is outer.exchange
    assert finishes(log) == ["inner", "outer"]


async def test_the_smaller_limit_of_two_boundaries_counts() -> None:
    inside = PluginMiddleware(App(), plugins=[Watcher()], max_body_bytes=10)
    answer = await drive(PluginMiddleware(Wrapped(inside), plugins=[outer := Watcher()]), body=ASK)
    assert answer.status == 413
    assert outer.ending == (413, "client_error")


async def test_two_boundaries_side_by_side_have_exchanges_of_their_own() -> None:
    first, second = Watcher(), Watcher()
    app = Starlette(
        routes=[
            Mount("/a", PluginMiddleware(App(), plugins=[first])),
            Mount("/b", PluginMiddleware(App(), plugins=[second])),
        ]
    )
    await drive(app, path="/a" + CHAT, body=ASK)
    await drive(app, path="/b" + CHAT, body=ASK)
    assert first.exchange is not second.exchange
    assert first.exchange.path == CHAT


async def test_a_scope_left_by_something_else_is_not_taken_for_an_exchange() -> None:
    await ask(App(), watcher := Watcher(), scope={SCOPE_KEY: "other"})
    assert isinstance(watcher.exchange, Exchange)


# Frameworks.


async def test_an_error_raised_in_a_starlette_stream_becomes_a_frame() -> None:
    async def chat(request: Request) -> Response:
        async def events() -> Any:
            yield CHUNK
            raise GatewayError(502, "Gone.", type="server_error")

        return StreamingResponse(events(), media_type="text/event-stream")

    app = Starlette(routes=[Route(CHAT, chat, methods=["POST"])])
    answer = await ask(app, Watcher())
    assert answer.body.startswith(CHUNK + b'data: {"error":{"message":"Gone."')
    assert answer.done


async def test_a_chunked_body_too_large_for_a_starlette_app_is_our_413() -> None:
    app = starlette()
    answer = await drive(PluginMiddleware(app, plugins=[Watcher()], max_body_bytes=50), chunks=[b"x" * 40] * 3)
    assert answer.json()["error"]["code"] == "request_too_large"


async def test_requests_do_not_mix() -> None:
    import asyncio

    gate = asyncio.Event()
    app = PluginMiddleware(App(CHUNK, DONE, gate=gate), plugins=[watcher := Watcher()])
    calls = [asyncio.create_task(drive(app, body=ASK)) for _ in range(20)]
    await asyncio.sleep(0.01)
    gate.set()
    answers = await asyncio.gather(*calls)
    assert sorted(a.headers["x-request-id"] for a in answers) == sorted(e.id for e in watcher.exchanges)
    assert {e.outcome for e in watcher.exchanges} == {"ok"}


STREAMED = b"".join(
    b'data: {"choices": [{"index": 0, "delta": {"content": "%s"}, "finish_reason": %s}]}\n\n' % piece
    for piece in ((b"hello wide world ", b"null"), (b"and more of it", b'"stop"'))
) + b"data: [DONE]\n\n"  # fmt: skip


async def streaming(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": STREAMED})


class Passing:
    """A layer of somebody else's."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


@pytest.mark.parametrize("outer", [Watcher, Rewriter])
@pytest.mark.parametrize("inner", [Watcher, Rewriter])
async def test_what_an_answer_says_is_counted_once_by_two_boundaries(
    outer: type[Watcher], inner: type[Watcher]
) -> None:
    alone, seen, both = Watcher(), outer(), inner()
    await drive(PluginMiddleware(streaming, plugins=[alone]), body=ASK)
    app = PluginMiddleware(Passing(PluginMiddleware(streaming, plugins=[both])), plugins=[seen])
    answer = await drive(app, body=ASK)
    assert answer.body == STREAMED
    assert seen.exchange is both.exchange
    assert seen.exchange.said.tokens() == alone.exchange.said.tokens() > 0
    assert seen.ending == both.ending == (200, "ok")


async def test_a_layer_that_sends_a_request_in_twice_at_once_makes_two_requests_of_it() -> None:
    entered: list[Exchange] = []
    met = asyncio.Event()

    class Meeting(Plugin):
        async def on_request(self, exchange: Exchange) -> None:
            entered.append(exchange)
            if len(entered) == 2:
                met.set()
            await met.wait()

    class Doubling(Passing):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def lose(message: Any) -> None:
                pass

            await asyncio.gather(self.app(dict(scope), receive, lose), self.app(dict(scope), receive, send))

    outer = Watcher()
    inside = PluginMiddleware(streaming, plugins=[Meeting()])
    answer = await drive(PluginMiddleware(Doubling(inside), plugins=[outer]), body=ASK)
    assert answer.body == STREAMED
    assert len({exchange.id for exchange in entered}) == 2
    assert entered[0] is outer.exchange
    assert answer.headers["x-request-id"] == outer.exchange.id
    assert outer.exchange.boundaries == (outer.exchange.boundaries[0],)


async def test_an_app_that_sends_a_request_in_once_more_makes_another_one_of_it() -> None:
    seen: list[tuple[Exchange, str]] = []

    class Noting(Plugin):
        def on_finish(self, exchange: Exchange) -> None:
            seen.append((exchange, exchange.outcome))

    async def again(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and not scope.get("again"):
            await app({**scope, "again": True}, receive, send)
        else:
            await streaming(scope, receive, send)

    app = PluginMiddleware(again, plugins=[Noting()])
    answer = await drive(app, body=ASK)
    assert answer.body == STREAMED
    assert [outcome for _, outcome in seen] == ["ok", "ok"]
    assert seen[0][0].id != seen[1][0].id
    assert answer.headers["x-request-id"] == seen[1][0].id
