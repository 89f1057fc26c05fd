"""Two parsers read one request differently: what the plugins judge is what the model's server is asked."""

# ruff: noqa: RUF001  # letters that look like others are what this is about

import gzip
import json
import zlib

import pytest

from tests.attacks.house import KEY, Door, House, http, json_bytes, question, send

SMUGGLED = http(b"/v1/models", b"", method=b"GET", close=False)
CHUNKED = b"transfer-encoding: chunked\r\n"


def chunks(body: bytes, *, size: bytes | None = None, end: bytes = b"0\r\n\r\n") -> bytes:
    return (size or b"%x" % len(body)) + b"\r\n" + body + b"\r\n" + end


# Of the framing of a request: name -> lines besides those of a good one, its body.
FRAMING: dict[str, tuple[bytes, bytes]] = {
    "a length twice": (b"content-length: 63\r\ncontent-length: 63\r\n", question()),
    "two lengths": (b"content-length: 5\r\ncontent-length: 63\r\n", question()),
    "a list of lengths": (b"content-length: 63, 63\r\n", question()),
    "a signed length": (b"content-length: +63\r\n", question()),
    "a negative length": (b"content-length: -1\r\n", question()),
    "a length in hex": (b"content-length: 0x3f\r\n", question()),
    "a length of 30 digits": (b"content-length: 999999999999999999999999999999\r\n", question()),
    "a blank before the colon": (b"content-length : 63\r\n", question()),
    "a length beside chunks": (b"content-length: 4\r\n" + CHUNKED, chunks(question())),
    "chunks beside a length": (CHUNKED + b"content-length: 4\r\n", chunks(question())),
    "a coding behind chunks": (b"transfer-encoding: chunked, identity\r\n", chunks(question())),
    "a coding before chunks": (b"transfer-encoding: gzip, chunked\r\n", chunks(question())),
    "identity before chunks": (b"transfer-encoding: identity, chunked\r\n", chunks(question())),
    "chunks twice": (b"transfer-encoding: chunked, chunked\r\n", chunks(question())),
    "chunks on two lines": (CHUNKED + CHUNKED, chunks(question())),
    "chunks and another coding on two lines": (CHUNKED + b"transfer-encoding: x\r\n", chunks(question())),
    "an unknown coding": (b"transfer-encoding: xchunked\r\n", chunks(question())),
    "chunks with a parameter": (b"transfer-encoding: chunked;q=1\r\n", chunks(question())),
    "chunks behind a vertical tab": (b"transfer-encoding: \x0bchunked\r\n", chunks(question())),
    "a blank before the colon of chunks": (b"transfer-encoding : chunked\r\n", chunks(question())),
    "chunks in quotes": (b'transfer-encoding: "chunked"\r\n', chunks(question())),
    "a negative chunk": (CHUNKED, chunks(question(), size=b"-1")),
    "a chunk of 20 digits": (CHUNKED, chunks(question(), size=b"f" * 20)),
    "a chunk in C": (CHUNKED, chunks(question(), size=b"0x5f")),
    "a line feed in a chunk's extension": (CHUNKED, chunks(question(), size=b"%x;a\n" % len(question()))),
    "chunks with line feeds alone": (CHUNKED, chunks(question()).replace(b"\r\n", b"\n")),
    "a folded header": (b"x-a: b\r\n c\r\n", question()),
    "NUL in a header": (b"x-a: b\x00c\r\n", question()),
    "a carriage return in a header": (b"x-a: b\rc\r\n", question()),
    "a header without a colon": (b"x-a\r\n", question()),
    "a header without a name": (b": b\r\n", question()),
    "two hosts": (b"host: y\r\n", question()),
    "two equal hosts": (b"host: x\r\n", question()),
}


@pytest.mark.parametrize("name", FRAMING)
def test_a_request_that_a_proxy_may_have_framed_otherwise_is_none(home: House, name: str) -> None:
    headers, body = FRAMING[name]
    has_length = b"content-length" not in headers.lower() and b"transfer-encoding" not in headers.lower()
    answer = send(home.doors["direct"].port, http(body=body + SMUGGLED, headers=headers, length=has_length))
    assert answer.statuses == [400]
    assert home.provider.asked == []


