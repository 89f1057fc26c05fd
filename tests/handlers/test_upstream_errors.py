"""What a client sees of an upstream's refusal."""

import json
from typing import Any

import pytest

from crplugins.handlers.error_bodies import read_error, read_refusal, status_of, with_told_wait
from crplugins.handlers.faults_of_requests import is_too_long
from crplugins.handlers.upstream_errors import scrub
from crplugins.testing import Script
from tests.gateway_setup import UPSTREAM_KEY

# status of the upstream, its error object -> status, type, param, code for the client
CASES = [
    (
        400,
        ("bad value", "invalid_request_error", "temperature", "x_code"),
        400,
        "invalid_request_error",
        "temperature",
        "x_code",
    ),
    (
        401,
        ("Incorrect API key", "invalid_request_error", None, "invalid_api_key"),
        502,
        "server_error",
        None,
        "upstream_auth",
    ),
    (402, ("pay first", "billing", None, None), 502, "server_error", None, "upstream_quota"),
    (403, ("pay", "permission_error", None, "insufficient_credits"), 502, "server_error", None, "upstream_quota"),
    (403, ("not allowed", "permission_error", None, None), 502, "server_error", None, "upstream_auth"),
    (
        404,
        ("no such model", "invalid_request_error", None, "model_not_found"),
        404,
        "invalid_request_error",
        None,
        "model_not_found",
    ),
    (409, ("conflict", "", None, "409"), 409, "invalid_request_error", None, None),
    (422, ("bad", "validation", "n", None), 422, "validation", "n", None),
    (429, ("slow", "tokens", None, "rate_limit_exceeded"), 429, "tokens", None, "rate_limit_exceeded"),
    (429, ("slow", "throttling_error", None, "429"), 429, "requests", None, "rate_limit_exceeded"),
    (
        429,
        ("You are over your quota.", "insufficient_quota", None, "insufficient_quota"),
        502,
        "server_error",
        None,
        "upstream_quota",
    ),
    (429, ("no money", "billing", None, "billing_not_active"), 502, "server_error", None, "upstream_quota"),
    (429, ("Error: insufficient balance", "", None, "1113"), 502, "server_error", None, "upstream_quota"),
    (
        429,
        ("This request would exceed your account's monthly spend limit.", "rate_limit_error", None, None),
        502,
        "server_error",
        None,
        "upstream_quota",
    ),
    (
        400,
        ("Your credit balance is too low.", "invalid_request_error", None, None),
        502,
        "server_error",
        None,
        "upstream_quota",
    ),
    (500, ("boom", "server_error", None, None), 500, "server_error", None, "upstream_error"),
    (503, ("busy", "server_error", None, None), 503, "server_error", None, "upstream_error"),
    (529, ("overloaded", "overloaded_error", None, None), 529, "server_error", None, "upstream_error"),
    (302, ("elsewhere", "", None, None), 502, "server_error", None, "upstream_error"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("status", "error", "seen", "type", "param", "code"), CASES)
async def test_each_refusal_keeps_its_meaning_but_never_blames_the_client_for_our_key(
    behind, status, error, seen, type, param, code, stream
):
    message, *rest = error
    async with behind() as gateway:
        gateway.provider.enqueue(Script.error(status, message, *rest))
        answer = await gateway.post(stream=stream)
        object_ = json.loads(answer.body)["error"]
        assert (answer.status, object_["type"], object_["param"], object_["code"]) == (seen, type, param, code)
        assert answer.headers["content-type"] == "application/json"
        if 400 <= seen < 500:
            assert object_["message"] == message
        else:
            assert message not in answer.text


async def test_the_wait_an_upstream_asks_for_reaches_the_client_and_its_other_headers_do_not(behind):
    async with behind() as gateway:
        headers = {"retry-after-ms": "1500", "x-ratelimit-remaining-requests": "0", "server": "secret-host"}
        gateway.provider.enqueue(Script.rate_limited(7, headers))
        answer = await gateway.post()
        assert (answer.headers["retry-after"], answer.headers["retry-after-ms"]) == ("7", "1500")
        assert "x-ratelimit-remaining-requests" not in answer.headers
        assert answer.headers.get("server") != "secret-host"


async def test_a_wait_that_no_header_may_hold_does_not_cost_the_refusal(behind):
    async with behind() as gateway:
        gateway.provider.enqueue(Script.rate_limited(7, {"retry-after-ms": "5 s\xe9condes"}))
        answer = await gateway.post()
        assert (answer.status, answer.headers["retry-after"], answer.headers.get("retry-after-ms")) == (429, "7", None)


@pytest.mark.parametrize(("sent", "seen"), [("5 s\xe9condes", "5"), ("\xe0 5 s", None), ("5.5\xb5", None)])
async def test_of_a_wait_with_words_outside_ascii_the_seconds_reach_the_client(behind, sent, seen):
    async with behind() as gateway:
        gateway.provider.enqueue(Script.rate_limited(None, {"retry-after": sent}))
        answer = await gateway.post()
        assert (answer.status, answer.headers.get("retry-after")) == (429, seen)


async def test_other_headers_outside_ascii_change_nothing(behind):
    async with behind() as gateway:
        gateway.provider.enqueue(Script(headers={"x-region": "\xcele-de-France"}))
        assert (await gateway.post()).status == 200


def googles(delay: str) -> dict[str, Any]:
    kind = "type.googleapis.com/google.rpc."
    details = [{"@type": f"{kind}QuotaFailure", "violations": []}, {"@type": f"{kind}RetryInfo", "retryDelay": delay}]
    return {"error": {"code": 429, "message": "Quota exceeded.", "status": "RESOURCE_EXHAUSTED", "details": details}}


@pytest.mark.parametrize(("handler", "prefix"), [("direct", "openai"), ("litellm", "openai"), ("litellm", "mistral")])
@pytest.mark.parametrize("listed", [False, True])
async def test_the_wait_that_google_tells_in_the_body_reaches_the_client(behind, handler, prefix, listed):
    body = json.dumps([googles("38.922534355s")] if listed else googles("38.922534355s")).encode()
    async with behind(handler=handler, prefix=prefix) as gateway:
        gateway.provider.default = Script(body=body, status=429, content_type="application/json")
        answer = await gateway.post()
    assert (answer.status, answer.headers.get("retry-after")) == (429, "39")


@pytest.mark.parametrize(
    ("delay", "seconds"), [("38s", "38"), ("0s", "0"), ("0.000s", "0"), ("0.5s", "1"), ("soon", None), ("-1s", None)]
)
def test_a_wait_in_a_body_is_whole_seconds(delay: str, seconds: str | None) -> None:
    body = json.dumps(googles(delay)).encode()
    assert with_told_wait({}, body).get("retry-after") == seconds
    assert with_told_wait({"retry-after": "7"}, body) == {"retry-after": "7"}
    assert with_told_wait({}, b'{"retryDelay": "1s"}') == with_told_wait({}, b'"retryDelay"') == {}


AXUMS = "Failed to deserialize the JSON body: messages[0]: missing field `content` at line 1 column 53"
TOO_LONG = "input is too long: `inputs` must have less than 4096 tokens"


@pytest.mark.parametrize("handler", ["direct", "litellm"])
@pytest.mark.parametrize(
    ("status", "text", "shown"),
    [
        (422, AXUMS, AXUMS),
        (400, f"key {UPSTREAM_KEY} is none\nat line 3", "key [redacted] is none"),
        (400, "<html>a page</html>", "The model provider refused the request."),
        (500, "thread 'main' panicked", "The model provider failed to answer. Please try again."),
    ],
)
async def test_a_refusal_in_plain_text_is_told_by_its_first_line(behind, handler, status, text, shown):
    async with behind(handler=handler) as gateway:
        gateway.provider.default = Script(body=text.encode(), status=status, content_type="text/plain")
        answer = await gateway.post()
    assert (answer.status, json.loads(answer.body)["error"]["message"]) == (status, shown)


def test_a_plain_text_says_that_a_prompt_is_too_long():
    assert is_too_long(422, read_refusal(TOO_LONG.encode()))
    assert read_refusal(b'{"error": {"message": "a"}}').message == "a"
    assert [read_refusal(body).message for body in (b"", b" ", b"<a>", b"{", b"[")] == [""] * 5


async def test_addresses_and_keys_in_a_refusal_are_redacted_for_the_client_and_in_the_log(behind, caplog):
    message = f"key {UPSTREAM_KEY} of org-AbC123456 refused by http://vllm-3.internal:8000/v1 (10.0.0.7:8000)"
    async with behind() as gateway:
        gateway.provider.enqueue(Script.error(400, message))
        answer = await gateway.post()
    assert (
        json.loads(answer.body)["error"]["message"] == "key [redacted] of [redacted] refused by [redacted] ([redacted])"
    )
    assert UPSTREAM_KEY not in caplog.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("litellm.RateLimitError: RateLimitError: OpenAIException - slow down", "slow down"),
        ("see https://example.com/a?b=c.", "see [redacted]"),
        ("at 127.0.0.1:9100 and [::1]:9100", "at [redacted] and [redacted]"),
        ("host vllm:8000 refused", "host [redacted] refused"),
        ("Authorization: Bearer abcdef", "Authorization: [redacted]"),
        ("sk-proj-****MxYA is wrong", "[redacted] is wrong"),
        (
            "Expected a value <= 2, but got 3 instead (at 12:30).",
            "Expected a value <= 2, but got 3 instead (at 12:30).",
        ),
        ("key_value_pairs in messages[0].tool-calls v1.2.3", "key_value_pairs in messages[0].tool-calls v1.2.3"),
        ("", ""),
    ],
)
def test_scrubbing_takes_what_identifies_the_upstream_and_leaves_the_rest(text, expected):
    assert scrub(text) == expected


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        (b'{"error":{"message":"a","code":"c"}}', "a", "c"),
        (b'{"error":{"message":"a","code":429}}', "a", "429"),
        (b'{"error":"a"}', "a", None),
        (b'{"object":"error","message":"a","code":40001}', "a", "40001"),
        (b'{"detail":"a"}', "a", None),
        (b'[{"error":{"message":"a","code":400,"status":"INVALID_ARGUMENT"}}]', "a", "400"),
        (b'{"error":{"error":{"message":"a","code":"c"}}}', "a", "c"),
        (b'{"detail":{"error":{"message":"a","code":"c"}}}', "a", "c"),
        (b'{"code":1301,"msg":"a"}', "a", "1301"),
        (b'{"base_resp":{"status_code":1002,"status_msg":"a"},"choices":null}', "a", None),
        (rb'{"error":{"message":"a\ud83d","code":"c"}}', "a\ufffd", "c"),
        (b'{"error":' * 50 + b'"deep"' + b"}" * 50, "", None),
        (b'{"error":{"message":["a"],"param":3,"code":true}}', "", None),
        (b"<html>", "", None),
        (b"\xff", "", None),
        (b"[" * 100_000, "", None),
        (b"", "", None),
    ],
)
def test_every_known_shape_of_an_error_body_is_read(body, message, code):
    error = read_error(body)
    assert (error.message, error.code) == (message, code)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"code": 429}, 429),
        ({"code": "503"}, 503),
        ({"status_code": 400}, 400),
        ({"code": "oops"}, 502),
        ({"code": 200}, 502),
        ("text", 502),
        (None, 502),
    ],
)
def test_an_error_in_a_stream_names_its_status_or_counts_as_502(error, status):
    assert status_of(error) == status
