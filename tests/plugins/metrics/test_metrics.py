"""Metrics: what a finished request adds, and to which series."""

import random
from collections import Counter

import pytest

from crplugins.core.exchange import Attempt
from crplugins.core.outcome import ERROR_TYPES, OUTCOMES
from crplugins.core.usage import Price, TokenUsage
from crplugins.metering.record import record_of
from crplugins.plugins.metrics.label_guard import PROVIDERS
from crplugins.plugins.metrics.plugin import Metrics
from crplugins.plugins.metrics.series import PREPARED_MODELS
from tests.plugins.metrics.setup import changes, finished, run, samples, value


def added_by(metrics: Metrics, exchange) -> dict[str, float]:
    """Without the buckets, which repeat what sum and count say."""
    before = samples(metrics)
    run(metrics, exchange)
    return {name: round(by, 9) for name, by in changes(metrics, before).items() if "_bucket{" not in name}


def test_a_streamed_request_is_counted_in_these_series():
    assert added_by(Metrics(["m"], ["team-a"]), finished()) == {
        'crplugins_requests_total{code="200",endpoint="chat",error_type="",key_id="team-a",model="m"}': 1.0,
        'crplugins_request_duration_seconds_count{endpoint="chat",model="m",outcome="ok",stream="true"}': 1.0,
        'crplugins_request_duration_seconds_sum{endpoint="chat",model="m",outcome="ok",stream="true"}': 0.501,
        'crplugins_time_to_first_token_seconds_count{model="m"}': 1.0,
        'crplugins_time_to_first_token_seconds_sum{model="m"}': 0.3,
        'crplugins_time_per_output_token_seconds_count{model="m"}': 1.0,
        'crplugins_time_per_output_token_seconds_sum{model="m"}': 0.003389831,
        'crplugins_stream_max_gap_seconds_count{model="m"}': 1.0,
        'crplugins_stream_max_gap_seconds_sum{model="m"}': 0.15,
        "crplugins_overhead_seconds_count": 1.0,
        "crplugins_overhead_seconds_sum": 0.003,
        'crplugins_input_tokens_total{key_id="team-a",model="m"}': 900.0,
        'crplugins_output_tokens_total{key_id="team-a",model="m"}': 60.0,
        'crplugins_cached_input_tokens_total{key_id="team-a",model="m"}': 512.0,
        'crplugins_cache_write_input_tokens_total{key_id="team-a",model="m"}': 7.0,
        'crplugins_reasoning_output_tokens_total{key_id="team-a",model="m"}': 20.0,
        'crplugins_cost_usd_total{key_id="team-a",model="m"}': 0.000171,
        'crplugins_request_input_tokens_count{model="m"}': 1.0,
        'crplugins_request_input_tokens_sum{model="m"}': 900.0,
        'crplugins_request_output_tokens_count{model="m"}': 1.0,
        'crplugins_request_output_tokens_sum{model="m"}': 60.0,
        'crplugins_upstream_attempts_total{error_type="",kind="initial",model="m",provider="openai"}': 1.0,
        'crplugins_upstream_duration_seconds_count{model="m",provider="openai"}': 1.0,
        'crplugins_upstream_duration_seconds_sum{model="m",provider="openai"}': 0.498,
    }


def test_a_plain_answer_has_no_timings_of_a_stream():
    added = added_by(Metrics(["m"], ["team-a"]), finished(stream=False))
    assert added['crplugins_request_duration_seconds_count{endpoint="chat",model="m",outcome="ok",stream="false"}'] == 1
    assert not [name for name in added if "token_seconds" in name or "gap" in name]


def test_a_request_falls_into_the_bucket_of_its_duration():
    metrics = Metrics(["m"])
    run(metrics, finished())
    buckets = {
        dict(labels)["le"]: count
        for (name, labels), count in samples(metrics).items()
        if name == "crplugins_request_duration_seconds_bucket"
        and ("outcome", "ok") in labels
        and ("stream", "true") in labels
        and ("model", "m") in labels
    }
    assert buckets["0.5"] == 0
    assert buckets["1.0"] == buckets["+Inf"] == 1


