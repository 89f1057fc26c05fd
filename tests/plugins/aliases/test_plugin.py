"""ModelAliases alone before an app, driven by hand."""

import json
import logging

import msgspec
import pytest

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.body import Body
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, Timings
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Principal
from crplugins.core.sse import Splitter
from crplugins.keys.aliases import AliasError, parse_aliases
from crplugins.plugins.aliases.plugin import RENAMING, ModelAliases
from crplugins.plugins.aliases.table import AliasCycle
from crplugins.testing import drive
from tests.core.dialects.responses_streams import frames
from tests.core.doubles import JSON, App, Watcher, Wrapped, messages
from tests.steps import lines_of

ALIASES = {"fast": "real-1", "gpt-3.5*": "real-1", "quick": "fast"}
ANSWER = b'{ "id":"c", "model":"real-1-2024", "seed":123456789012345678901234567890, "x":"\\u00e9" }'
CHUNKS = [
    b'data: {"id":"c","model":"real-1-2024","choices":[{"index":0,"delta":{"content":"\\"model\\":\\"real-1\\""}}]}\n\n',
    b": ping\n\n",
    b'data: {"id":"c","model":"real-1-2024","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\r\n\r\n',
    b"data: [DONE]\n\n",
]


class Login(Plugin):
    """Stands for Auth."""

    every_path = True

    def __init__(self, principal):
        self.principal = principal

    async def on_request(self, exchange):
        exchange.principal = self.principal


def before(app, *, principal=None, watcher=None, **options):
    plugins = [Login(principal), ModelAliases(**{"aliases": ALIASES} | options), *([watcher] if watcher else [])]
    return PluginMiddleware(app, plugins=plugins)


async def ask(app, model="fast", *, raw=None, body=(), **options):
    request = raw if raw is not None else {"model": model, "messages": [], **dict(body)}
    return await drive(before(app, **options), body=request)


@pytest.mark.parametrize(
    ("model", "served"), [("fast", "real-1"), ("gpt-3.5-turbo", "real-1"), ("quick", "real-1"), ("own", "own")]
)
async def test_the_app_gets_the_resolved_name_and_the_client_the_requested_one(model, served):
    app, watcher = App(ANSWER, content_type=JSON), Watcher()
    answer = await ask(app, model, watcher=watcher)
    assert json.loads(app.bodies[0])["model"] == served
    assert answer.body == ANSWER.replace(b"real-1-2024", model.encode())
    assert answer.headers["content-length"] == str(len(answer.body))
    assert (watcher.exchange.requested_model, watcher.exchange.served_model) == (model, served)


async def test_only_the_name_changes_in_the_request():
    app = App(ANSWER, content_type=JSON)
    raw = (
        b'{ "seed": 123456789012345678901234567890, "model" : "fa\\u0073t",\n "messages":[{"model":"fast"}],"t":1.50 }'
    )
    await ask(app, raw=raw)
    assert app.bodies == [raw.replace(b'"fa\\u0073t"', b'"real-1"')]


async def test_a_request_whose_name_stays_is_the_very_same_bytes():
    app = App(ANSWER, content_type=JSON)
    raw = b'{"model":"own"}'
    await ask(app, raw=raw)
    assert app.bodies_received[0]["body"] is raw


async def test_every_chunk_of_a_stream_is_renamed_and_nothing_else():
    answer = await ask(App(*CHUNKS), body={"stream": True})
    assert answer.body == b"".join(CHUNKS).replace(b"real-1-2024", b"fast")


async def test_an_answer_that_already_has_the_name_passes_as_the_same_objects():
    chunk = b'data: {"model":"fast","choices":[]}\n\n'
    answer = await ask(App(chunk, CHUNKS[1]), body={"stream": True})
    assert answer.messages[1]["body"] is chunk