# Of what decides about the answer's form and length: the parameter, a value in another type than its own.
OTHER_TYPES: list[tuple[str, bytes]] = [
    *(
        ("stream", value)
        for value in (b'"true"', b"1", b'"yes"', b'"on"', b"1.0", b'"\\u0074rue"', b"[true]", b'{"a": 1}')
    ),
    *(("stream", value) for value in (b'"false"', b"0", b'""', b"[]")),
    *(("n", value) for value in (b'"8"', b"8.0", b"8e0", b"true", b"[8]", b'" 8 "')),
    *(("max_tokens", value) for value in (b'"100000"', b"100000.0", b"1e5", b"1E+5", b'"1_000"', b"true", b"1.5")),
    *(("max_completion_tokens", value) for value in (b'"100000"', b"100000.0", b"1e5", b"{}")),
    *(("model", value) for value in (b"7", b"true", b'["m"]', b'{"id": "m"}')),
]


@pytest.mark.parametrize(("parameter", "value"), OTHER_TYPES)
def test_what_lax_servers_take_for_a_value_of_another_type_is_refused(door: Door, parameter: str, value: bytes) -> None:
    asked = len(door.asked())
    body = b'{"messages": [{"role": "user", "content": "hi"}], "%b": %b}' % (parameter.encode(), value)
    if parameter != "model":
        body = body[:-1] + b', "model": "%b"}' % door.model.encode()
    answer = door.post(body)
    assert answer.status == 400
    assert (answer.error["param"], answer.error["code"]) == (parameter, "invalid_type")
    assert len(door.asked()) == asked


@pytest.mark.parametrize("parameter", ["stream", "n", "max_tokens", "max_completion_tokens"])
def test_null_is_as_good_as_nothing(door: Door, parameter: str) -> None:
    assert door.post(question(door.model, **{parameter: None})).status == 200


# Of the text of a body: name -> content type, further lines, body, the status.
ONCE_MORE = b'{"model": "%b", "messages": [{"role": "user", "content": "hi"}], %b}'
CODINGS: dict[str, tuple[bytes, bytes, bytes]] = {
    "UTF-7": (b"application/json; charset=utf-7", b"", b'"+AG0-odel": "other"'),
    "UTF-7 in quotes": (b'application/json; charset="UTF-7"', b"", b'"+AG0-odel": "other"'),
    "UTF-7 with blanks": (b"application/json;  Charset = utf-7", b"", b'"+AG0-odel": "other"'),
    "UTF-7 behind UTF-8": (b"application/json; charset=utf-8; charset=utf-7", b"", b'"+AG0-odel": "other"'),
    "UTF-7 in RFC 2231": (b"application/json; charset*=us-ascii''utf-7", b"", b'"+AG0-odel": "other"'),
    "Python's escapes": (b"application/json; charset=unicode_escape", b"", b'"x": "\\",\\"model\\":\\"other"'),
    "a charset of 1 and 2 bytes": (b"application/json; charset=gbk", b"", b'"x": "\xc3\xa9"'),
    "UTF-16": (b"application/json; charset=utf-16", b"", b'"x": 1'),
    "no charset": (b"application/json; charset=", b"", b'"x": 1'),
    "gzip": (b"application/json", b"content-encoding: gzip\r\n", b'"x": 1'),
    "deflate": (b"application/json", b"content-encoding: deflate\r\n", b'"x": 1'),
    "an unknown coding": (b"application/json", b"content-encoding: x\r\n", b'"x": 1'),
    "codings in a row": (b"application/json", b"content-encoding: identity, gzip\r\n", b'"x": 1'),
    "a coding on a second line": (b"application/json", b"content-encoding: identity\r\ncontent-encoding: br\r\n", b'"x": 1'),
}  # fmt: skip


@pytest.mark.parametrize("name", CODINGS)
def test_a_body_in_another_coding_than_the_plugins_read_is_refused(door: Door, name: str) -> None:
    content_type, headers, more = CODINGS[name]
    asked = len(door.asked())
    answer = door.post(ONCE_MORE % (door.model.encode(), more), headers, content_type=content_type)
    assert (answer.status, answer.error["code"]) == (415, "unsupported_content_type")
    assert len(door.asked()) == asked