@pytest.mark.parametrize("error_type", ERROR_TYPES)
def test_every_error_type_is_counted_with_its_code_and_timed_with_its_outcome(error_type):
    metrics = Metrics(["m"], ["team-a"])
    run(metrics, finished(error_type=error_type, status=200 if not error_type else 418))
    code = "418" if error_type else "200"
    assert value(metrics, "requests_total", model="m", key_id="team-a", code=code, error_type=error_type) == 1
    outcome = OUTCOMES[error_type]
    assert value(metrics, "request_duration_seconds_count", model="m", stream="true", outcome=outcome) == 1


def test_a_stream_that_broke_is_seen_beside_its_status_200():
    metrics = Metrics(["m"])
    run(metrics, finished(key_id=None, error_type="upstream_stream_broken"))
    broken = {"model": "m", "key_id": "none", "code": "200", "error_type": "upstream_stream_broken"}
    assert value(metrics, "requests_total", **broken) == 1


@pytest.mark.parametrize(
    ("requested", "label"),
    [
        ("fast", "fast"),
        ("gpt-4o", "gpt-4*"),
        ("gpt-3.5", "gpt-*"),
        ("gpt-*", "gpt-*"),
        ("claude", "other"),
        (None, "other"),
    ],
)
def test_a_model_is_counted_as_configured_or_as_the_first_pattern_it_fits_or_as_other(requested, label):
    metrics = Metrics(["fast", "gpt-4*", "gpt-*"], ["team-a"])
    run(metrics, finished(requested))
    assert value(metrics, "requests_total", model=label, key_id="team-a", code="200", error_type="") == 1
    assert value(metrics, "label_overflow_total", label="model") == (requested == "claude")


def test_a_configured_model_called_other_is_no_overflow():
    metrics = Metrics(["other"])
    run(metrics, finished("other"))
    assert value(metrics, "label_overflow_total", label="model") == 0


def test_keys_past_the_cap_share_a_series_and_are_counted():
    metrics = Metrics(["m"], ["a", "b"], key_cap=3)
    for key_id in ("new", "later", "b", "latest", "later", "new", None):
        run(metrics, finished(key_id=key_id))
    by_key = {
        key: value(metrics, "requests_total", model="m", key_id=key, code="200", error_type="")
        for key in ("a", "b", "new", "other", "none", "later")
    }
    assert by_key == {"a": 0, "b": 1, "new": 2, "other": 3, "none": 1, "later": None}
    assert value(metrics, "label_overflow_total", label="key_id") == 3


def test_configured_keys_are_admitted_in_their_order():
    metrics = Metrics(["m"], ["a", "b", "c", "a"], key_cap=2)
    for key_id in ("c", "b", "a"):
        run(metrics, finished(key_id=key_id))
    counted = [
        value(metrics, "requests_total", model="m", key_id=k, code="200", error_type="")
        for k in ("a", "b", "c", "other")
    ]
    assert counted == [1, 1, None, 1]


@pytest.mark.parametrize(
    ("facts", "reasons"),
    [
        ({}, []),
        ({"usage_source": "estimated"}, ["estimated"]),
        ({"price": None}, ["no_price"]),
        ({"usage_source": "estimated", "price": None}, ["estimated", "no_price"]),
        ({"usage": None, "usage_source": "none"}, ["no_usage"]),
        ({"usage": None, "usage_source": "none", "status": 502, "error_type": "upstream_5xx"}, []),
    ],
)
def test_requests_that_budgets_cannot_see_are_counted_with_the_reason(facts, reasons):
    metrics = Metrics(["m"])
    run(metrics, finished(**facts))
    counted = [
        r
        for r in ("estimated", "no_price", "no_usage")
        if value(metrics, "unmetered_requests_total", model="m", reason=r)
    ]
    assert counted == reasons


