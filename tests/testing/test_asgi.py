import pytest

from crplugins.testing.asgi import http_scope, request_messages


def test_a_scope_has_what_servers_send() -> None:
    scope = http_scope("POST", "/v1/a%20b?x=1&y", {"Authorization": "Bearer k"}, has_body=True)
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/v1/a b", b"/v1/a%20b", b"x=1&y")
    assert scope["headers"] == [
        (b"host", b"testserver"),
        (b"content-type", b"application/json"),
        (b"authorization", b"Bearer k"),
    ]


def test_given_headers_replace_the_defaults_and_may_repeat() -> None:
    pairs = [("Content-Type", "text/plain"), ("X-A", "1"), ("x-a", "2")]
    scope = http_scope("POST", "/", pairs, has_body=True)
    assert scope["headers"][1:] == [(b"content-type", b"text/plain"), (b"x-a", b"1"), (b"x-a", b"2")]


@pytest.mark.parametrize(("body", "sent"), [(None, b""), (b"x", b"x"), ("ü", b"\xc3\xbc"), ({"a": [1]}, b'{"a":[1]}')])
def test_a_body_is_one_message(body: object, sent: bytes) -> None:
    assert request_messages(body) == [{"type": "http.request", "body": sent, "more_body": False}]


def test_chunks_are_several_messages() -> None:
    messages = request_messages(chunks=[b"a", b"", b"b"])
    assert [(one["body"], one["more_body"]) for one in messages] == [(b"a", True), (b"", True), (b"b", False)]
    with pytest.raises(ValueError, match="not both"):
        request_messages(b"a", [b"b"])
