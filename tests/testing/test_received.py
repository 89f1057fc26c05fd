import hashlib

import pytest

from crplugins.testing.received import HttpRequest, received, reported_usage


def request(body: bytes = b"{}", **headers: str) -> HttpRequest:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpRequest("POST", "/v1/chat/completions?x=1", names, body)


def test_the_key_is_kept_apart_from_the_headers_and_out_of_the_repr() -> None:
    entry = received(1, request(authorization="Bearer My API Key", user_agent="x"))
    assert entry.headers == {"user-agent": "x"}
    assert entry.bearer == entry.api_key == "My API Key"
    assert entry.authorization_digest == hashlib.sha256(b"My API Key").hexdigest()
    assert "My API Key" not in repr(entry)


def test_keys_of_other_providers_are_found() -> None:
    assert received(1, request(x_api_key="k1")).api_key == "k1"
    assert received(1, request(api_key="k2")).api_key == "k2"
    basic = received(1, request(authorization="Basic eDp5"))
    assert (basic.bearer, basic.api_key, basic.authorization_digest) == (None, None, None)


@pytest.mark.parametrize("body", [b"", b"{", b'{"a":"\xff"}'])
def test_a_body_that_is_no_json_is_none(body: bytes) -> None:
    entry = received(1, request(body))
    assert (entry.json, entry.model, entry.body) == (None, None, body)


def test_the_model_is_read_from_the_body() -> None:
    assert received(1, request(b'{"model":"m"}')).model == "m"
    assert received(1, request(b'{"model":1}')).model is None
    assert received(1, request(b"[1]")).model is None


def test_the_last_usage_of_the_frames_counts() -> None:
    first = b'data: {"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
    last = b'data:{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n'
    null = b'data: {"usage":null}\n\n'
    assert reported_usage([first, last, null, b"data: [DONE]\n\n"]) == (3, 4)
    assert reported_usage([b'{"usage":{"prompt_tokens":5,"completion_tokens":6.0}}']) == (5, 6)
    assert reported_usage([null, b'data: {"prompt_tokens', b""]) is None


async def test_waiting_for_the_end_of_an_answer_is_bounded() -> None:
    entry = received(1, request())
    with pytest.raises(TimeoutError):
        await entry.wait_finished(within=0.01)
    entry.progress.finished.set()
    assert await entry.wait_finished() is entry
