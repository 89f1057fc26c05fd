"""To which call a fragment belongs, in the ways of many servers."""

from typing import Any

import pytest

from crplugins.core.call_numbers import CallNumbers, RepairedCalls, index_of, whole_calls

Fragment = tuple[int, str | None, str | None, str]

ONE: dict[str, list[Fragment]] = {
    "as OpenAI sends them": [(0, "a", "time", ""), (0, None, None, '{"tz":'), (0, None, None, '"JST"}')],
    "the name on each": [(0, "a", "time", ""), (0, "a", "time", '{"tz":'), (0, "a", "time", '"JST"}')],
    "a new id on each": [(0, "a", "time", ""), (0, "b", None, '{"tz":'), (0, "c", None, '"JST"}')],
    "an index that counts up within it": [(0, "a", "time", '{"tz":'), (1, None, None, '"JST"'), (2, None, None, "}")],
    "an index above 0": [(3, "a", "time", '{"tz":'), (3, None, None, '"JST"}')],
    "whole once more": [(0, "a", "time", '{"tz":'), (0, None, None, '"JST"}'), (0, "a", "time", '{ "tz": "JST" }')],
    "whole once more without a name": [(0, "a", "time", '{"tz":"JST"}'), (0, None, None, '{"tz":"JST"}')],
    "whole once more under another index": [(1, "a", "time", '{"tz":"JST"}'), (0, "a", "time", '{"tz":"JST"}')],
    "a name that comes late": [(0, "a", None, ""), (0, None, "time", ""), (0, None, None, '{"tz":"JST"}')],
    "a name in pieces": [(0, "a", "ti", ""), (0, "a", "me", ""), (0, None, None, '{"tz":"JST"}')],
    "an id that comes late": [(0, None, "time", ""), (0, "a", None, '{"tz":"JST"}')],
}
TWO: dict[str, list[Fragment]] = {
    "as OpenAI sends them": [(0, "a", "time", '{"tz":"JST"}'), (1, "b", "weather", '{"city":"Paris"}')],
    "in turns": [(0, "a", "time", '{"tz":'), (1, "b", "weather", '{"city":'), (0, None, None, '"JST"}'),
                 (1, None, None, '"Paris"}')],
    "all with the index 0": [(0, "a", "time", '{"tz":"JST"}'), (0, "b", "weather", '{"city":'), (0, None, None, '"Paris"}')],
    "in turns with the index 0": [(0, "a", "time", '{"tz":'), (0, "b", "weather", '{"city":'), (0, "a", None, '"JST"}'),
                                  (0, "b", None, '"Paris"}')],
    "with one id": [(0, "x", "time", '{"tz":"JST"}'), (1, "x", "weather", '{"city":'), (1, "x", None, '"Paris"}')],
    "without ids": [(0, None, "time", '{"tz":"JST"}'), (0, None, "weather", '{"city":"Paris"}')],
    "the second without a beginning": [(0, "a", "time", '{"tz":"JST"}'), (1, None, None, '{"city":"Paris"}')],
}  # fmt: skip


def told(fragments: list[Fragment]) -> tuple[list[str], list[int]]:
    numbers = CallNumbers()
    begun = [placed.number for placed in (numbers.note(*each) for each in fragments) if placed.begins]
    assert set(numbers.names) <= {"time", "weather", ""}
    return ["".join(pieces) for pieces in numbers.arguments], begun


@pytest.mark.parametrize("fragments", ONE.values(), ids=ONE)
def test_the_fragments_of_one_call_are_one(fragments: Any) -> None:
    assert told(fragments) == (['{"tz":"JST"}'], [0])


def test_two_calls_of_one_function_with_the_same_arguments_are_two_if_their_ids_are() -> None:
    assert told([(0, "a", "time", "{}"), (0, "b", "time", "{}")]) == (["{}", "{}"], [0, 1])


@pytest.mark.parametrize("fragments", TWO.values(), ids=TWO)
def test_two_calls_are_two(fragments: Any) -> None:
    assert told(fragments) == (['{"tz":"JST"}', '{"city":"Paris"}'], [0, 1])


@pytest.mark.parametrize(("index", "is_read"), [(2, 2), ("2", 2), (2.0, 2), (None, 7), ("two", 7), (True, 7), ([], 7)])
def test_an_index_is_a_number_whatever_it_is_written_as(index: Any, is_read: int) -> None:
    assert index_of({"index": index}, 7) == is_read
    assert index_of({}, 7) == 7


def call(index: Any, call_id: str | None, name: str | None, arguments: Any) -> dict[str, Any]:
    return {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_fragments_as_openai_sends_them_stay_as_they_are() -> None:
    repaired = RepairedCalls()
    for fragments in (
        [call(0, "a", "time", "")],
        [{"index": 0, "function": {"arguments": '{"tz":'}}],
        [{"index": 0, "function": {"arguments": '"JST"}'}}],
        [call(1, "b", "now", "{}"), call(2, "c", "now", "{}")],
        [call(0, "", "", "")],
    ):
        assert repaired.of(0, fragments) is None


def test_what_is_repeated_on_a_fragment_is_taken_off_as_clients_join_it() -> None:
    """And not null, as OpenAI leaves it out: some clients would put the null in the place of the name."""
    rest = {key: value for key, value in call(0, None, None, "").items() if key != "id"}
    repaired = RepairedCalls()
    assert repaired.of(0, [call(1, "a", "time", "")]) == [call(0, "a", "time", "")]
    assert repaired.of(0, [call(1, "a", "time", '{"tz":"JST"}')]) == [
        {**rest, "function": {"arguments": '{"tz":"JST"}'}}
    ]
    assert repaired.of(0, [call(1, "a", "time", '{"tz":"JST"}')]) == []
    assert repaired.of(1, [call(0, "a", "time", "{}")]) is None  # another choice


def test_a_call_without_an_id_or_with_an_object_of_arguments_gets_what_clients_need() -> None:
    [given] = RepairedCalls().of(0, {"function": {"name": "time", "arguments": {"tz": "JST"}}}) or []
    assert given["id"].startswith("call_")
    assert {**given, "id": ""} == call(0, "", "time", '{"tz":"JST"}')
    [whole] = whole_calls([{"id": None, "function": {"name": "time", "arguments": {"tz": "JST"}}}]) or []
    assert whole["id"].startswith("call_")
    assert (whole["type"], whole["function"]["arguments"]) == ("function", '{"tz":"JST"}')
    assert whole_calls([call(0, "a", "time", "{}")]) is whole_calls(None) is None


def test_arguments_of_many_objects_are_not_put_together_for_each() -> None:
    numbers = CallNumbers()
    numbers.note(0, "a", "time", '{"all":[{}')
    for _ in range(20_000):
        numbers.note(0, None, None, ",{}")
        numbers.note(0, None, None, "{}")
    assert len(numbers.arguments[0]) == 40_001
