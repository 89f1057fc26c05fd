import json
from typing import Any

import msgspec
import pytest

from crplugins.core.wire import Answer, Choice, Usage, read_answer


def read(**fields: Any) -> Answer:
    return read_answer(json.dumps(fields).encode())


def test_the_facts_of_a_chunk_are_read() -> None:
    answer = read(choices=[{"index": 1, "delta": {"content": "x"}, "finish_reason": "stop"}], usage={"total_tokens": 3})
    assert answer.choices == [Choice(1, "stop")]
    assert answer.usage == Usage(total_tokens=3)
    assert answer.error is None


def test_the_details_of_usage_are_read() -> None:
    usage = read(
        usage={"prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 5}}
    ).usage
    assert usage.prompt_tokens_details.cached_tokens == 4
    assert usage.completion_tokens_details.reasoning_tokens == 5


def test_null_means_absent() -> None:
    assert read(choices=None, usage=None, error=None) == Answer()
    assert read(usage={"prompt_tokens": None, "prompt_tokens_details": None}).usage == Usage()


def test_an_error_is_kept_as_it_is() -> None:
    assert read(error="text").error == "text"
    assert read(error={"message": "m"}).error == {"message": "m"}


@pytest.mark.parametrize(
    "odd",
    [
        {"prompt_tokens_details": []},
        {"prompt_tokens_details": "none"},
        {"prompt_tokens_details": {"cached_tokens": "x"}},
        {"completion_tokens": "many"},
        {"completion_tokens": 1.5},
        {"total_tokens": {}},
    ],
)
def test_one_odd_key_does_not_cost_the_rest_of_the_usage(odd: dict[str, Any]) -> None:
    answer = read(choices=[{"finish_reason": "stop"}], usage={"prompt_tokens": 3, **odd})
    assert answer.usage.prompt_tokens == 3
    assert answer.choices == [Choice(0, "stop")]


def test_whole_floats_and_numeric_strings_are_counts() -> None:
    assert read(usage={"prompt_tokens": 3.0, "completion_tokens": "4"}).usage == Usage(3, 4)


def test_one_odd_choice_does_not_cost_the_others_or_the_usage() -> None:
    answer = read(
        choices=[{"finish_reason": 7}, "x", {"index": 2, "finish_reason": "length"}], usage={"total_tokens": 1}
    )
    assert answer.choices == [Choice(2, "length")]
    assert answer.usage.total_tokens == 1


@pytest.mark.parametrize("odd", ["none", [], 0, True])
def test_a_usage_of_another_shape_is_absent(odd: Any) -> None:
    answer = read(choices=[{"finish_reason": "stop"}], usage=odd)
    assert answer.usage is None
    assert answer.choices


@pytest.mark.parametrize("data", [b"[]", b"7", b"null", b"{", b'{"usage": '])
def test_what_is_no_object_raises(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        read_answer(data)
