"""A line is one row, whether it waits and SQLite reads it, or is inserted as values."""

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core.usage import TokenUsage
from crplugins.ledger.encoding import LARGEST_COUNT, encode
from crplugins.ledger.inserts import COLUMNS, SQLITE_ROWS, listed
from crplugins.ledger.line_values import rows_of
from tests.ledger.conftest import make_record

COUNTS = st.integers(0, LARGEST_COUNT)
MOMENTS = st.floats(0, 4_102_444_800)  # until 2100
TEXTS = st.text(max_size=40) | st.none()


def as_it_waits(line: bytes) -> tuple[object, ...]:
    with closing(sqlite3.connect(":memory:")) as connection:
        question = f"SELECT {listed([*COLUMNS])} FROM ({SQLITE_ROWS})"
        ((*values,),) = connection.execute(question, {"lines": (b"[" + line + b"]").decode()}).fetchall()
        return tuple(values)


@given(
    moments=st.tuples(MOMENTS, MOMENTS), texts=st.tuples(TEXTS, TEXTS, TEXTS), counts=st.tuples(COUNTS, COUNTS),
    numbers=st.tuples(st.floats(0, 1e9), st.none() | st.floats(0, 1e9), st.none() | COUNTS, st.booleans()),
    tags=st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3),
)  # fmt: skip
def test_both_ways_a_line_has_the_same_values(moments, texts, counts, numbers, tags):
    line = encode(
        make_record(
            started_at=moments[0], ended_at=moments[1], user=texts[0], team=texts[1], requested_model=texts[2],
            usage=TokenUsage(*counts), duration_ms=numbers[0], ttft_ms=numbers[1], cost_micro_usd=numbers[2],
            stream=numbers[3], tags=tags,
        )
    )  # fmt: skip
    assert rows_of([line]) == [as_it_waits(line)]


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b"null", b"{}", b'{"started_at": "now"}', encode(make_record(started_at=1e15))],
    ids=["nothing", "half", "array", "null", "empty", "no moment", "after all calendars"],
)
def test_what_is_no_line_of_ours_has_no_values(line):
    with pytest.raises(ValueError, match="."):
        rows_of([line])
