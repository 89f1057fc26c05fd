"""What may be sent before a key is seen: every form of it ends with an answer or with the connection, and harms nobody."""

import pytest

from tests.attacks.house import House, http, send

KEYLESS = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
CHUNKED = KEYLESS + b"transfer-encoding: chunked\r\n\r\n"
LARGE = 100_000

# name -> bytes, the statuses that may come; none where the server closes without a word.
SENT: dict[str, tuple[bytes, set[int]]] = {
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400}),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\nhost: x\r\n\r\n", {400}),
    "HTTP/3.0": (b"GET / HTTP/3.0\r\nhost: x\r\n\r\n", {400}),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200, {400}),
    "SSH": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", {400}),
    "SOCKS": (b"\x05\x01\x00", {400}),
    "a proxy's line": (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n", {400}),
    "CONNECT": (b"CONNECT other:443 HTTP/1.1\r\nhost: x\r\n\r\n", {400}),
    "an authority": (b"POST other:443 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", {400}),
    "an asterisk": (b"OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", {400, 401, 404}),
    "no target": (b"GET  HTTP/1.1\r\nhost: x\r\n\r\n", {400}),
    "a small method": (b"post / HTTP/1.1\r\nhost: x\r\n\r\n", {400}),
    "an unknown method": (b"P0ST / HTTP/1.1\r\nhost: x\r\n\r\n", {400}),
    "a method of 100 KB": (b"P" * LARGE + b" / HTTP/1.1\r\n\r\n", {400, 431}),
    "a target of 100 KB": (b"GET /" + b"a" * LARGE + b" HTTP/1.1\r\nhost: x\r\n\r\n", {431}),
    "a query of 100 KB": (b"GET /?" + b"a" * LARGE + b" HTTP/1.1\r\nhost: x\r\n\r\n", {431}),
    "a header of 100 KB": (KEYLESS + b"x: " + b"a" * LARGE + b"\r\n\r\n", {431}),
    "a name of 100 KB": (KEYLESS + b"a" * LARGE + b": x\r\n\r\n", {431}),
    "20,000 headers": (KEYLESS + b"a: b\r\n" * 20_000 + b"\r\n", {431}),
    "blank lines": (b"\r\n" * LARGE + KEYLESS + b"\r\n", {400, 431}),
    "cookies of 100 KB": (KEYLESS + b"cookie: a=b\r\n" * 8_000 + b"\r\n", {431}),
    "a header of NUL": (KEYLESS + b"x: \x00\r\n\r\n", {400}),
    "a header in Latin-1": (KEYLESS + b"x: \xff\xfe\r\n\r\n", {401}),
    "an offer of HTTP/2": (
        KEYLESS.replace(b"close", b"close, upgrade") + b"upgrade: h2c\r\ncontent-length: 2\r\n\r\n{}",
        {401},
    ),
    "an extension of 100 KB": (CHUNKED + b"1;" + b"a" * LARGE + b"\r\nx\r\n0\r\n\r\n", {401, 431}),
    "5,000 extensions": (CHUNKED + b"1;a=b\r\nx\r\n" * 5_000 + b"0\r\n\r\n", {401}),
    "trailers of 100 KB": (CHUNKED + b"0\r\n" + b"a: b\r\n" * 20_000 + b"\r\n", {401, 431}),
    "a chunk that is none": (CHUNKED + b"zz\r\n", {400, 401}),
    "a chunk without its end": (CHUNKED + b"1\r\nxy\r\n0\r\n\r\n", {400, 401}),
    "a large length": (KEYLESS + b"content-length: 99999999999\r\n\r\n", {401}),
    "a length of 40 digits": (KEYLESS + b"content-length: " + b"9" * 40 + b"\r\n\r\n", {400}),
    "an expectation": (KEYLESS + b"expect: 100-continue\r\ncontent-length: 10\r\n\r\n", {401}),
    "another expectation": (KEYLESS + b"expect: 200-ok\r\ncontent-length: 2\r\n\r\n{}", {401, 417}),
    "a range": (KEYLESS + b"range: bytes=" + b"0-," * 5_000 + b"\r\n\r\n", {401}),
    "an origin": (KEYLESS + b"origin: " + b"http://x," * 5_000 + b"\r\n\r\n", {401}),
    "accepted codings": (KEYLESS + b"accept-encoding: " + b"gzip;q=0.1," * 5_000 + b"\r\n\r\n", {401}),
    "forwarding headers": (KEYLESS + b"x-forwarded-for: " + b"1.1.1.1," * 5_000 + b"\r\nforwarded: " + b'for="[',  set()),
}  # fmt: skip


@pytest.mark.parametrize("name", SENT)
def test_it_ends_with_an_answer_or_with_the_connection(home: House, name: str) -> None:
    data, statuses = SENT[name]
    port = home.doors["direct"].port
    if not statuses:
        with pytest.raises(TimeoutError):  # what is not whole yet; `server.header_timeout_seconds` bounds it
            send(port, data, patience=0.2)
    else:
        answer = send(port, data)
        assert answer.status in statuses
        assert answer.error["message"]
    assert home.provider.asked == []
    assert send(port, http(b"/healthz", b"", key=None, method=b"GET")).status == 200