@pytest.mark.parametrize("size", [7, 1 << 20])
async def test_recorded_streams_come_out_with_the_requested_name_and_otherwise_unchanged(cassettes, size):
    for cassette in cassettes.values():
        if not cassette.is_stream or cassette.id == "anthropic-cache-ping":
            continue
        data, expected = cassette.data, cassette.data
        names = {json.loads(line[6:]).get("model") for line in data.split(b"\n") if line.startswith(b"data: {")}
        for name in names - {None}:
            expected = expected.replace(f'"model":"{name}"'.encode(), b'"model":"fast"')
        app = App(*(data[at : at + size] for at in range(0, len(data), size)))
        answer = await ask(app, body={"stream": True})
        if cassette.id == "groq-midstream-error":
            expected += b"data: [DONE]\n\n"  # the end mark follows an app's own error
        assert answer.body == expected, cassette.id
        assert names & {None} or expected.count(b'"model":"fast"') > 1


async def test_response_model_served_leaves_the_providers_name():
    answer = await ask(App(*CHUNKS), response_model="served")
    assert answer.body == b"".join(CHUNKS)
    error = b'{"error":{"message":"no `real-1`"}}'
    assert (await ask(App(error, status=404, content_type=JSON), response_model="served")).body == error


@pytest.mark.parametrize(
    "body",
    [
        '{"error":{"message":"The model `%s` does not exist.","type":"x","param":null,"code":404}}',
        '{"object":"error","message":"The model `%s` does not exist.","code":404}',
        '{"detail":[{"input":{"model":"%s"}}]}',
        '{"error":"%s is overloaded, real-1-large is not"}',
    ],
)
async def test_an_error_names_the_requested_model(body):
    answer = await ask(App((body % "real-1").encode(), status=404, content_type=JSON), "quick")
    assert answer.body.decode() == body % "quick"


async def test_an_error_in_mid_stream_names_the_requested_model():
    frame = b'data: {"error":{"message":"real-1-2024 and `fast` (real-1) broke"},"choices":[]}\n\n'
    answer = await ask(App(CHUNKS[0], frame), "quick", body={"stream": True})
    assert answer.body.endswith(
        b'data: {"error":{"message":"quick and `quick` (quick) broke"},"choices":[]}\n\ndata: [DONE]\n\n'
    )


NAMED = {"code": "server_error", "message": "`real-1` is overloaded"}
FAILED = {"object": "response", "model": "real-1", "status": "failed", "output": [{"type": "text", "text": "real-1"}]}


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ({"type": "error", **NAMED, "param": None}, lambda event: event["message"]),
        ({"type": "error", "message": "real-1", "error": NAMED}, lambda event: event["error"]["message"]),
        ({"type": "response.failed", "response": FAILED | {"error": NAMED}},
         lambda event: event["response"]["error"]["message"]),
        ({"type": "response.failed", "response": FAILED | {"error": NAMED, "instructions": "x" * 100_000}},
         lambda event: event["response"]["error"]["message"]),
    ],
)  # fmt: skip
async def test_an_error_of_responses_names_the_requested_model_wherever_it_stands(event, told):
    app = App(frames([{"type": "response.created", "response": FAILED | {"status": "in_progress"}}, event]))
    answer = await drive(before(app), path="/v1/responses", body={"model": "quick", "input": "x", "stream": True})
    last = json.loads(Splitter().feed(answer.body)[-1].data)
    assert told(last) == "`quick` is overloaded"
    if "response" in last:
        assert last["response"].pop("output") == FAILED["output"]  # what the model has said stays
    assert "real-1" not in str(last)


@pytest.mark.parametrize(
    "error",
    [
        rb'{"error":{"message":"no real-1 \ud83d","type":"x","param":null,"code":null}}',
        b'{"error":{"message":"no real-1","type":"x","param":null,"code":null},"spent":NaN}',
        b'{"error":{"message":"no\treal-1","type":"x","param":null,"code":null}}',
    ],
)
async def test_an_error_that_only_lenient_parsers_read_names_the_requested_model(error):
    document = await ask(App(error, status=404, content_type=JSON), "quick")
    stream = await ask(App(b"data: " + error + b"\n\n"), "quick", body={"stream": True})
    for answer in (document, stream):
        assert b"real-1" not in answer.body
        assert b"quick" in answer.body.split(b'"error"')[1]


