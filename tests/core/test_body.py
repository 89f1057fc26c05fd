import json

import pytest

from crplugins.core.body import Body
from crplugins.core.errors import GatewayError


def test_unedited_bytes_are_the_very_object() -> None:
    raw = b'{"model": "m", "seed": 1}'
    body = Body(raw)
    assert body.get("model") == "m"
    assert body.raw is raw


def test_reading_gives_decoded_values_and_their_bytes() -> None:
    body = Body(b'{"a": [1, 2.50], "b": null, "c": "\\u00e9"}')
    assert (body.get("a"), body.get("b"), body.get("c")) == ([1, 2.5], None, "é")
    assert body.bytes_of("a") == b"[1, 2.50]"
    assert body.bytes_of("b") == b"null"
    assert body.bytes_of("missing") is None
    assert list(body) == ["a", "b", "c"]
    assert "b" in body
    assert "missing" not in body


def test_a_value_of_another_type_counts_as_missing() -> None:
    body = Body(b'{"model": 7, "n": 1.5, "stream": "true"}')
    assert body.get("model", str) is None
    assert body.get("n", int) is None
    assert body.get("stream", bool) is None
    assert body.get("n", float) == 1.5


def test_setting_a_key_leaves_every_other_byte() -> None:
    body = Body(b' { "seed" : 123456789012345678901234567890 ,\n "model": "a", "t": 1.50e0, "x": "\\u0041" } ')
    body.set("model", "b")
    assert body.raw == b' { "seed" : 123456789012345678901234567890 ,\n "model": "b", "t": 1.50e0, "x": "\\u0041" } '


def test_a_new_key_stands_at_the_end() -> None:
    body = Body(b'{"a": 1 }\n')
    body.set("b", {"c": [True]})
    assert body.raw == b'{"a": 1 ,"b":{"c":[true]}}\n'


@pytest.mark.parametrize("empty", [b"{}", b"{ }", b" {\n} "])
def test_a_key_can_be_added_to_an_empty_object(empty: bytes) -> None:
    body = Body(empty)
    body.set("a", 1)
    assert json.loads(body.raw) == {"a": 1}


@pytest.mark.parametrize(
    ("key", "left"), [("a", b'{ "b": 2, "c": 3 }'), ("b", b'{ "a": 1, "c": 3 }'), ("c", b'{ "a": 1, "b": 2 }')]
)
def test_removing_a_key_takes_one_comma_with_it(key: str, left: bytes) -> None:
    body = Body(b'{ "a": 1, "b": 2, "c": 3 }')
    body.remove(key)
    assert body.raw == left


def test_the_only_key_can_be_removed() -> None:
    body = Body(b'{ "a": 1 }')
    body.remove("a")
    assert json.loads(body.raw) == {}


def test_removing_what_is_absent_changes_nothing() -> None:
    raw = b'{ "a": 1 }'
    body = Body(raw)
    body.remove("b")
    assert body.raw is raw


def test_keys_are_found_however_they_are_escaped() -> None:
    body = Body(b'{"mod\\u0065l": "a", "q\\"\\\\": 1}')
    body.set("model", "b")
    body.set('q"\\', 2)
    assert body.raw == b'{"mod\\u0065l": "b", "q\\"\\\\": 2}'


def test_a_value_that_looks_like_a_key_is_no_key() -> None:
    body = Body(b'{"a": "\\"model\\": 1", "m": {"model": "x"}, "model": "y"}')
    body.set("model", "z")
    assert body.raw == b'{"a": "\\"model\\": 1", "m": {"model": "x"}, "model": "z"}'


def test_of_a_key_that_stands_twice_the_last_counts_before_and_after_an_edit() -> None:
    body = Body(b'{"model": "a", "n": 1, "model": "b"}')
    assert body.get("model") == "b"
    body.set("n", 2)
    assert json.loads(body.raw) == {"model": "b", "n": 2}
    assert body.raw.count(b"model") == 1


@pytest.mark.parametrize("twin", [b'"dear"', b'"cheap"', b'"cheap" '])
def test_a_smuggled_twin_of_an_edited_key_does_not_survive(twin: bytes) -> None:
    body = Body(b'{"model": "cheap", "model": ' + twin + b"}")
    body.set("model", "allowed")
    assert json.loads(body.raw, object_pairs_hook=list) == [("model", "allowed")]


