import json
import logging
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Limits, Principal
from crplugins.keys.file import FileKeys
from crplugins.keys.source import SecretRefused, SourceUnavailable
from crplugins.plugins.auth import Auth, InlineKey, masked
from crplugins.testing import drive

SECRET = "sk-right-0123456789abcdef"


async def app(scope, receive, send):
    key = scope["crplugins.exchange"].principal
    body = (key.key_id if key else "nobody").encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def guarded(**options):
    return PluginMiddleware(app, plugins=[Auth([InlineKey("team-a", SECRET), InlineKey("b", "My API Key")], **options)])


async def ask(authorization: str | None, method: str = "POST", path: str = "/v1/chat/completions", **options):
    headers = {} if authorization is None else {"authorization": authorization}
    return await drive(guarded(**options), method, path, headers=headers, forbid_body=True)


@pytest.mark.parametrize("header", [f"Bearer {SECRET}", f"bearer {SECRET}", f"Bearer   {SECRET} "])
async def test_a_known_key_gives_its_principal(header):
    answer = await ask(header)
    assert (answer.status, answer.body) == (200, b"team-a")


async def test_a_key_may_hold_spaces():
    assert (await ask("Bearer My API Key")).body == b"b"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", f"Basic {SECRET}", SECRET])
async def test_no_bearer_key_is_openais_401_and_the_body_is_never_read(header):
    answer = await ask(header)
    assert answer.status == 401
    error = answer.json()["error"]
    assert error["message"].startswith(
        "You didn't provide an API key. You need to provide your API key in an Authorization"
    )
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, None)
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("secret", [SECRET + "x", SECRET[:-1], "sk-wrong", "é", "x" * 100_000])
async def test_a_wrong_key_is_openais_401_and_not_repeated(secret):
    answer = await ask(f"Bearer {secret}")
    assert answer.status == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.json()["error"]["message"].startswith("Incorrect API key provided: ")
    assert secret not in json.dumps(answer.json(), ensure_ascii=False)


@pytest.mark.parametrize(
    ("secret", "shown"),
    [("sk-0123456789abcdefWXYZ", "sk-****WXYZ"), ("0123456789abcdefWXYZ", "****WXYZ"), ("short", "*****")],
)
def test_a_mask_shows_enough_to_recognise_and_too_little_to_use(secret, shown):
    assert masked(secret) == shown


@pytest.mark.parametrize("name", ["x-api-key", "api-key"])
async def test_other_headers_that_clients_send_a_key_in(name):
    answer = await drive(guarded(), "GET", "/", headers={name: SECRET})
    assert (answer.status, answer.body) == (200, b"team-a")
    assert (await drive(guarded(), "GET", "/", headers={name: " "})).json()["error"]["code"] is None
    assert (await drive(guarded(), "GET", "/", headers={name: "sk-wrong"})).json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([("x-api-key", SECRET), ("authorization", "Bearer My API Key")], b"b"),
        ([("api-key", "My API Key"), ("x-api-key", SECRET)], b"team-a"),
        ([("authorization", "Basic abc"), ("api-key", SECRET)], b"team-a"),
        ([("authorization", f"Bearer {SECRET}"), ("authorization", "Bearer My API Key")], b"team-a"),
    ],
)
async def test_of_several_keys_bearer_counts_then_x_api_key_then_api_key(headers, key):
    assert (await drive(guarded(), "GET", "/", headers=headers)).body == key


