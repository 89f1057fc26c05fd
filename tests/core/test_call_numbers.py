"""To which call a fragment belongs, in the ways of many servers."""

from typing import Any

import pytest

from crplugins.core.call_numbers import CallNumbers

Fragment = tuple[int, str | None, str | None, str]

ONE: dict[str, list[Fragment]] = {
    "as OpenAI sends them": [(0, "a", "time", ""), (0, None, None, '{"tz":'), (0, None, None, '"JST"}')],
    "the name on each": [(0, "a", "time", ""), (0, "a", "time", '{"tz":'), (0, "a", "time", '"JST"}')],
    "a new id on each": [(0, "a", "time", ""), (0, "b", None, '{"tz":'), (0, "c", None, '"JST"}')],
    "an index that counts up within it": [(0, "a", "time", '{"tz":'), (1, None, None, '"JST"'), (2, None, None, "}")],
    "an index above 0": [(3, "a", "time", '{"tz":'), (3, None, None, '"JST"}')],
    "an id that comes late": [(0, None, "time", ""), (0, "a", None, '{"tz":"JST"}')],
}
TWO: dict[str, list[Fragment]] = {
    "as OpenAI sends them": [(0, "a", "time", '{"tz":"JST"}'), (1, "b", "weather", '{"city":"Paris"}')],
    "in turns": [(0, "a", "time", '{"tz":'), (1, "b", "weather", '{"city":'), (0, None, None, '"JST"}'),
                 (1, None, None, '"Paris"}')],
    "all with the index 0": [(0, "a", "time", '{"tz":"JST"}'), (0, "b", "weather", '{"city":'), (0, None, None, '"Paris"}')],
    "without ids": [(0, None, "time", '{"tz":"JST"}'), (0, None, "weather", '{"city":"Paris"}')],
    "the second without a beginning": [(0, "a", "time", '{"tz":"JST"}'), (1, None, None, '{"city":"Paris"}')],
}  # fmt: skip


def told(fragments: list[Fragment]) -> tuple[list[str], list[int]]:
    numbers = CallNumbers()
    begun = [number for number, begins in (numbers.note(*each) for each in fragments) if begins]
    return ["".join(pieces) for pieces in numbers.arguments], begun


@pytest.mark.parametrize("fragments", ONE.values(), ids=ONE)
def test_the_fragments_of_one_call_are_one(fragments: Any) -> None:
    assert told(fragments) == (['{"tz":"JST"}'], [0])


@pytest.mark.parametrize("fragments", TWO.values(), ids=TWO)
def test_two_calls_are_two(fragments: Any) -> None:
    assert told(fragments) == (['{"tz":"JST"}', '{"city":"Paris"}'], [0, 1])