@pytest.mark.parametrize(
    "content_type", [b"application/json; charset=utf-8", b'application/json;charset="UTF-8" ; v=1', b"application/json"]
)
def test_json_in_utf_8_is_what_it_is(door: Door, content_type: bytes) -> None:
    assert door.post(content_type=content_type).status == 200


BODIES: dict[str, bytes] = {
    "packed": gzip.compress(question()),
    "packed by zlib": zlib.compress(question()),
    "a byte order mark": b"\xef\xbb\xbf" + question(),
    "UTF-16": question().decode().encode("utf-16"),
    "UTF-16 without a mark": question().decode().encode("utf-16-le"),
    "UTF-32": question().decode().encode("utf-32"),
    "an overlong quote": question().replace(b"{", b'{"a\xc0\xa2": 1, ', 1),
    "half a surrogate as bytes": question().replace(b"{", b'{"a": "\xed\xa0\x80", ', 1),
    "two documents": question() + question("other"),
    "lines of documents": question() + b"\n" + question("other"),
    "a document and NUL": question() + b"\x00",
    "a comment": question().replace(b"{", b'{/* "model": "x", */', 1),
    "a comma too many": question()[:-1] + b",}",
    "a single-quoted key": question()[:-1] + b", 'model': \"other\"}",
    "a key without quotes": question()[:-1] + b', model: "other"}',
    "a list": b"[" + question() + b"]",
    "text": json_bytes(question().decode()),
    "NaN": question()[:-1] + b', "temperature": NaN}',
    "infinity": question()[:-1] + b', "temperature": -Infinity}',
    "hex": question()[:-1] + b', "max_tokens": 0x10}',
    "a leading zero": question()[:-1] + b', "max_tokens": 010}',
    "a leading plus": question()[:-1] + b', "max_tokens": +1}',
    "a form": b"model=m&messages=hi",
    "parts": b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n--x--\r\n',
    "a line feed in a text": question()[:-1] + b', "user": "a\nb"}',
    "nothing": b"",
    "blanks": b" \r\n\t ",
}


@pytest.mark.parametrize("name", BODIES)
def test_what_is_no_json_to_every_parser_is_no_request(door: Door, name: str) -> None:
    asked = len(door.asked())
    answer = door.post(BODIES[name])
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"
    assert len(door.asked()) == asked


# Of the names of a body: JSON to be added to a good one, and the parameter that is named.
NAMES: dict[str, tuple[bytes, str]] = {
    "a key twice": (b'"model": "other"', "model"),
    "a key twice, escaped": (b'"m\\u006fdel": "other"', "model"),
    "a key twice inside": (b'"stream": true, "stream_options": {"include_usage": true, "include_usage": false}', "include_usage"),
    "a key twice in a tool": (b'"tools": [{"type": "function", "function": {"name": "a", "name": "b"}}]', "name"),
    "case": (b'"Model": "other"', "Model"),
    "full width": ('"ｍodel": "other"'.encode(), "ｍodel"),
    "an empty character": (b'"mode\\u200bl": "other"', "mode\\u200bl"),
    "a soft hyphen": (b'"mo\\u00addel": "other"', "mo\\xaddel"),
    "a mark of direction": (b'"\\u202emodel": "other"', "\\u202emodel"),
    "a byte order mark": (b'"\\ufeffmodel": "other"', "\\ufeffmodel"),
    "NUL behind": (b'"model\\u0000": "other"', "model\\x00"),
    "a blank behind": (b'"model ": "other"', "model "),
    "brackets of PHP": (b'"model[]": "other"', "model[]"),
    "camel case": (b'"maxTokens": 5', "maxTokens"),
    "kebab case": (b'"max-tokens": 5', "max-tokens"),
    "a long s": ('"ſtream": true'.encode(), "ſtream"),
    "bold letters": ('"𝐦𝐨𝐝𝐞𝐥": "other"'.encode(), "𝐦𝐨𝐝𝐞𝐥"),
    "letters in circles": ('"ⓜⓞⓓⓔⓛ": "other"'.encode(), "ⓜⓞⓓⓔⓛ"),
}  # fmt: skip

