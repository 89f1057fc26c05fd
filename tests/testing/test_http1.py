import pytest

from crplugins.testing.http1 import BadRequestError, RequestParser, chunk, response_head

PLAIN = b"POST /v1/x?y=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_requests_are_read_from_any_pieces_one_after_the_other(size: int) -> None:
    parser, data, found = RequestParser(), PLAIN + CHUNKED + PLAIN, []
    for start in range(0, len(data), size):
        parser.feed(data[start : start + size])
        while request := parser.next_request():
            found.append(request)
    assert [(request.method, request.target, request.body) for request in found] == [
        ("POST", "/v1/x?y=1", b"hello"),
        ("POST", "/c", b"hello"),
        ("POST", "/v1/x?y=1", b"hello"),
    ]
    assert found[0].headers == {"host": "h", "content-length": "5"}
    assert all(request.keep_alive for request in found)


def test_a_client_may_ask_to_close() -> None:
    for head in (b"GET / HTTP/1.1\r\nConnection: Close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"):
        parser = RequestParser()
        parser.feed(head)
        request = parser.next_request()
        assert request is not None
        assert not request.keep_alive


def test_a_client_may_wait_for_the_go_ahead() -> None:
    parser = RequestParser()
    parser.feed(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert parser.next_request() is None
    assert parser.wants_continue
    parser.feed(b"ok")
    assert parser.next_request() is not None
    assert not parser.wants_continue


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"x" * 70_000,
    ],
)
def test_bytes_that_are_no_request_are_refused(data: bytes) -> None:
    parser = RequestParser()
    parser.feed(data)
    with pytest.raises(BadRequestError):
        parser.next_request()


def test_heads_and_chunks_are_written_as_http_wants() -> None:
    assert response_head(404, [("a", "b")]) == b"HTTP/1.1 404 Not Found\r\na: b\r\n\r\n"
    assert response_head(499, []).startswith(b"HTTP/1.1 499 Unknown")
    assert chunk(b"x" * 17) == b"11\r\n" + b"x" * 17 + b"\r\n"
