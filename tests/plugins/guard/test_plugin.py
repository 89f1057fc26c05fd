"""RequestGuard: what it looks at, in which order, and that nothing else passes or breaks it."""

import pytest

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.plugins.guard.plugin import RequestGuard
from crplugins.testing import drive
from tests.plugins.guard.setup import bad_type, check, lacking, refusal, refused, with_changes
from tests.schema.samples import EVERYTHING, HI

NO_MODEL = refused("you must provide a model parameter", None, None)
UNPARSABLE = "We could not parse the JSON body of your request."


@pytest.mark.parametrize("raw", [b"", b"{", b'{"model": ', b"[]", b"null", b'"x"', b'{"model":"\xff"', b"\xff\xfe{}"])
def test_a_body_that_is_no_json_object_is_refused(raw):
    error = check(raw)
    assert (error.status, error.error.param, error.error.code) == (400, None, None)
    assert error.error.message.startswith(UNPARSABLE)


@pytest.mark.parametrize("model", [None, ""])
def test_a_request_needs_a_model(model):
    assert refusal(model=model) == NO_MODEL
    error = check({"messages": [HI]})
    assert (error.status, error.error.message) == (400, "you must provide a model parameter")


def test_a_model_is_a_string():
    assert refusal(model=["m"]) == bad_type("model", "a string", "an array")


def test_a_request_needs_messages():
    error = check({"model": "m"})
    assert (error.error.message, error.error.param, error.error.code) == tuple(
        lacking("messages")[key] for key in ("message", "param", "code")
    )


def test_everything_at_once_passes():
    assert check(EVERYTHING) is None
    assert check(EVERYTHING, strict=True) is None


def test_an_unknown_parameter_is_forwarded_and_refused_if_strict():
    expected = refused("Unknown parameter: 'conformance_xyz'.", "conformance_xyz", "unknown_parameter")
    assert check(with_changes(conformance_xyz=1)) is None
    assert refusal(strict=True, conformance_xyz=1) == expected


def test_checks_go_from_the_model_over_the_names_and_the_messages_to_the_parameters():
    request = {"top_logprobs": 1, "n": 0, "xyz": 1}
    assert check(request, strict=True).error.message == NO_MODEL["message"]
    assert check(request := request | {"model": "m"}, strict=True).error.param == "messages"
    assert check(request := request | {"messages": []}, strict=True).error.param == "xyz"
    assert check(request).error.param == "messages"
    assert check(request := request | {"messages": [HI]}).error.param == "n"
    assert check(request | {"n": 1}).error.param == "top_logprobs"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_body_that_is_not_declared_as_json_is_refused(kind):
    assert check(with_changes(), **{"content-type": kind}).status == 415


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json", ""]
)
def test_every_spelling_of_json_and_none_at_all_is_taken(kind):
    assert check(with_changes(), **({"content-type": kind} if kind else {})) is None


INVALID_UTF8 = [
    b'"model":"\xff"',
    b'"model":"m","messages":[{"role":"user","content":"\xff"}]',
    b'"model":"m","messages":[{"role":"\xff"}]',
    b'"model":"m","messages":[{"\xff":1,"role":1}]',
    b'"model":"m","stream_options":{"\xff":1}',
    b'"model":"m","metadata":{"\xff":"x"}',
    b'"model":"m","verbosity":"\xff"',
    b'"model":"m","tools":[{"type":"\xff"}]',
    b'"model":"m","tools":[{"type":"function","function":{"name":"\xff"}}]',
]


@pytest.mark.parametrize("members", INVALID_UTF8)
def test_text_that_is_not_utf8_is_no_json(members):
    default = b'"messages":[{"role":"user","content":"hi"}],' if b'"messages"' not in members else b""
    assert check(b"{" + default + members + b"}").error.message.startswith(UNPARSABLE)


@pytest.mark.parametrize("name", [b"tools", b"metadata", b"messages", b"stop", b"model", b"x"])
def test_deep_nesting_is_refused_wherever_it_stands(name):
    deep = b"[" * 100_000 + b"]" * 100_000
    assert (
        check(b'{"model":"m","messages":[{"role":"user","content":"hi"}],"' + name + b'":' + deep + b"}").status == 400
    )


async def test_a_refusal_goes_out_before_the_app_is_reached():
    async def app(scope, receive, send):
        raise AssertionError("reached")

    answer = await drive(PluginMiddleware(app, plugins=[RequestGuard()]), body={"model": "m", "messages": []})
    assert (answer.status, answer.json()["error"]["code"]) == (400, "empty_array")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]


async def test_an_accepted_request_reaches_the_app_byte_for_byte():
    raw = b'{"messages" : [{"role":"user","content":"\\u00e9"}], "temperature":1.0, "model":"m", "seed":12345678901234567}'
    received = []

    async def app(scope, receive, send):
        received.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    answer = await drive(PluginMiddleware(app, plugins=[RequestGuard()]), body=raw)
    assert (answer.status, received) == (200, [raw])
