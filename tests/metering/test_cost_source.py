"""Whose price a cost is: ours where one is known, else what the provider itself says, which is always kept."""

import json

import pytest

from crplugins.core.exchange import Exchange, Timings
from crplugins.core.reported_usage import ReportedUsage
from crplugins.core.sse import Event
from crplugins.core.usage import Price
from crplugins.core.wire import read_answer
from crplugins.metering.record import record_of

LISTED = Price(1_000_000, 2_000_000, source="table")
USED = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}


def exchange_of(*answers, price=None, stream=False):
    """A finished request whose answer was these events."""
    exchange = Exchange(
        id="r-1", method="POST", path="/v1/chat/completions", headers=(), client=None, clock=lambda: 0.0,
        timings=Timings(0.0), served_model="vendor/asked-for", stream=stream, price=price,
    )  # fmt: skip
    for answer in answers:
        data = json.dumps(answer).encode()
        exchange.note_facts(Event.of(data) if stream else Event.json_document(data))
    exchange.concluded(200, left=False, complete=True)
    return exchange


def record_for(usage, price=None, **beside):
    return record_of(exchange_of({"model": "m-2031-05-06", "choices": [], "usage": usage, **beside}, price=price))


@pytest.mark.parametrize(
    ("usage", "micro_usd"),
    [
        pytest.param({"cost": 0.0125}, 12_500, id="OpenRouter"),
        pytest.param({"cost": "0.0125"}, 12_500, id="as text"),
        pytest.param({"cost": 0}, 0, id="free"),
        pytest.param({"cost": 3}, 3_000_000, id="whole dollars"),
        pytest.param(
            {"cost": 0.0005, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.01}}, 10_500,
            id="OpenRouter's fee, and what the provider behind it charges the operator's own key",
        ),
        pytest.param(
            {"cost": 0.01, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.01}}, 10_000,
            id="OpenRouter, with its own key",
        ),
        pytest.param({"cost": {"input_tokens_cost": 0.001, "request_cost": 0.005, "total_cost": 0.006}}, 6_000,
                     id="Perplexity"),
        pytest.param({"estimated_cost": 0.00042}, 420, id="DeepInfra"),
        pytest.param({"cost_in_usd_ticks": 37_756_000}, 3_776, id="xAI"),
        pytest.param({"cost": 1e-7}, 0, id="less than is counted"),
    ],
)  # fmt: skip
def test_what_a_provider_says_of_its_bill_is_read(usage, micro_usd):
    told = record_for({**USED, **usage})
    assert (told.cost_micro_usd, told.cost_source, told.provider_cost_micro_usd) == (micro_usd, "provider", micro_usd)


@pytest.mark.parametrize(
    "odd",
    [
        {"cost": -1},
        {"cost": True},
        {"cost": "a lot"},
        {"cost": 1e12},
        {"cost": "NaN"},
        {"cost": "Infinity"},
        {"cost": "1e999999999"},
        {"cost": []},
        {"cost": {}},
        {"cost": {"total_cost": {}}},
        {"cost": None},
        {"estimated_cost": "?"},
        {"cost_in_usd_ticks": "many"},
        {"cost_in_usd_ticks": -(10**10)},
    ],
)
def test_nonsense_is_no_cost_and_takes_nothing_from_the_counts(odd):
    told = record_for({**USED, **odd})
    assert (told.cost_micro_usd, told.cost_source, told.provider_cost_micro_usd) == (None, None, None)
    assert (told.usage.input_tokens, told.usage.output_tokens) == (10, 4)


def test_our_price_comes_first_and_the_providers_cost_is_kept_beside_it():
    told = record_for({**USED, "cost": 0.5}, LISTED)
    assert (told.cost_micro_usd, told.cost_source, told.provider_cost_micro_usd) == (18, "table", 500_000)
    told = record_for(USED, Price(2_000_000, 0))
    assert (told.cost_micro_usd, told.cost_source, told.provider_cost_micro_usd) == (20, "config", None)


def test_where_nothing_was_used_there_is_no_price_to_tell():
    refused = record_of(exchange_of())
    assert (refused.cost_micro_usd, refused.cost_source) == (0, None)
    assert record_of(exchange_of(price=LISTED)).cost_source is None


def test_a_cost_without_counts_is_a_cost():
    told = record_for({"cost": 0.001}, LISTED)
    assert (told.cost_micro_usd, told.cost_source) == (1_000, "provider")


def test_the_answers_own_names_are_kept_beside_what_was_asked_for():
    told = record_for(USED, service_tier="flex")
    assert (told.served_model, told.provider_model, told.service_tier) == ("vendor/asked-for", "m-2031-05-06", "flex")
    silent = record_of(exchange_of({"choices": [], "usage": USED}))
    assert (silent.served_model, silent.provider_model, silent.service_tier) == ("vendor/asked-for", None, None)


def test_a_tier_in_the_usage_counts_too_and_one_beside_it_first():
    assert record_for({**USED, "service_tier": "priority"}).service_tier == "priority"
    assert record_for({**USED, "service_tier": "standard"}, service_tier="default").service_tier == "default"


def test_of_a_stream_the_last_word_holds_which_comes_with_the_usage():
    chunk = {"choices": [{"index": 0, "delta": {"content": "Hi"}}], "usage": None}
    told = record_of(
        exchange_of(
            {**chunk, "model": "", "service_tier": "auto"},
            {**chunk, "model": "m-1", "service_tier": "auto"},
            {**chunk, "model": "m-1"},
            {"choices": [], "model": "m-1b", "service_tier": "default", "usage": {**USED, "cost": 0.25}},
            stream=True,
        )
    )
    assert (told.provider_model, told.service_tier, told.provider_cost_micro_usd) == ("m-1b", "default", 250_000)


@pytest.mark.parametrize("odd", [{"type": "priority"}, 7, ["flex"], None, ""])
def test_a_tier_that_is_no_text_is_none(odd):
    told = record_for(USED, service_tier=odd)
    assert told.service_tier is None
    assert told.provider_model == "m-2031-05-06"
    assert told.usage.input_tokens == 10


def test_a_stream_that_is_left_early_has_told_its_model():
    chunk = {"model": "m-1", "service_tier": "flex", "choices": [{"index": 0, "delta": {"content": "Hi"}}]}
    told = record_of(exchange_of(chunk, stream=True))
    assert (told.provider_model, told.service_tier, told.cost_source) == ("m-1", "flex", None)


def test_every_name_of_a_cost_survives_a_usage_with_an_odd_field_beside_it():
    usage = read_answer(json.dumps({"usage": {**USED, "prompt_tokens_details": 7, "cost": 0.1}}).encode()).usage
    assert isinstance(usage, ReportedUsage)
    assert usage.cost_micro_usd() == 100_000