def test_an_answer_of_a_plugins_own_needs_no_meter():
    metrics, exchange = Metrics(["m"]), finished(usage=None, usage_source="none", attempts=[])
    exchange.timings.app = None
    run(metrics, exchange)
    assert value(metrics, "unmetered_requests_total", model="m", reason="no_usage") == 0


def test_estimated_tokens_are_counted_like_reported_ones():
    metrics = Metrics(["m"])
    run(metrics, finished(usage_source="estimated"))
    assert value(metrics, "output_tokens_total", model="m", key_id="team-a") == 60
    assert value(metrics, "time_per_output_token_seconds_count", model="m") == 0


def test_tokens_and_cost_are_exactly_those_of_the_records():
    metrics, rng = Metrics(["a", "b"], ["k", "l"]), random.Random(1)
    expected: Counter[tuple[str, str, str]] = Counter()
    for _ in range(20_000):
        model, key = rng.choice("ab"), rng.choice("kl")
        usage = TokenUsage(
            rng.randrange(10**6), rng.randrange(10**5), rng.randrange(100), rng.randrange(100), rng.randrange(100)
        )
        exchange = finished(model, key, usage=usage, price=Price(rng.randrange(10**7), rng.randrange(10**7)))
        run(metrics, exchange)
        record = record_of(exchange)
        for name in (
            "input_tokens",
            "output_tokens",
            "cached_input_tokens",
            "cache_write_input_tokens",
            "reasoning_output_tokens",
        ):
            expected[model, key, name] += getattr(usage, name)
        expected[model, key, "cost_usd"] += record.cost_micro_usd
    for (model, key, name), total in expected.items():
        counted = value(metrics, f"{name}_total", model=model, key_id=key)
        assert counted == (total / 1e6 if name == "cost_usd" else total)


def test_an_answer_from_a_cache_has_counters_of_its_own_and_costs_nothing():
    added = added_by(Metrics(["m"], ["team-a"]), finished(stream=False, usage_source="cache", attempts=[]))
    assert {name: by for name, by in added.items() if "_seconds" not in name} == {
        'crplugins_requests_total{code="200",endpoint="chat",error_type="",key_id="team-a",model="m"}': 1.0,
        'crplugins_cache_answers_total{key_id="team-a",model="m"}': 1.0,
        'crplugins_cache_answer_input_tokens_total{key_id="team-a",model="m"}': 900.0,
        'crplugins_cache_answer_output_tokens_total{key_id="team-a",model="m"}': 60.0,
    }


def test_every_call_of_a_provider_is_counted_and_timed():
    attempts = [
        Attempt("openai", "initial", 100.0, 100.1, "upstream_429"),
        Attempt("openai", "retry", 100.1, 100.3, "upstream_5xx"),
        Attempt("azure", "fallback", 100.3, None),
    ]
    added = added_by(Metrics(["m"]), finished(attempts=attempts))
    assert {name: by for name, by in added.items() if "upstream" in name} == {
        'crplugins_upstream_attempts_total{error_type="upstream_429",kind="initial",model="m",provider="openai"}': 1.0,
        'crplugins_upstream_attempts_total{error_type="upstream_5xx",kind="retry",model="m",provider="openai"}': 1.0,
        'crplugins_upstream_attempts_total{error_type="",kind="fallback",model="m",provider="azure"}': 1.0,
        'crplugins_upstream_duration_seconds_count{model="m",provider="openai"}': 2.0,
        'crplugins_upstream_duration_seconds_sum{model="m",provider="openai"}': 0.3,
        'crplugins_upstream_duration_seconds_count{model="m",provider="azure"}': 1.0,
        'crplugins_upstream_duration_seconds_sum{model="m",provider="azure"}': 0.201,
    }