@pytest.mark.parametrize("said", [rb"\ud83d", b"a\tb", rb'x","other":NaN,"y":"\ude00'])
@pytest.mark.parametrize(
    "chunk",
    [
        b'{"id":"c","choices":[{"index":0,"delta":{"content":"%b"}}],"model":"real-1-2024"}',
        b'{"id":"c","model":"x","choices":[{"index":0,"delta":{"content":"%b"}}],"model": "real-1-2024"}',
        b'{"id":"c","model":"real-1-2024","choices":[{"index":0,"delta":{"content":"%b"}}]}',
        rb'{"id":"c","choices":[{"index":0,"delta":{"content":"%b"}}],"mod\u0065l":"real-1-2024"}',
    ],
)
async def test_a_chunk_that_only_lenient_parsers_read_has_the_requested_name(chunk, said):
    data = chunk % said
    stream = await ask(App(b"data: " + data + b"\n\n", b"data: [DONE]\n\n"), "quick", body={"stream": True})
    document = await ask(App(data, content_type=JSON), "quick")
    for answer in (stream.body.split(b"\n")[0].removeprefix(b"data: "), document.body):
        read, sent = (json.loads(each, strict=False) for each in (answer, data))
        assert read["model"] == "quick"
        assert repr(read["choices"]) == repr(sent["choices"])


async def test_a_header_that_is_the_served_name_becomes_the_requested_one():
    headers = [("openai-model", "real-1"), ("x-other", "real-1 and more")]
    answer = await ask(App(ANSWER, content_type=JSON, headers=headers))
    assert (answer.headers["openai-model"], answer.headers["x-other"]) == ("fast", "real-1 and more")
    answer = await ask(App(ANSWER, content_type=JSON, headers=headers), "a\r\nb: c", aliases={"a*": "real-1"})
    assert answer.headers["openai-model"] == ""


async def test_the_name_that_a_handler_sent_is_hidden_in_headers_too():
    async def handler(scope, receive, send):
        scope["crplugins.exchange"].served_model = "vendor/real-1"
        for message in messages(ANSWER, content_type=JSON, headers=[("openai-model", "vendor/real-1")]):
            await send(message)

    assert (await ask(handler)).headers["openai-model"] == "fast"


async def test_a_name_hidden_from_the_key_and_an_unknown_one_get_the_same_answer():
    principal = Principal("k", models=("fast",))
    app = App(ANSWER, content_type=JSON)
    hidden, unknown = [await ask(app, name, principal=principal) for name in ("real-1", "not-there")]
    assert hidden.status == unknown.status == 404
    assert hidden.body == unknown.body.replace(b"not-there", b"real-1")
    assert hidden.json()["error"] == {
        "message": "The model `real-1` does not exist or you do not have access to it.",
        "type": "invalid_request_error", "param": None, "code": "model_not_found",
    }  # fmt: skip
    assert not app.called


async def test_a_hidden_name_is_403_where_that_is_configured():
    answer = await ask(App(), "real-1", principal=Principal("k", models=()), hidden_status=403)
    assert answer.status == 403
    assert answer.json()["error"] == {
        "message": "This key does not have access to model `real-1`",
        "type": "invalid_request_error", "param": None, "code": "model_not_found",
    }  # fmt: skip


@pytest.mark.parametrize("models", [None, ("quick",), ("fast",), ("real-1",), ("real-*",)])
async def test_a_key_may_call_a_name_if_any_step_of_its_chain_is_allowed(models):
    assert (await ask(App(ANSWER, content_type=JSON), "quick", principal=Principal("k", models=models))).status == 200


