import json
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from crplugins.core.delta import Delta
from crplugins.core.usage import TokenUsage
from crplugins.core.wire import AnswerFacts, Choice, Misshapen, read_answer


def read(**fields: Any) -> AnswerFacts:
    return read_answer(json.dumps(fields).encode())


def said(**message: Any) -> bool:
    return read(choices=[{"delta": message}]).says()


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


def test_whether_an_answer_says_something() -> None:
    assert not said(role="assistant")
    assert not said(role="assistant", content="")
    assert not said(tool_calls=None, content=None)
    assert said(content="x")
    assert said(reasoning="x")
    assert said(refusal="x")
    assert said(content=[{"type": "text", "text": "x"}])
    assert said(tool_calls=[{"function": {"arguments": ""}}])
    assert read(choices=[{"message": {"content": "whole"}}]).says()


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
    assert answer.choices == [Choice(0, None), Choice(2, "length")]
    assert answer.counted.input_tokens == 1


@pytest.mark.parametrize("odd", ["none", [], 0, True])
def test_a_usage_of_another_shape_is_absent(odd: Any) -> None:
    answer = read(choices=[{"finish_reason": "stop"}], usage=odd)
    assert answer.usage is None
    assert answer.choices


@pytest.mark.parametrize("data", [b"{", b'{"usage": ', b"", b"ping", b"<html>"])
def test_what_is_no_json_raises(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        read_answer(data)


@pytest.mark.parametrize("data", [b"[]", b"null", b"{}", b'{"choices": null}', b'{"type": "ping"}'])
def test_json_with_nothing_in_it_says_nothing(data: bytes) -> None:
    assert read_answer(data) == AnswerFacts()


@pytest.mark.parametrize(
    "data", [b"7", b"true", b'"text"', b"[[]]", b"[7]", b'{"choices": 7}', b'{"choices": {}}', b'{"choices": [7]}']
)
def test_json_that_is_neither_an_answer_nor_empty_is_misshapen(data: bytes) -> None:
    assert isinstance(read_answer(data), Misshapen)
    assert not read_answer(data).says()


def test_the_error_in_googles_list_is_read() -> None:
    assert read_answer(b'[{"error": {"code": 400, "message": "no"}}]').error == {"code": 400, "message": "no"}


@pytest.mark.parametrize(
    "content",
    [rb"\ud83d", rb"a \ude00", rb"\uD83D\uD83D\uDE00", b"a\x00b", b"tab\there"],
    ids=["first half", "second half", "half and pair", "NUL", "tab"],
)
def test_texts_that_only_msgspec_refuses_are_read(content: bytes) -> None:
    data = (
        b'{"choices": [{"delta": {"content": "%s"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}' % content
    )
    answer = read_answer(data)
    assert answer.says()
    assert answer.counted == TokenUsage(3)
    assert answer.choices
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity"])
def test_numbers_that_only_python_writes_are_read(number: bytes) -> None:
    data = (
        b'{"choices": [{"delta": {"content": "NaN \\" Infinity"}, "logprobs": {"content": [{"logprob": %s}]}}]}'
        % number
    )
    [choice] = read_answer(data).choices or ()
    assert choice.delta == Delta('NaN " Infinity')


@pytest.mark.parametrize("reason", [None, 0, False, {}, 12.5])
def test_a_finish_reason_that_is_no_text_is_null_and_not_absent(reason: object) -> None:
    odd = read(choices=[{"index": 0, "finish_reason": reason, "delta": {"tool_calls": 5, "content": "a"}}], usage=7)
    assert odd.choices
    assert odd.choices[0].finish_reason is None
    absent = read(choices=[{"index": 0, "delta": {"content": "a"}}], usage=7)
    assert absent.choices
    assert absent.choices[0].finish_reason is UNSET