def test_providers_and_statuses_without_end_are_counted_as_other():
    metrics = Metrics(["m"], ["team-a"])
    for number in range(PROVIDERS + 3):
        run(metrics, finished(attempts=[Attempt(f"p{number}", "initial", 100.0, 100.1)] * 2))
    at = {"model": "m", "provider": "other"}
    assert value(metrics, "upstream_attempts_total", kind="initial", error_type="", **at) == 6
    assert value(metrics, "upstream_duration_seconds_count", **at) == 6
    assert value(metrics, "label_overflow_total", label="provider") == 6
    for status in range(400, 500):
        run(metrics, finished(status=status, error_type="upstream_4xx"))
    others = value(metrics, "requests_total", model="m", key_id="team-a", code="other", error_type="upstream_4xx")
    assert others == value(metrics, "label_overflow_total", label="code") > 30


def test_nobody_is_charged_for_a_clock_that_steps_back():
    metrics = Metrics(["m"])
    run(metrics, finished(attempts=[Attempt("openai", "initial", 99.0, 101.0)]))
    assert value(metrics, "overhead_seconds_sum") == 0


def test_a_request_that_cannot_be_counted_is_in_flight_no_more():
    metrics = Metrics(["m"])
    with pytest.raises(AttributeError):
        run(metrics, finished(attempts=[None]))
    assert value(metrics, "requests_in_flight") == 0


def test_a_model_and_key_have_series_before_their_first_request():
    there = samples(Metrics(["fast", "gpt-*"], ["a", "b"]))
    names = {name for name, labels in there if ("model", "gpt-*") in labels and ("key_id", "b") in labels}
    assert names == {
        "crplugins_requests_total", "crplugins_input_tokens_total", "crplugins_output_tokens_total", "crplugins_cost_usd_total",
        "crplugins_cached_input_tokens_total", "crplugins_cache_write_input_tokens_total", "crplugins_reasoning_output_tokens_total",
    }  # fmt: skip
    durations = {labels for name, labels in there if name == "crplugins_request_duration_seconds_count"}
    for model in ("fast", "gpt-*", "other"):
        assert ("crplugins_time_to_first_token_seconds_count", (("model", model),)) in there
        assert ("crplugins_time_per_output_token_seconds_count", (("model", model),)) in there
        for outcome in ("ok", "server_error"):
            for stream in ("true", "false"):
                assert (("endpoint", "chat"), ("model", model), ("outcome", outcome), ("stream", stream)) in durations


def test_models_beyond_a_few_hundred_have_series_from_their_first_request_on():
    names = [f"m{number}" for number in range(2 * PREPARED_MODELS)]
    metrics = Metrics([*names, "gpt-*"])
    first, last = names[0], names[-1]
    at = "time_to_first_token_seconds_count"
    assert (value(metrics, at, model=first), value(metrics, at, model=last)) == (0, None)
    most = metrics.worst_case_series()
    for model in (last, "gpt-4o", "nobody's"):
        run(metrics, finished(model=model))
    for label in (last, "gpt-*", "other"):
        assert value(metrics, "input_tokens_total", model=label, key_id="team-a") == 900
    assert value(metrics, "label_overflow_total", label="model") == 1
    assert metrics.worst_case_series() == most


def test_a_model_that_nobody_asked_for_before_it_was_taken_off_is_none_any_more():
    names = [f"m{number}" for number in range(2 * PREPARED_MODELS)]
    metrics = Metrics(names)
    metrics.configure(names[:-1], (), 10)
    run(metrics, finished(model=names[-1]))
    assert value(metrics, "input_tokens_total", model="other", key_id="team-a") == 900


def test_models_by_keys_beyond_a_few_hundred_pairs_are_not_made_in_advance():
    few, many = (
        len(samples(Metrics([f"m{n}" for n in range(20)], [f"k{n}" for n in range(keys)]))) for keys in (25, 400)
    )
    assert few == many