@pytest.mark.parametrize("raw", [b"{}", b'{"model":null}'])
async def test_a_key_with_a_list_cannot_reach_an_apps_default_model_by_naming_none(raw):
    app = App(ANSWER, content_type=JSON)
    answer = await ask(app, raw=raw, principal=Principal("k", models=("fast",)))
    assert (answer.status, answer.json()["error"]["message"]) == (400, "you must provide a model parameter")
    assert (await ask(app, raw=raw)).body == ANSWER
    assert app.bodies == [raw]


async def test_a_keys_aliases_come_first_then_its_teams_then_the_gateways():
    app = App(ANSWER, content_type=JSON)
    teams = {"search": {"fast": "team-model", "deep": "team-deep"}}
    principal = Principal("k", team="search", aliases=parse_aliases({"deep": "own-deep"}))
    plugin = before(app, principal=principal, teams=teams)
    for model in ("deep", "fast", "gpt-3.5", "deep"):
        await drive(plugin, body={"model": model})
    assert [json.loads(body)["model"] for body in app.bodies] == ["own-deep", "team-model", "real-1", "own-deep"]


async def test_a_key_whose_map_was_replaced_is_resolved_by_the_new_one():
    app, login = App(ANSWER, content_type=JSON), Login(None)
    plugin = PluginMiddleware(app, plugins=[login, ModelAliases()])
    for team, target in (("a", "one"), ("a", "two"), ("b", "three")):
        login.principal = Principal("k", team=team, aliases=parse_aliases({"m": target}))
        await drive(plugin, body={"model": "m"})
    assert [json.loads(body)["model"] for body in app.bodies] == ["one", "two", "three"]


async def test_a_cycle_of_a_keys_own_aliases_fails_its_request_alone(caplog):
    app = App(ANSWER, content_type=JSON)
    principal = Principal("k", aliases=parse_aliases({"real-1": "fast"}))
    answer = await ask(app, "fast", principal=principal)
    assert (answer.status, app.called) == (500, False)
    assert "'fast' -> 'real-1' -> 'fast'" in caplog.text
    assert (await ask(app, "other", principal=principal)).status == 200


async def served_by(principal, *bodies):
    app = App(ANSWER, content_type=JSON)
    canary = {"canary": [{"model": "a", "weight": 1}, {"model": "b", "weight": 1}]}
    for body in bodies:
        await ask(app, "canary", body=body, principal=principal, aliases=canary)
    return [json.loads(body)["model"] for body in app.bodies]


async def test_a_weighted_alias_is_sticky_by_key_and_by_the_requests_user():
    keys = [await served_by(Principal(f"key-{number}"), {}, {}, {}) for number in range(20)]
    assert all(len(set(targets)) == 1 for targets in keys)
    assert {targets[0] for targets in keys} == {"a", "b"}
    users = [{"user": f"u{number}"} for number in range(20)]
    once, again = await served_by(Principal("k"), *users), await served_by(Principal("k"), *users)
    assert once == again
    assert set(once) == {"a", "b"}


async def test_a_weighted_alias_without_anybody_to_stick_to_goes_by_the_weights():
    assert set(await served_by(None, *([{}] * 40))) == {"a", "b"}


async def test_two_boundaries_around_a_foreign_layer_show_the_name_the_client_asked_for():
    app = App(ANSWER, content_type=JSON)
    inner = PluginMiddleware(app, plugins=[ModelAliases(aliases={"fast": "real-1"})])
    outer = PluginMiddleware(Wrapped(inner), plugins=[ModelAliases(aliases={"quick": "fast"})])
    answer = await drive(outer, body={"model": "quick"})
    assert json.loads(app.bodies[0])["model"] == "real-1"
    assert answer.json()["model"] == "quick"


async def test_the_model_list_of_a_foreign_app_is_left_alone():
    models = b'{"data":[{"id":"real-1"}]}'
    answer = await drive(before(App(models, content_type=JSON)), "GET", "/v1/models")
    assert answer.body == models


