import json
from typing import Any

import msgspec
import pytest

from crplugins.core.usage import TokenUsage
from crplugins.core.wire import AnswerFacts, Choice, Delta, read_answer


def read(**fields: Any) -> AnswerFacts:
    return read_answer(json.dumps(fields).encode())


def said(**message: Any) -> int:
    return read(choices=[{"delta": message}]).size()


def test_the_facts_of_a_chunk_are_read() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    answer = read(choices=[{"index": 1, "delta": {"content": "x"}, "finish_reason": "stop"}], usage=usage)
    assert answer.choices == [Choice(1, "stop", Delta("x"))]
    assert answer.counted == TokenUsage(3, 4)
    assert answer.error is None


def test_the_details_of_usage_are_read() -> None:
    counted = read(
        usage={
            "prompt_tokens": 9,
            "completion_tokens": 8,
            "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2, "audio_tokens": 1},
            "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 3},
        }
    ).counted
    assert counted == TokenUsage(9, 8, 4, 2, 5, 1, 3)


@pytest.mark.parametrize("name", ["prompt_cache_hit_tokens", "cache_read_input_tokens"])
def test_cached_tokens_are_found_under_other_names(name: str) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 1, name: 7, "cache_creation_input_tokens": 2}
    assert read(usage=usage).counted == TokenUsage(9, 1, 7, 2)


def test_usage_in_groqs_own_place_counts_once() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
    assert read(x_groq={"id": "req", "usage": usage}).counted == TokenUsage(3, 4)
    assert read(usage=usage, x_groq={"usage": usage}).counted == TokenUsage(3, 4)
    assert read(x_groq={"id": "req"}).counted is None
    assert read(x_groq={"usage": {"prompt_tokens": 3, "completion_tokens": "4"}}).counted == TokenUsage(3, 4)


def test_zeros_and_nulls_count_nothing() -> None:
    assert read(usage={"prompt_tokens": 0, "completion_tokens": 0}).counted is None
    assert read(usage={"prompt_tokens": None, "prompt_tokens_details": None}).counted is None
    assert read(choices=None, usage=None, error=None) == AnswerFacts()


def test_the_size_of_an_answer_is_all_that_it_says_in_bytes() -> None:
    assert said(role="assistant") == said(role="assistant", content="") == said(tool_calls=None) == 0
    assert said(content="hé") == 3
    assert said(content="a", reasoning_content="bc") == said(refusal="a", reasoning="bc") == 3
    assert said(reasoning="bc", reasoning_content="bc") == 2  # the same text under two names
    assert said(content=[{"type": "thinking", "thinking": [{"text": "x"}]}]) > 10
    assert said(tool_calls=[{"function": {"arguments": "{}"}}]) > 10
    assert read(choices=[{"message": {"content": "whole"}}, {"message": {"content": "ab"}}]).size() == 7


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
    assert answer.counted.input_tokens == 3
    assert answer.choices == [Choice(0, "stop")]


def test_whole_floats_and_numeric_strings_are_counts() -> None:
    assert read(usage={"prompt_tokens": 3.0, "completion_tokens": "4"}).counted == TokenUsage(3, 4)


def test_one_odd_choice_does_not_cost_the_others_or_the_usage() -> None:
    answer = read(
        choices=[{"finish_reason": 7}, "x", {"index": 2, "finish_reason": "length"}], usage={"prompt_tokens": 1}
    )
    assert answer.choices == [Choice(0), Choice(2, "length")]
    assert answer.counted.input_tokens == 1


@pytest.mark.parametrize("odd", ["none", [], 0, True])
def test_a_usage_of_another_shape_is_absent(odd: Any) -> None:
    answer = read(choices=[{"finish_reason": "stop"}], usage=odd)
    assert answer.usage is None
    assert answer.choices


@pytest.mark.parametrize("data", [b"[]", b"7", b"null", b"{", b'{"usage": '])
def test_what_is_no_object_raises(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        read_answer(data)