@pytest.mark.parametrize(("first", "last"), [(b"12", b"1"), (b"1", b"12"), (b"1.5", b"1"), (b"[1, 2]", b"[1]")])
def test_twins_that_begin_alike_are_told_apart(first: bytes, last: bytes) -> None:
    body = Body(b'{"n": ' + first + b', "x": 0, "n": ' + last + b"}")
    body.set("x", 1)
    assert json.loads(body.raw, object_pairs_hook=sorted) == [("n", json.loads(last)), ("x", 1)]


def test_a_removed_key_is_gone_and_a_set_one_there() -> None:
    body = Body(b'{"a": 1, "b": 2}')
    body.remove("a")
    body.set("c", [3])
    assert (list(body), body.get("a"), body.get("c"), body.bytes_of("c")) == (["b", "c"], None, [3], b"[3]")


def test_several_edits_add_up() -> None:
    body = Body(b'{"a": 1, "b": 2}')
    body.set("c", 3)
    body.remove("a")
    body.set("b", "two")
    body.remove("c")
    body.set("d", None)
    assert json.loads(body.raw) == {"b": "two", "d": None}
    assert body.get("b") == "two"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b'{"a": }',
        b'{"a": 1,}',
        b'{"a": 1} x',
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": "\\ud800"}',
        b"\xff\xfe",
        b'\xef\xbb\xbf{"a": 1}',
        b"[" * 100_000,
        b'{"a": ' + b"[" * 100_000,
        b'{"a": ' * 40_000,
    ],
)
def test_what_is_no_json_object_is_openais_400(raw: bytes) -> None:
    with pytest.raises(GatewayError) as error:
        _ = Body(raw).get("model")
    assert error.value.status == 400
    assert error.value.error.message.startswith("We could not parse the JSON body of your request.")


def test_nothing_is_parsed_before_somebody_asks() -> None:
    assert Body(b"no json").raw == b"no json"


def test_a_value_broken_inside_counts_as_missing() -> None:
    body = Body(b'{"user": "\xff", "model": "m"}')
    assert body.get("user") is None
    assert body.get("model") == "m"


def test_a_long_key_is_no_burden() -> None:
    key = "k" * 2_000_000 + '\\"' * 1000
    body = Body(json.dumps({key: 1, "model": "a"}).encode())
    body.set("model", "b")
    assert body.get("model") == "b"


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"a","messages":[{"model":"a"}],"t":1}',
        b'{"messages":[{"model":"a"}],"model":"a"}',
        b'{"x":{"model":"a"} ,"model":"a"}',
        b'{"x": {"model":"a"},"model":"a"}',
        b'{"\\u0078":{"model":"a"},"model":"a"}',
        b'{"x":{"model":"a"},"x":{"model":"a"},"model":"a"}',
        '{"é😀":{"model":"a"},"model":"a"}'.encode(),
        b'{"x":"\\"model\\":\\"a\\"","model":"a"}\n',
    ],
)
def test_the_key_itself_is_set_with_and_without_blanks_whatever_looks_like_it(raw: bytes) -> None:
    body = Body(raw)
    body.set("model", "b")
    expected = json.loads(raw) | {"model": "b"}
    assert json.loads(body.raw) == expected
    assert body.raw.count(b'"b"') == 1


LENIENT = [
    rb'{"choices":[{"delta":{"content":"\ud83d"}}],"usage":{"a":1},"model":"m"}',
    b'{"choices":[{"delta":{"content":"a\tb"}}],"usage":{"a":NaN},"model":"m"}',
    rb'{ "choices": [{"delta": {"content": "\ude00"}}], "usage": {"a": 1}, "model": "m", "\ud83d": 1 }',
]


@pytest.mark.parametrize("raw", LENIENT)
def test_an_answer_that_lenient_parsers_read_is_read_and_edited(raw: bytes) -> None:
    body, before = Body.of_answer(raw), json.loads(raw, strict=False)
    assert body.raw is raw
    assert body.get("choices", list) == before["choices"]
    body.set("model", "other")
    body.remove("usage")
    body.set("choices", body.get("choices", list))
    body.set("new", "\ud83d")
    after = json.loads(body.raw)
    assert (after["model"], after["choices"], after["new"]) == ("other", before["choices"], "\ud83d")
    assert "usage" not in after


@pytest.mark.parametrize("raw", [b"[NaN]", b'"\\ud83d"', b'{"a":"\\ud83d"', b"{" * 100_000])
def test_an_answer_that_nobody_reads_is_no_completion(raw: bytes) -> None:
    with pytest.raises(GatewayError) as raised:
        Body.of_answer(raw)
    assert raised.value.status == 502