async def test_a_malformed_body_is_refused_before_anything_is_resolved():
    assert (await ask(App(), raw=b"oops")).status == 400


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"aliases": {"a": "b", "b": "a"}}, AliasCycle),
        ({"teams": {"t": {"a": 3}}}, AliasError),
        ({"response_model": "other"}, ValueError),
        ({"hidden_status": 401}, ValueError),
    ],
)
def test_what_cannot_be_used_is_refused_at_construction(options, error):
    with pytest.raises(error):
        ModelAliases(**options)


async def test_warnings_are_listed_and_logged_when_the_app_starts(caplog):
    plugin = ModelAliases(aliases={"big": "mini"}, served=["big", "mini"])
    assert plugin.warnings == ["the alias 'big' of the gateway hides the served model 'big'"]
    with caplog.at_level(logging.WARNING, "crplugins.plugins"):
        async with plugin:
            pass
    assert plugin.warnings[0] in caplog.text


def resolved(plugin, model, principal=None):
    """What the plugin makes of a request for `model`, and how many lines of Python it runs for that."""
    exchange = Exchange(
        "id", "POST", "/v1/chat/completions", [], None, lambda: 0.0, Timings(0.0), requested_model=model
    )
    exchange.body, exchange.principal = Body.of_request(msgspec.json.encode({"model": model})), principal

    return exchange, lines_of(lambda: plugin.on_request(exchange))


@pytest.mark.parametrize("principal", [None, Principal("k", models=("real",)), Principal("k", models=("c0",))])
def test_a_long_chain_is_resolved_once_and_hides_all_its_names(principal):
    chain = {f"c{number}": f"c{number + 1}" for number in range(199)} | {"c199": "real"}
    plugin = ModelAliases(aliases=chain)
    (first, before), (again, after) = resolved(plugin, "c0", principal), resolved(plugin, "c0", principal)
    short = ModelAliases(aliases={"c0": "real"})
    resolved(short, "c0", principal)
    assert first.served_model == again.served_model == "real"
    assert first.body.raw == again.body.raw == b'{"model":"real"}'
    assert RENAMING.get(again).hidden == {*chain, "real"} - {"c0"}
    assert after < before / 10
    assert after <= resolved(short, "c0", principal)[1] + 2 * 200, (
        "but for a look at each of its names in an allow-list"
    )


def test_a_name_is_remembered_for_each_view_alone_and_a_key_that_may_not_call_it_is_refused_still():
    plugin = ModelAliases(aliases={"m": "real"}, teams={"t": {"m": "teams"}})
    own = Principal("own", team="t", aliases=parse_aliases({"m": "mine"}))
    for _ in range(2):
        assert resolved(plugin, "m")[0].served_model == "real"
        assert resolved(plugin, "m", Principal("k", team="t"))[0].served_model == "teams"
        assert resolved(plugin, "m", own)[0].served_model == "mine"
        assert resolved(plugin, "m", Principal("k", models=("real",)))[0].served_model == "real"
        with pytest.raises(GatewayError):
            resolved(plugin, "m", Principal("k", models=("other",)))


def test_names_that_a_client_invents_are_forgotten_and_long_ones_never_kept():
    plugin = ModelAliases(aliases={"a*": "real"})
    for number in range(5_000):
        resolved(plugin, f"a{number}")
    resolved(plugin, "a" * 100_000)
    assert len(plugin._resolved) <= 4_096
    assert max(len(name) for _, name in plugin._resolved) < 1_000


async def test_a_chain_of_a_keys_own_aliases_that_never_seems_to_end_fails_its_request_alone(caplog):
    app = App(ANSWER, content_type=JSON)
    principal = Principal("k", aliases=parse_aliases({f"c{number}": f"c{number + 1}" for number in range(1_500)}))
    answer = await ask(app, "c0", principal=principal)
    assert (answer.status, app.called) == (500, False)
    assert "'c0' leads through more than 256 aliases" in caplog.text
    assert (await ask(app, "other", principal=principal)).status == 200
