"""What providers' numbers mean, whatever the provider."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core.usage import MAX_TOKENS, TokenUsage, sane_usage
from crplugins.core.wire import read_answer


def counted(usage: Any, **beside: Any) -> TokenUsage | None:
    """What is counted of an answer with this `usage`."""
    return read_answer(json.dumps({"choices": [], "usage": usage, **beside}).encode()).counted


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        pytest.param(
            {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}, TokenUsage(12, 5), id="as OpenAI counts"
        ),
        pytest.param(
            {
                "prompt_tokens": 700,
                "completion_tokens": 30,
                "total_tokens": 980,
                "completion_tokens_details": {"reasoning_tokens": 250},
            },
            TokenUsage(700, 280, reasoning_output_tokens=250),
            id="reasoning beside the completion, as xAI counts",
        ),
        pytest.param(
            {"prompt_tokens": 40, "completion_tokens": 100, "total_tokens": 440},
            TokenUsage(40, 400),
            id="thoughts in the total alone, as Gemini's OpenAI endpoint counts",
        ),
        pytest.param(
            {"prompt_tokens": 9, "completion_tokens": 20, "completion_tokens_details": {"reasoning_tokens": 70}},
            TokenUsage(9, 90, reasoning_output_tokens=70),
            id="more reasoning than completion, and no total",
        ),
        pytest.param(
            {
                "prompt_tokens": 9,
                "completion_tokens": 20,
                "total_tokens": 29,
                "completion_tokens_details": {"reasoning_tokens": 21},
            },
            TokenUsage(9, 20, reasoning_output_tokens=21),
            id="parts that are rounded differently, and a total that says so",
        ),
        pytest.param(
            {
                "prompt_tokens": 7,
                "completion_tokens": 50,
                "total_tokens": 57,
                "prompt_tokens_details": {"cached_tokens": 3000},
            },
            TokenUsage(3007, 50, 3000),
            id="cached input beside the prompt",
        ),
        pytest.param(
            {"prompt_tokens": 500, "completion_tokens": 4, "total_tokens": 504, "cached_tokens": 480},
            TokenUsage(500, 4, 480),
            id="cached input at the top, as Moonshot counts",
        ),
        pytest.param(
            {
                "input_tokens": 8,
                "output_tokens": 60,
                "cache_read_input_tokens": 900,
                "cache_creation_input_tokens": 100,
            },
            TokenUsage(1008, 60, 900, 100),
            id="Anthropic's names, which leave cached input out",
        ),
        pytest.param(
            {"input_tokens": 800, "output_tokens": 60, "input_tokens_details": {"cached_tokens": 700}},
            TokenUsage(800, 60, 700),
            id="the names of OpenAI's Responses, which do not",
        ),
        pytest.param({"completion_tokens": 4, "total_tokens": 16}, TokenUsage(12, 4), id="no prompt"),
        pytest.param(
            {"prompt_tokens": 0, "completion_tokens": 4, "total_tokens": 16}, TokenUsage(12, 4), id="a prompt of 0"
        ),
        pytest.param({"prompt_tokens": 12, "total_tokens": 16}, TokenUsage(12, 4), id="no completion"),
        pytest.param(
            {"prompt_tokens": 12, "completion_tokens": -5, "total_tokens": 16}, TokenUsage(12, 4), id="a negative half"
        ),
        pytest.param({"prompt_tokens": -12, "completion_tokens": -4, "total_tokens": -16}, None, id="negative"),
        pytest.param({"prompt_tokens": 12, "completion_tokens": 2**63}, TokenUsage(12, 0), id="absurd"),
        pytest.param({"prompt_tokens": 12.0, "completion_tokens": "5"}, TokenUsage(12, 5), id="floats and texts"),
        pytest.param({"prompt_tokens": None, "completion_tokens": None}, None, id="null"),
        pytest.param({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, None, id="zeros"),
    ],
)
def test_every_providers_numbers_are_made_sense_of(usage: dict[str, Any], expected: TokenUsage | None) -> None:
    assert counted(usage) == expected


def test_usage_inside_a_choice_counts_where_there_is_none_beside_it() -> None:
    choice = {"index": 0, "delta": {}, "finish_reason": "stop", "usage": {"prompt_tokens": 21, "completion_tokens": 8}}
    assert counted(None, choices=[choice]) == TokenUsage(21, 8)
    assert counted({"prompt_tokens": 30, "completion_tokens": 9}, choices=[choice]) == TokenUsage(30, 9)


counts = st.none() | st.integers(-5, 200) | st.sampled_from([MAX_TOKENS, MAX_TOKENS + 1, 2**70])


@given(counts, counts, counts, counts, counts, counts)
def test_whatever_is_reported_the_books_get_sane_integers(
    prompt: int | None,
    completion: int | None,
    total: int | None,
    cached: int | None,
    cache_write: int | None,
    reasoning: int | None,
) -> None:
    usage = sane_usage(prompt, completion, total, cached=cached, cache_write=cache_write, reasoning=reasoning)
    if usage is None:
        return
    assert all(0 <= getattr(usage, name) <= 4 * MAX_TOKENS for name in TokenUsage.__struct_fields__)
    assert usage.cached_input_tokens + usage.cache_write_input_tokens <= usage.input_tokens
    assert usage.input_tokens or usage.output_tokens
    if prompt is not None and 0 < prompt <= MAX_TOKENS:
        assert usage.input_tokens >= prompt
    if completion is not None and 0 <= completion <= MAX_TOKENS:
        assert usage.output_tokens >= completion