NOW = datetime(2026, 6, 1, tzinfo=UTC)
LAST, NEXT = NOW - timedelta(microseconds=1), NOW + timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"disabled": True}, "disabled"),
        ({"expires": NOW}, "expired"),
        ({"expires": LAST}, "expired"),
        ({"not_before": NEXT}, "not yet valid"),
        ({"not_after": NOW}, "revoked or replaced"),
        ({"expires": NEXT, "not_before": NOW, "not_after": NEXT}, None),
    ],
)
async def test_a_key_that_is_not_valid_now_is_401_with_the_reason(entry, said):
    auth = Auth([{"id": "a", "secret": SECRET} | entry], now=lambda: NOW)
    answer = await drive(PluginMiddleware(app, plugins=[auth]), headers={"authorization": f"Bearer {SECRET}"})
    if said is None:
        assert answer.status == 200
    else:
        assert (answer.status, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert said in answer.json()["error"]["message"]
        assert SECRET not in answer.json()["error"]["message"]


async def test_a_key_ends_while_it_is_in_use():
    moment = NOW
    auth = Auth([{"id": "a", "secret": SECRET, "expires": NEXT}], now=lambda: moment)
    guard = PluginMiddleware(app, plugins=[auth])
    headers = {"authorization": f"Bearer {SECRET}"}
    assert (await drive(guard, headers=headers)).status == 200
    moment = NEXT
    assert (await drive(guard, headers=headers)).status == 401


async def test_the_principal_carries_the_policy():
    seen = []

    async def look(scope, receive, send):
        seen.append(scope["crplugins.exchange"].principal)
        await app(scope, receive, send)

    entry = {"id": "a", "secret": SECRET, "team": "search", "models": ["m*"], "limits": {"requests_per_minute": 6}}
    await drive(PluginMiddleware(look, plugins=[Auth([entry])]), headers={"x-api-key": SECRET})
    assert seen == [Principal("a", team="search", models=("m*",), limits=Limits(requests_per_minute=6))]


class Source:
    """A source that raises, and writes down its life."""

    def __init__(self, error):
        self.error, self.life = error, []

    async def find(self, secret):
        raise self.error

    async def __aenter__(self):
        self.life.append("open")
        return self

    async def __aexit__(self, *_):
        self.life.append("closed")


async def test_a_source_out_of_reach_is_503_never_401():
    answer = await drive(
        PluginMiddleware(app, plugins=[Auth(Source(SourceUnavailable("db.internal:5432")))]),
        headers={"x-api-key": SECRET},
    )
    assert (answer.status, answer.json()["error"]["type"], answer.headers["retry-after"]) == (503, "server_error", "2")
    assert "db.internal" not in answer.body.decode()


async def test_a_refused_token_is_401_with_the_reason_of_its_source():
    refused = SecretRefused("wrong_audience", "This token was issued for another service.")
    answer = await drive(PluginMiddleware(app, plugins=[Auth(Source(refused))]), headers={"x-api-key": SECRET})
    assert (answer.status, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert answer.json()["error"]["message"] == "This token was issued for another service."


async def test_the_source_lives_as_long_as_the_plugin():
    auth = Auth(source := Source(None))
    async with auth:
        assert source.life == ["open"]
    assert source.life == ["open", "closed"]


async def test_refusals_are_counted_by_reason_and_logged_with_the_request_and_nothing_else(caplog):
    caplog.set_level(logging.DEBUG)
    auth = Auth([{"id": "a", "secret": SECRET, "disabled": True}])
    guard = PluginMiddleware(app, plugins=[auth])
    for headers in (
        {},
        {"x-api-key": SECRET},
        {"x-api-key": "sk-wrong-0123456789"},
        {"x-api-key": "sk-wrong-0123456789"},
    ):
        answer = await drive(guard, headers=headers)
    assert auth.refusals == {"missing": 1, "disabled": 1, "unknown": 2}
    assert caplog.messages[-1] == f"request {answer.headers['x-request-id']} refused: API key unknown"
    assert caplog.records[-1].levelname == "WARNING"  # which a gateway shows by default
    assert SECRET not in caplog.text
    assert "sk-wrong" not in caplog.text


async def test_every_path_is_guarded_but_the_public_ones():
    assert (await ask(None, "GET", "/anything")).status == 401
    assert (await ask(None, "GET", "/healthz")).status == 200
    assert (await ask(None, "GET", "/anything", public_paths=["/anything"])).status == 200


async def test_no_chat_completion_is_below_a_public_path_unless_it_is_named():
    below, chat = "/pages/chat/completions", "/v1/chat/completions"
    assert (await ask(None, "GET", "/pages/a", public_paths=["/pages/*"])).status == 200
    assert (await ask(None, "POST", below, public_paths=["/pages/*"])).status == 401
    assert (await ask(None, "POST", chat, public_paths=[chat])).status == 200


def test_no_secret_is_in_any_repr():
    key = InlineKey("a", SECRET)
    auth = Auth([key])
    assert SECRET not in repr(key) + repr(auth) + repr(vars(auth)) + repr(vars(auth.source)) + repr(auth.source.keys)


# Inside somebody else's authentication.


class Found(Plugin):
    async def on_request(self, exchange):
        exchange.principal = Principal("host-user")


@pytest.mark.parametrize(("keys", "status"), [([], 200), ([InlineKey("team-a", SECRET)], 401)])
async def test_only_without_keys_of_its_own_it_takes_whom_somebody_further_out_has_found(keys, status):
    answer = await drive(PluginMiddleware(app, plugins=[Found(), Auth(keys)]))
    assert answer.status == status
    assert (answer.body == b"host-user") == (status == 200)
    assert (await drive(PluginMiddleware(app, plugins=[Auth(keys)]))).status == 401


HOUR = timedelta(hours=1)
BEGIN = datetime(2026, 6, 1, tzinfo=UTC)


async def asked_twice(guard, *headers):
    """The statuses of two requests with these headers: the second one may be answered from memory."""
    return [(await drive(guard, "POST", "/v1/chat/completions", headers=headers)).status for _ in range(2)]


async def test_a_header_that_was_good_is_refused_as_soon_as_its_key_ends_or_is_not_yet_valid():
    now = [BEGIN]
    keys = [{"id": "a", "secret": SECRET, "not_before": BEGIN, "expires": BEGIN + HOUR}]
    guard = PluginMiddleware(app, plugins=[Auth(keys, now=lambda: now[0])])
    statuses = []
    for now[0] in (BEGIN, BEGIN + 2 * HOUR, BEGIN, BEGIN - HOUR, BEGIN):
        statuses += await asked_twice(guard, ("authorization", f"Bearer {SECRET}"))
    assert statuses == [200, 200, 401, 401, 200, 200, 401, 401, 200, 200]


async def test_a_header_that_was_good_is_forgotten_when_the_file_of_its_key_changes(tmp_path):
    path = tmp_path / "keys.yaml"
    path.write_text(f"keys:\n- id: a\n  secret: {SECRET}\n- id: b\n  secret: sk-other\n")
    auth = Auth(FileKeys(path))
    guard, header = PluginMiddleware(app, plugins=[auth]), ("authorization", f"Bearer {SECRET}")
    async with auth:
        assert await asked_twice(guard, header) == [200, 200]
        await auth.source.store.set_disabled("a", disabled=True)
        assert await asked_twice(guard, header) == [401, 401]
        await auth.source.store.set_disabled("a", disabled=False)
        assert await asked_twice(guard, header) == [200, 200]
        await auth.source.store.revoke("a", datetime.now(UTC))
        assert await asked_twice(guard, header) == [401, 401]


async def test_no_header_is_remembered_for_a_key_that_another_header_has_shown():
    guard = guarded()
    both = [("authorization", "Basic dXNlcg=="), ("x-api-key", SECRET)]
    assert await asked_twice(guard, *both) == [200, 200]
    assert await asked_twice(guard, both[0]) == [401, 401]
    assert await asked_twice(guard, ("authorization", f"Bearer {SECRET}")) == [200, 200]
    assert await asked_twice(guard, ("authorization", f"Bearer {SECRET}x"), both[1]) == [401, 401]


async def test_one_header_is_remembered_for_a_key_however_it_is_spelt_and_none_of_a_stranger():
    auth = Auth([InlineKey("a", SECRET)])
    guard = PluginMiddleware(app, plugins=[auth])
    for number in range(50):
        assert await asked_twice(guard, ("authorization", f"Bearer {' ' * number}{SECRET}")) == [200, 200]
        assert await asked_twice(guard, ("authorization", f"Bearer {SECRET}{number}")) == [401, 401]
    assert len(auth.source.key_table.shown) == 1


async def realtime(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


def talking(**options) -> Starlette:
    """An app of one's own with a model that listens and speaks, as vLLM, SGLang and LiteLLM have one."""
    host = Starlette(routes=[WebSocketRoute("/v1/realtime", realtime)])
    keys = [{"id": "team-a", "secret": SECRET}, {"id": "off", "secret": "sk-off-0123456789abcdef", "disabled": True}]
    host.add_middleware(PluginMiddleware, plugins=[Auth(keys, **options)])
    return host


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "api-key"])
def test_a_websocket_is_opened_with_a_key(header):
    shown = f"Bearer {SECRET}" if header == "authorization" else SECRET
    for started in (False, True):
        client = TestClient(talking())
        with (
            client if started else nullcontext(),
            client.websocket_connect("/v1/realtime", headers={header: shown}) as socket,
        ):
            assert socket.receive_text() == "hello"


@pytest.mark.parametrize("shown", [None, "Bearer sk-wrong", f"Basic {SECRET}", "Bearer sk-off-0123456789abcdef"])
@pytest.mark.parametrize(
    "path", ["/v1/realtime", "/v1/realtime?api_key=" + SECRET, "/v1/realtime/../realtime", "/other"]
)
def test_a_websocket_without_a_good_key_reaches_nobody(shown, path):
    headers = {} if shown is None else {"authorization": shown}
    with TestClient(talking()) as client, pytest.raises(WebSocketDisconnect) as closed:
        client.websocket_connect(path, headers=headers).__enter__()
    assert closed.value.code == 1008


def test_a_public_websocket_needs_no_key():
    client = TestClient(talking(public_paths=["/v1/realtime"]))
    with client.websocket_connect("/v1/realtime") as socket:
        assert socket.receive_text() == "hello"


async def test_no_websocket_is_opened_by_keys_that_cannot_be_read():
    class Broken(FileKeys):
        def __init__(self) -> None:
            pass

        async def __aenter__(self):
            raise OSError("no keys")

    sent = []

    async def send(message):
        sent.append(message)

    boundary = PluginMiddleware(app, plugins=[Auth(Broken())])
    await boundary({"type": "websocket", "path": "/v1/realtime", "headers": []}, None, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]
