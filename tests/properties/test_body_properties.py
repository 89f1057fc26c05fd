import json
import re
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from crplugins.core.body import Body
from crplugins.core.errors import GatewayError

SPACE = st.sampled_from(["", "", " ", "\n", "\t", "\r\n", "  "])
TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=6)
KEYS = st.one_of(st.sampled_from(["model", "stream", "a", "b", 'q"', "\\", "é", "\u2028", "{", "}", ","]), TEXT)
NUMBERS = st.sampled_from(
    ["0", "-0", "1.50", "1e5", "1E+2", "-1.5e-7", "123456789012345678901234567890", "0.1", "1e400"]
)


def escaped(text: str, mask: list[bool]) -> str:
    """JSON of `text`, some of its characters as \\u escapes."""
    plain = json.dumps(text, ensure_ascii=False)[1:-1]
    if not any(mask) or "\\" in plain:
        return f'"{plain}"'
    units = zip(plain, mask * (len(plain) // len(mask) + 1), strict=False)
    return '"' + "".join(f"\\u{ord(c):04x}" if flag and ord(c) < 0x10000 else c for c, flag in units) + '"'


STRINGS = st.builds(escaped, KEYS, st.lists(st.booleans(), min_size=1, max_size=4))
SCALARS = st.one_of(NUMBERS, STRINGS, st.sampled_from(["true", "false", "null"]))


def written(items: list[str], spaces: list[str], brackets: str) -> str:
    gap = spaces[0]
    return brackets[0] + gap + (gap + "," + spaces[-1]).join(items) + spaces[-1] + brackets[1]


SPACES = st.lists(SPACE, min_size=1, max_size=2)
PAIRS = st.builds(lambda key, space, value: f"{key}{space}:{space}{value}", STRINGS, SPACE, SCALARS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.builds(written, st.lists(inner, max_size=3), SPACES, st.just("[]")),
        st.builds(
            written,
            st.lists(st.builds(lambda k, s, v: f"{k}{s}:{s}{v}", STRINGS, SPACE, inner), max_size=3),
            SPACES,
            st.just("{}"),
        ),
    ),
    max_leaves=6,
)
MEMBERS = st.lists(st.tuples(STRINGS, VALUES), max_size=6)
JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63), TEXT),
    lambda v: st.lists(v, max_size=2),
    max_leaves=4,
)


@st.composite
def documents(draw: st.DrawFn) -> tuple[bytes, list[tuple[str, bytes]]]:
    """A JSON object as odd as the grammar allows, and its members: decoded key, value as written."""
    members = draw(MEMBERS)
    space, around = draw(SPACE), draw(SPACE)
    inner = written([f"{key}{space}:{space}{value}" for key, value in members], draw(SPACES), "{}")
    return (around + inner + around).encode(), [(json.loads(key), value.encode()) for key, value in members]


EDITS = st.lists(
    st.tuples(KEYS, st.one_of(st.just("remove"), JSON_VALUES.map(lambda value: ("set", value)))), max_size=6
)


def applied(body: Body, members: dict[str, bytes], edits: list[Any]) -> dict[str, bytes | None]:
    """Edits `body`; returns what each key must then hold: bytes as written, None for a value that was set."""
    left: dict[str, bytes | None] = dict(members)
    for key, edit in edits:
        if edit == "remove":
            body.remove(key)
            left.pop(key, None)
        else:
            body.set(key, edit[1])
            left[key] = None
    return left


@given(documents())
def test_a_document_reads_as_the_json_module_reads_it(case: tuple[bytes, list[tuple[str, bytes]]]) -> None:
    raw, members = case
    body = Body(raw)
    assert {key: body.bytes_of(key) for key in body} == dict(members)
    assert list(body) == list(json.loads(raw))
    assert body.raw is raw


@given(documents(), EDITS)
def test_edits_keep_every_other_value_byte_for_byte(
    case: tuple[bytes, list[tuple[str, bytes]]], edits: list[Any]
) -> None:
    raw, members = case
    body = Body(raw)
    for key, expected in applied(body, dict(members), edits).items():
        assert expected is None or body.bytes_of(key) == expected


@given(documents(), EDITS)
def test_edits_mean_what_they_mean_to_the_json_module(
    case: tuple[bytes, list[tuple[str, bytes]]], edits: list[Any]
) -> None:
    raw, _ = case
    body, expected = Body(raw), json.loads(raw, parse_float=str)
    for key, edit in edits:
        if edit == "remove":
            body.remove(key)
            expected.pop(key, None)
        else:
            body.set(key, edit[1])
            expected[key] = edit[1]
        assert json.loads(body.raw, parse_float=str) == expected
        assert dict.fromkeys(body) == dict.fromkeys(expected)


@given(documents(), EDITS)
def test_an_edit_without_doubled_keys_touches_one_stretch(
    case: tuple[bytes, list[tuple[str, bytes]]], edits: list[Any]
) -> None:
    raw, members = case
    assume(len(dict(members)) == len(members))
    body = Body(raw)
    for key, edit in edits:
        before = body.raw
        body.remove(key) if edit == "remove" else body.set(key, edit[1])
        head = len(before) - len(before.removeprefix(common(before, body.raw)))
        tail = common(before[head:][::-1], body.raw[head:][::-1])
        assert before.startswith(body.raw[:head])
        assert before.endswith(tail[::-1])
        changed = body.raw[head : len(body.raw) - len(tail)]
        assert edit != "remove" or re.fullmatch(rb"[ \t\r\n]*", changed)


def common(one: bytes, other: bytes) -> bytes:
    """The prefix both have."""
    length = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:length]


@given(
    st.one_of(st.binary(max_size=60), st.binary(max_size=20).map(lambda b: b'{"a":' + b + b"}"), TEXT.map(str.encode))
)
def test_arbitrary_bytes_raise_nothing_but_a_gateway_error(raw: bytes) -> None:
    for act in (lambda b: b.get("a"), lambda b: b.set("a", 1), lambda b: b.remove("a"), list, lambda b: "a" in b):
        body = Body(raw)
        refused = False
        try:
            act(body)
        except GatewayError as error:
            refused = error.status == 400
        if refused:
            assert body.raw is raw
        else:
            list(body)  # what could be read or edited can still be read


# Mostly bytes that may stand in a JSON string, some that may not.
STRINGY = st.lists(
    st.sampled_from(
        [b"x", b" ", b":", b",", b"}", b"\\\\", b'\\"', b"\\u0041", "\u00e9".encode(), "\u2028".encode(), b"\xff"]
    ),
    max_size=6,
).map(b"".join)


@given(STRINGY, STRINGY, KEYS)
def test_what_was_accepted_stays_acceptable_after_an_edit(one: bytes, two: bytes, key: str) -> None:
    body = Body(b'{"a": "' + one + b'", "' + two + b'": 1}')
    try:
        assume(list(body))
    except GatewayError:
        assume(False)
    others = {name: body.bytes_of(name) for name in body if name != key}
    body.set(key, "x")
    assert body.get(key) == "x"
    assert {name: body.bytes_of(name) for name in body if name != key} == others
    body.remove(key)
    assert {name: body.bytes_of(name) for name in body} == others
