"""JSON that clients read and msgspec refuses."""

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core.lenient_json import decode_leniently, first_json_value, strict_json

values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def without_oddities(value: Any) -> Any:
    """What a strict reader may see of it: null for a number that is none, U+FFFD for half a pair."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [without_oddities(item) for item in value]
    if isinstance(value, dict):
        return {without_oddities(key): without_oddities(item) for key, item in value.items()}
    return value


@given(values)
def test_whatever_python_writes_is_read(value: Any) -> None:
    read = decode_leniently(json.dumps(value).encode())
    assert read == without_oddities(value)


@given(values)
def test_strict_json_is_left_as_it_is(value: Any) -> None:
    document = msgspec.json.encode(without_oddities(value))
    assert strict_json(document) == document


@given(st.binary(max_size=200))
def test_no_bytes_are_too_much_for_it(data: bytes) -> None:
    assert isinstance(strict_json(data), bytes)


def test_the_work_is_linear_in_a_text_that_never_ends() -> None:
    """Each of the escaped quotes would begin a search to the end of the data."""
    assert len(strict_json(b'"' + rb"\"" * 500_000)) == 1_000_001


def test_words_within_texts_stay() -> None:
    assert decode_leniently(rb'["NaN", "\"NaN", NaN]') == ["NaN", '"NaN', None]


def test_what_nobody_reads_raises() -> None:
    for data in (b"{", b"NaNa", b"ping", b'{"a": nan}', b""):
        with pytest.raises(msgspec.DecodeError):
            decode_leniently(data)


def test_the_first_value_is_cut_from_what_follows() -> None:
    assert first_json_value(b' {"a": [1]}\n\ndata: [DONE]\n\n') == b'{"a": [1]}'
    assert first_json_value(b"data: {}") is None
    assert first_json_value(b"\xff") is None
