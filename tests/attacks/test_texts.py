"""Texts that leak: what a provider writes, wherever in its answer, tells a client no key, no address and no header."""

import gzip
import json

import pytest

from tests.attacks.house import (
    HANDLERS,
    UPSTREAM_KEY,
    Door,
    House,
    chunk,
    completion,
    events,
    refusal,
    response,
    streamed,
)

PLACE = "models.internal.example"
PAGE = f"<html>{UPSTREAM_KEY} at http://{PLACE}:8080/v1</html>".encode()
SECRETS = (UPSTREAM_KEY, UPSTREAM_KEY.upper(), PLACE, "10.9.8.7", "127.0.0.1", "hunter22", "c2stdXBzdHJlYW0")

HEADERS = (
    b"set-cookie: session=hunter22\r\nserver: models.internal.example\r\nx-request-id: hunter22\r\n"
    b"access-control-allow-origin: *\r\nopenai-organization: hunter22\r\nlocation: http://models.internal.example/\r\n"
    b"www-authenticate: Basic realm=hunter22\r\nvia: 1.1 models.internal.example\r\nx-ratelimit-limit-requests: 22\r\n"
)

ANSWERS: dict[str, bytes] = {
    "headers of an answer": response(completion(), head=HEADERS),
    "headers of a stream": streamed(events(chunk({"content": "x"}), chunk({}, "stop"))).replace(b"\r\n", b"\r\n" + HEADERS, 1),
    "headers of a refusal": refusal("slow down", "429 Too Many Requests", HEADERS),
    "headers of a failure": refusal("slow down", "503 Service Unavailable", HEADERS),
    "the reason of a status": response(b"", f"400 {UPSTREAM_KEY}"),
    "a key": refusal(f"bad key {UPSTREAM_KEY}"),
    "a key in capitals": refusal(f"bad key {UPSTREAM_KEY.upper()}"),
    "a key in HTML": refusal(f"<b>{UPSTREAM_KEY}</b>"),
    "a key in JSON in a text": refusal(json.dumps({"error": {"message": f"bad {UPSTREAM_KEY}"}})),
    "a key behind a line feed in JSON in a text": refusal(json.dumps({"a": f"\n{UPSTREAM_KEY}"})),
    "a key in a header in a text": refusal(f"sent Authorization: Bearer {UPSTREAM_KEY}"),
    "a key as type, param and code": refusal("no", type=UPSTREAM_KEY, param=UPSTREAM_KEY, code=UPSTREAM_KEY),
    "a key beside the error": response({"error": {"message": "no", "raw": UPSTREAM_KEY}, "debug": UPSTREAM_KEY}, "400 X"),
    "a key in a list": response([{"error": {"message": f"bad {UPSTREAM_KEY}", "code": 400}}], "400 X"),
    "a key in FastAPI's detail": response({"detail": [{"loc": ["body", UPSTREAM_KEY], "msg": UPSTREAM_KEY}]}, "422 X"),
    "a key as text": response(f"bad key {UPSTREAM_KEY}".encode(), "400 X", "text/plain"),
    "a page": response(PAGE, "400 X", "text/html"),
    "a page behind 200": response(PAGE, kind="text/html"),
    "a page behind 502": response(PAGE, "502 X", "text/html"),
    "a page in place of events": streamed(PAGE),
    "an error behind 200": response({"error": {"message": f"bad {UPSTREAM_KEY}", "code": 400}}),
    "an error in place of events": streamed(events({"error": {"message": f"bad {UPSTREAM_KEY}", "code": 400}})),
    "an error amid events": streamed(events(chunk({"content": "x"}), {"error": {"message": UPSTREAM_KEY, "code": 400}})),
    "fields of an error amid events": streamed(events(chunk({"content": "x"}), {"error": {"message": "no", "raw": UPSTREAM_KEY}})),
    "no JSON amid events": streamed(events(chunk({"content": "x"}), b'{"a": "' + UPSTREAM_KEY.encode())),
    "the event's own fields": streamed(b'event: error\ndata: {"error": {"message": "%b"}}\n\n' % UPSTREAM_KEY.encode()),
    "a packed refusal": response(
        gzip.compress(json.dumps({"error": {"message": UPSTREAM_KEY}}).encode()), "400 X", head=b"content-encoding: gzip\r\n"
    ),
    "an address": refusal(f"cannot reach http://{PLACE}:8080/v1/chat?key=hunter22"),
    "an escaped address": refusal(f"cannot reach http:\\/\\/{PLACE}\\/v1"),
    "a host and a port": refusal(f"cannot reach {PLACE}:8080"),
    "an IPv4 address": refusal("cannot reach 10.9.8.7"),
    "an IPv4 address and a port": refusal("cannot reach 10.9.8.7:443"),
    "the upstream's own address": refusal("127.0.0.1 refused"),
    "a password in an address": refusal(f"postgresql://user:hunter22@{PLACE}/db is down"),
    "a password": refusal("password=hunter22 is wrong"),
    "a client's secret": refusal("client_secret: hunter22"),
    "a redirect": response(b"", "307 Temporary Redirect", head=HEADERS),
    "a permanent redirect": response(PAGE, "301 Moved", head=HEADERS),
    "not modified": response(b"", "304 Not Modified", head=HEADERS),
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: hunter22\r\n\r\n" + PAGE,
    "a status of 999": refusal(UPSTREAM_KEY, "999 X"),
    "no HTTP": PAGE,
    "HTTP/2": b"HTTP/2 200\r\n\r\n" + PAGE,
    "a header without a colon": b"HTTP/1.1 200 OK\r\n" + UPSTREAM_KEY.encode() + b"\r\n\r\n",
    "two lengths": response(completion(), head=b"content-length: 3\r\n"),
    "a length beside chunks": response(completion(), head=b"transfer-encoding: chunked\r\n"),
    "too long a length": response(completion()).replace(b"content-length: ", b"content-length: 9"),
    "an end before the head": b"HTTP/1.1 200 OK\r\nserver: " + UPSTREAM_KEY.encode(),
    "no gzip": response(PAGE, head=b"content-encoding: gzip\r\n"),
    "an account": refusal("You exceeded your quota, org-hunter22abc", "402 Payment Required"),
    "refused credentials": refusal(f"{UPSTREAM_KEY} is revoked at {PLACE}:1", "401 Unauthorized"),
    "a forbidden project": refusal(f"{UPSTREAM_KEY} is not allowed at http://{PLACE}", "403 Forbidden"),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("handler", HANDLERS)
def test_nothing_of_the_operators_reaches_a_client(home: House, handler: str, name: str) -> None:
    home.provider.answer = ANSWERS[name]
    door: Door = home.doors[handler]
    for more in ({}, {"stream": True}):
        answer = door.post(
            json.dumps({"model": door.model, "messages": [{"role": "user", "content": "hi"}], **more}).encode()
        )
        assert answer.status in {200, 400, 422, 429, 500, 502, 503}
        assert not [secret for secret in SECRETS if secret.encode() in answer.raw]
        assert answer.head.lower().count(b"x-request-id:") == 1
        if answer.status != 200:
            assert answer.error["message"]


# What a 4xx says besides: the value of a header, and what of it a client may read.
PAUSES: dict[str, tuple[bytes, bytes | None]] = {
    "seconds": (b"retry-after: 20", b"20"),
    "a fraction": (b"retry-after: 0.5", b"0.5"),
    "seconds with words": (b"retry-after: 20 seconds", b"20"),
    "years": (b"retry-after: 999999999999", None),
    "20 digits": (b"retry-after: 99999999999999999999", None),
    "a negative pause": (b"retry-after: -5", None),
    "an exponent": (b"retry-after: 1e9", None),
    "no number": (b"retry-after: nan", None),
    "endless": (b"retry-after: Infinity", None),
    "digits of another script": ("retry-after: ٢٠".encode(), None),
    "nothing": (b"retry-after: ", None),
    "text": (b"retry-after: hunter22", None),
    "a list": (b"retry-after: 5, 6", b"5"),
}


@pytest.mark.parametrize("name", PAUSES)
@pytest.mark.parametrize("handler", HANDLERS)
def test_a_pause_is_a_number_that_somebody_can_wait_for(home: House, handler: str, name: str) -> None:
    line, told = PAUSES[name]
    home.provider.answer = refusal("slow down", "429 Too Many Requests", line + b"\r\n", code="rate_limit_exceeded")
    answer = home.doors[handler].post()
    assert answer.status == 429
    found = [each[13:].strip() for each in answer.head.lower().split(b"\r\n") if each.startswith(b"retry-after:")]
    assert found == ([] if told is None else [told])


# Codes and counts that no reader of numbers takes.
ODD: dict[str, bytes] = {
    "a superscript as code": b'{"message": "no", "code": "\xc2\xb2"}',
    "digits of another script": '{"message": "no", "code": "٤٠٠"}'.encode(),
    "5,000 digits as text": b'{"message": "no", "code": "' + b"4" * 5000 + b'"}',
    "5,000 digits": b'{"message": "no", "code": ' + b"4" * 5000 + b"}",
    "a number without end": b'{"message": "no", "code": 1e400}',
    "true": b'{"message": "no", "code": true}',
    "a list": b'{"message": ["no"], "code": [400], "type": {}}',
    "half a character": b'{"message": "\\ud800", "code": "\\udc00"}',
    "a deep one": b'{"error": ' * 3000 + b"1" + b"}" * 3000,
    "line feeds": b'{"message": "a\\r\\nset-cookie: x=1\\r\\n\\r\\n", "code": "\\r\\nx: y", "type": "\\n"}',
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("handler", HANDLERS)
def test_an_odd_error_is_an_error_like_others(home: House, handler: str, name: str) -> None:
    error = b'{"error": ' + ODD[name] + b"}"
    door = home.doors[handler]
    for answer, more in (
        (response(error, "400 Bad Request"), b""),
        (streamed(events(error)), b', "stream": true'),
        (streamed(events(chunk({"content": "x"}), error)), b', "stream": true'),
    ):
        home.provider.answer = answer
        got = door.post(
            b'{"model": "%b", "messages": [{"role": "user", "content": "hi"}]%b}' % (door.model.encode(), more)
        )
        assert got.status in {200, 400, 502}
        assert b"set-cookie:" not in got.head.lower()
        assert b"internal" not in got.body
        if got.status == 200:
            assert b'data: {"error"' in got.body
