"""Usage in OpenAI's names, from whatever names it came in."""

from types import SimpleNamespace

import pytest

from crplugins.handlers.litellm.usage import as_usage, usage_object


def test_prices_timings_and_null_details_are_left_out():
    raw = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "cost": 0.01, "queue_time": 0.2,
           "prompt_tokens_details": None, "completion_tokens_details": {"reasoning_tokens": 1, "odd_tokens": 4}}  # fmt: skip
    assert usage_object(raw) == {
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "total_tokens": 5,
        "completion_tokens_details": {"reasoning_tokens": 1},
    }


@pytest.mark.parametrize("name", ["prompt_cache_hit_tokens", "cache_read_input_tokens"])
def test_cached_tokens_are_found_under_other_names(name):
    usage = usage_object({"prompt_tokens": 9, "completion_tokens": 1, name: 7, "cache_creation_input_tokens": 2})
    assert usage is not None
    assert usage["prompt_tokens_details"] == {"cached_tokens": 7, "cache_write_tokens": 2}
    assert as_usage(usage).cached_input_tokens == 7


def test_details_are_kept_under_whatever_name_they_came():
    usage = usage_object({"input_tokens": 20, "output_tokens": 7, "input_tokens_details": {"cached_tokens": 16}})
    assert usage is not None
    assert usage["prompt_tokens_details"] == {"cached_tokens": 16}
    usage = usage_object({"prompt_tokens": 20, "completion_tokens": 47, "reasoning_tokens": 40})
    assert usage is not None
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 40}
    assert as_usage(usage).reasoning_output_tokens == 40


def test_a_missing_total_is_the_sum_and_floats_are_counts():
    usage = usage_object({"prompt_tokens": 9.0, "completion_tokens": 1})
    assert usage == {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}


def test_models_are_read_like_dicts():
    details = SimpleNamespace(cached_tokens=4)
    raw = SimpleNamespace(prompt_tokens=9, completion_tokens=1, total_tokens=10, prompt_tokens_details=details)
    assert usage_object(raw)["prompt_tokens_details"] == {"cached_tokens": 4}


@pytest.mark.parametrize("raw", [None, {}, {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, "5", []])
def test_what_counts_nothing_is_no_usage(raw):
    assert usage_object(raw) is None


@pytest.mark.parametrize(
    ("told", "searches"),
    [
        ({"num_search_queries": 3}, 3),
        ({"search_context_size": "high"}, 1),
        ({"server_side_tool_usage_details": {"web_search_calls": 2}}, 2),
        ({"server_tool_use": {"web_search_requests": 4}}, 4),
        ({"prompt_tokens_details": {"web_search_requests": 5}}, 5),
    ],
)
def test_searches_are_counted_under_each_providers_name(told, searches):
    usage = usage_object({"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10, **told})
    assert usage is not None
    assert usage["server_tool_use"] == {"web_search_requests": searches}
    assert as_usage(usage).web_searches == searches