# Of its values, where ours judges them; vLLM does so itself.
VALUES: dict[str, tuple[bytes, str]] = {
    "1.0 tokens": (b'"max_tokens": 1.0', "max_tokens"),
    "1e2 tokens": (b'"max_tokens": 1e2', "max_tokens"),
    "1e400 tokens": (b'"max_tokens": 1e400', "max_tokens"),
    "no tokens": (b'"max_tokens": -0', "max_tokens"),
    "negative tokens": (b'"max_completion_tokens": -1', "max_completion_tokens"),
    "true tokens": (b'"max_tokens": true', "max_tokens"),
    "tokens as text": (b'"max_tokens": "5"', "max_tokens"),
    "a fraction of an answer": (b'"n": 0.5', "n"),
    "a true answer": (b'"n": true', "n"),
    "129 answers": (b'"n": 129', "n"),
    "1e1 answers": (b'"n": 1e1', "n"),
    "1e400 degrees": (b'"temperature": 1e400', "temperature"),
    "400 digits of degrees": (b'"temperature": ' + b"1" * 400, "temperature"),
    "a stream of 1": (b'"stream": 1', "stream"),
    "a stream of text": (b'"stream": "false"', "stream"),
    "a seed of 64 bits": (b'"seed": 9223372036854775808', "seed"),
    "a bias without end": (b'"logit_bias": {"1": 1e400}', "logit_bias.1"),
    "a user of 5,000 digits": (b'"user": ' + b"9" * 5000, "user"),
    "metadata inside metadata": (b'"metadata": {"a": {"b": "c"}}', "metadata.a"),
}  # fmt: skip


@pytest.mark.parametrize("name", [*NAMES, *VALUES])
def test_a_name_or_value_that_parsers_disagree_about_is_named_and_refused(door: Door, name: str) -> None:
    if door.name == "vllm" and name in VALUES:
        return
    more, param = (NAMES | VALUES)[name]
    asked = len(door.asked())
    answer = door.post(question(door.model)[:-1] + b", " + more + b"}")
    assert answer.status == 400
    assert answer.error["param"] == param
    assert len(door.asked()) == asked


HALVES = [b'"user": "\\ud800"', b'"user": "\\udc00\\ud800"', b'"metadata": {"\\ud800": "x"}']


@pytest.mark.parametrize("more", HALVES)
def test_half_a_character_is_no_text(door: Door, more: bytes) -> None:
    assert door.post(question(door.model)[:-1] + b", " + more + b"}").status == 400


@pytest.mark.parametrize("handler", ["w/", "v/"])
@pytest.mark.parametrize(
    "name",
    [
        "http://127.0.0.1:1/x", "https:/x", "//x/y", "../../x", "a/../../b", "a/./b", "x?key=1", "x#y", "x%2f..%2fy", "x%00",
        "x y", "x\ty", "x\r\nhost: y", "x\u2028y", "x\\y", "ｈttp://x", "file:/etc/passwd", "x;y=1",
        "{x}", "${HOME}", "x'--", 'x"', "<x>", "gpt\u202e4", "gрt-4", "x" * 257, "", ".", "..", "/", "x//y",
        "arn:aws:bedrock:us-east-1.evil.com/:1:x/y", "-x", "x@", "@@x",
    ],
)  # fmt: skip
def test_what_completes_a_wildcard_is_a_models_name(home: House, handler: str, name: str) -> None:
    answer = home.doors["direct"].post(question(handler + name))
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")
    assert home.provider.asked == []
    assert len(answer.body) < 1000


def test_a_key_in_a_trailer_is_no_key(home: House) -> None:
    trailer = b"0\r\nauthorization: Bearer %b\r\n\r\n" % KEY.encode()
    request = http(
        body=chunks(question(), end=trailer), headers=CHUNKED + b"trailer: authorization\r\n", key=None, length=False
    )
    assert send(home.doors["direct"].port, request).status == 401


def test_the_model_that_is_judged_is_the_model_that_is_asked(home: House) -> None:
    for name in ("w/a", "v/a"):
        home.provider.asked.clear()
        assert home.doors["direct"].post(question(name)).status == 200
        assert [json.loads(each.body)["model"] for each in home.provider.asked] == ["a"]
