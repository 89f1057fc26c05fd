"""The price follows what the answer says was used: its tier, parts of the input and output, fees beside tokens."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core.usage import Price, TokenUsage
from crplugins.core.wire import read_answer
from crplugins.metering.price_table import PriceTable, prices_for
from crplugins.metering.prices import price_of
from tests.metering.test_cost_source import exchange_of

RATES = {
    "input_cost_per_token": 4e-6,
    "output_cost_per_token": 20e-6,
    "cache_read_input_token_cost": 0.4e-6,
    "input_cost_per_token_flex": 2e-6,
    "output_cost_per_token_flex": 10e-6,
    "input_cost_per_token_priority": 8e-6,
    "output_cost_per_token_priority": 40e-6,
    "cache_read_input_token_cost_priority": 0.8e-6,
    "input_cost_per_token_batches": 2e-6,
    "output_cost_per_token_batches": 10e-6,
}
USED = TokenUsage(1000, 100, cached_input_tokens=500)


def cost(price: Price | None, usage: TokenUsage, *named: str) -> int:
    assert price is not None
    return price.micro_usd(usage, named)


def counted(usage: dict[str, Any]) -> TokenUsage:
    """What is counted of an answer with 1,000 tokens in and 200 out, and this besides."""
    whole = {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200, **usage}
    found = read_answer(json.dumps({"usage": whole}).encode()).counted
    assert found is not None
    return found


# The tier of the answer


@pytest.mark.parametrize(
    ("tier", "micro_usd"),
    [
        (None, 2000 + 200 + 2000),
        ("default", 2000 + 200 + 2000),
        ("standard", 2000 + 200 + 2000),
        ("auto", 2000 + 200 + 2000),
        ("scale", 2000 + 200 + 2000),
        ("on_demand", 2000 + 200 + 2000),
        ("one that nobody knows", 2000 + 200 + 2000),
        ("flex", 1000 + 200 + 1000),
        ("FLEX", 1000 + 200 + 1000),
        ("ON_DEMAND_FLEX", 1000 + 200 + 1000),
        ("priority", 4000 + 400 + 4000),
        ("fast", 4000 + 400 + 4000),
        ("ON_DEMAND_PRIORITY", 4000 + 400 + 4000),
        ("batch", 1000 + 200 + 1000),
    ],
)
@pytest.mark.parametrize("place", ["beside the usage", "in the usage"])
def test_the_tier_that_the_answer_names_is_charged(tier, micro_usd, place):
    usage: dict[str, Any] = {
        "prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 500},
    }  # fmt: skip
    answer: dict[str, Any] = {"usage": usage}
    (answer if place == "beside the usage" else usage)["service_tier"] = tier
    exchange = exchange_of(answer, price=price_of(RATES))
    assert exchange.usage is not None
    assert exchange.price is not None
    assert exchange.cost_at(exchange.price, exchange.usage) == micro_usd


def test_a_tier_has_its_own_price_of_longer_prompts_wherever_its_word_stands():
    behind = {
        **RATES,
        "input_cost_per_token_above_200k_tokens": 5e-6,
        "input_cost_per_token_above_200k_tokens_priority": 9e-6,
    }
    before = {
        **RATES,
        "input_cost_per_token_above_200k_tokens": 5e-6,
        "input_cost_per_token_priority_above_200k_tokens": 9e-6,
    }
    for rates in (behind, before):
        price = price_of(rates)
        assert cost(price, TokenUsage(200_001, 0), "priority") == 200_001 * 9
        assert cost(price, TokenUsage(200_001, 0), "flex") == 200_001 * 5
        assert cost(price, TokenUsage(200_001, 0)) == 200_001 * 5
        assert cost(price, TokenUsage(200_000, 0), "priority") == 200_000 * 8


def test_reasoning_costs_what_the_tiers_output_costs():
    price = price_of({**RATES, "output_cost_per_reasoning_token": 30e-6})
    used = TokenUsage(0, 100, reasoning_output_tokens=100)
    assert [cost(price, used, tier) for tier in ("default", "flex")] == [3000, 1000]


def test_a_batch_costs_half_where_only_its_input_has_a_price_and_longer_prompts_halve_too():
    price = price_of(
        {
            "input_cost_per_token": 4e-6,
            "output_cost_per_token": 20e-6,
            "input_cost_per_token_batches": 2e-6,
            "input_cost_per_token_above_200k_tokens": 8e-6,
        }
    )
    assert cost(price, TokenUsage(100, 100), "batch") == 200 + 1000
    assert cost(price, TokenUsage(200_001, 100), "batch") == 200_001 * 4 + 1000


def test_prices_of_ones_own_have_tiers_too():
    listed = PriceTable([("m", "openai", price_of(RATES) or Price(0, 0))])
    own = prices_for({"input_cost_per_token_flex": "1e-6"}, lambda: listed)("m")
    assert [cost(own, TokenUsage(100, 0), tier) for tier in ("default", "flex", "priority")] == [400, 100, 800]
    own = prices_for({"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "output_cost_per_token_flex": 1e-6},
                     PriceTable)("m")  # fmt: skip
    assert [cost(own, TokenUsage(100, 100), tier) for tier in ("default", "flex", "priority")] == [300, 200, 300]


def test_a_price_of_ones_own_holds_in_every_tier_that_has_none_of_ones_own():
    listed = PriceTable([("m", "openai", price_of(RATES) or Price(0, 0))])
    own = prices_for({"input_cost_per_token": 1e-6}, lambda: listed)("m")
    assert [cost(own, TokenUsage(100, 0), tier) for tier in ("default", "flex", "priority")] == [100, 100, 100]
    assert cost(own, TokenUsage(0, 100), "priority") == 4000


def test_another_mode_of_an_api_is_no_tier():
    price = price_of({**RATES, "input_cost_per_token_cache_hit": 1e-9, "input_cost_per_token_decisions": 1e-9})
    assert price is not None
    assert sorted(name for name, _ in price.alternatives) == ["batch", "fast", "flex", "priority"]


# Surcharges


ANTHROPIC = {**RATES, "provider_specific_entry": {"us": 1.1, "fast": 6.0}, "litellm_provider": "anthropic"}


@pytest.mark.parametrize(
    ("usage", "thousandths"),
    [
        ({}, 1000),
        ({"inference_geo": "us"}, 1100),
        ({"inference_geo": "global"}, 1000),
        ({"inference_geo": "not_available"}, 1000),
        ({"speed": "fast", "service_tier": "standard"}, 6000),
        ({"speed": "standard", "service_tier": "standard"}, 1000),
        ({"speed": "fast", "inference_geo": "us"}, 6600),
    ],
)
def test_fast_answers_and_regions_have_a_surcharge(usage, thousandths):
    rates = {key: rate for key, rate in ANTHROPIC.items() if "priority" not in key}
    exchange = exchange_of({"usage": {"prompt_tokens": 1000, "completion_tokens": 0, **usage}}, price=price_of(rates))
    assert exchange.usage is not None
    assert exchange.price is not None
    assert exchange.cost_at(exchange.price, exchange.usage) == 4 * thousandths


def test_a_surcharge_that_is_no_number_is_none():
    price = price_of({**RATES, "provider_specific_entry": {"us": "much"}})
    assert price is not None
    assert price.factors == ()


# Parts of the input and of the output


PARTS = {
    "input_cost_per_token": 10e-6,
    "output_cost_per_token": 50e-6,
    "cache_read_input_token_cost": 1e-6,
    "cache_creation_input_token_cost": 12e-6,
    "cache_creation_input_token_cost_above_1hr": 20e-6,
    "input_cost_per_audio_token": 30e-6,
    "cache_read_input_audio_token_cost": 3e-6,
    "input_cost_per_image_token": 15e-6,
    "output_cost_per_audio_token": 60e-6,
    "output_cost_per_image_token": 70e-6,
    "output_cost_per_video_token": 80e-6,
    "output_cost_per_reasoning_token": 40e-6,
}


@pytest.mark.parametrize(
    ("usage", "micro_usd"),
    [
        pytest.param({}, 10_000 + 10_000, id="text"),
        pytest.param({"prompt_tokens_details": {"cached_tokens": 400}}, 6_000 + 400 + 10_000, id="cached"),
        pytest.param(
            {"prompt_tokens_details": {"cache_write_tokens": 400}}, 6_000 + 4_800 + 10_000, id="written, at OpenAI"
        ),
        pytest.param(
            {
                "cache_creation_input_tokens": 400,
                "cache_creation": {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 100},
            },
            6_000 + 3_600 + 2_000 + 10_000,
            id="written for 5 minutes and for an hour, at Anthropic",
        ),
        pytest.param(
            {"cache_creation": {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 100}},
            6_000 + 3_600 + 2_000 + 10_000,
            id="the lifetimes alone",
        ),
        pytest.param(
            {
                "prompt_tokens_details": {
                    "cache_write_tokens": 400,
                    "cache_write_tokens_details": {"ttl_30m_tokens": 300, "ttl_12h_tokens": 100},
                }
            },
            6_000 + 3_600 + 2_000 + 10_000,
            id="written for half an hour and for twelve, at OpenAI",
        ),
        pytest.param(
            {
                "prompt_tokens_details": {
                    "cache_creation_tokens": 400,
                    "cache_creation_token_details": {
                        "ephemeral_5m_input_tokens": 300,
                        "ephemeral_1h_input_tokens": 100,
                    },
                }
            },
            6_000 + 3_600 + 2_000 + 10_000,
            id="in litellm's names",
        ),
        pytest.param({"prompt_tokens_details": {"audio_tokens": 400}}, 6_000 + 12_000 + 10_000, id="audio in"),
        pytest.param(
            {
                "prompt_tokens_details": {
                    "audio_tokens": 400,
                    "cached_tokens": 300,
                    "cached_tokens_details": {"audio_tokens": 200},
                }
            },
            5_000 + 200 * 30 + 200 * 3 + 100 + 10_000,
            id="audio, half of it cached",
        ),
        pytest.param({"prompt_tokens_details": {"image_tokens": 400}}, 6_000 + 6_000 + 10_000, id="images in"),
        pytest.param({"completion_tokens_details": {"audio_tokens": 50}}, 10_000 + 7_500 + 3_000, id="audio out"),
        pytest.param({"completion_tokens_details": {"image_tokens": 50}}, 10_000 + 7_500 + 3_500, id="images out"),
        pytest.param({"completion_tokens_details": {"video_tokens": 50}}, 10_000 + 7_500 + 4_000, id="video out"),
        pytest.param({"completion_tokens_details": {"reasoning_tokens": 50}}, 10_000 + 7_500 + 2_000, id="reasoning"),
    ],
)
def test_each_part_has_its_price(usage, micro_usd):
    assert cost(price_of(PARTS), counted(usage)) == micro_usd


def test_parts_that_overlap_are_charged_once():
    used = counted({"prompt_tokens_details": {"cached_tokens": 700, "audio_tokens": 900, "image_tokens": 900}})
    assert cost(price_of(PARTS), used) == 700 * 1 + 300 * 30 + 10_000


COUNTS = st.integers(0, 10_000)


@given(st.builds(TokenUsage, *[COUNTS] * 13))
def test_no_usage_is_cheaper_than_all_of_it_at_the_lowest_price_or_dearer_than_at_the_highest(usage):
    tokens, priced = usage.input_tokens + usage.output_tokens, price_of(PARTS)
    assert tokens <= cost(priced, usage) <= 80 * tokens


# Fees beside tokens


SEARCH = {"search_context_size_low": 0.005, "search_context_size_medium": 0.01, "search_context_size_high": 0.02}


@pytest.mark.parametrize(
    ("usage", "searches"),
    [
        ({"server_tool_use": {"web_search_requests": 3}}, 3),
        ({"server_side_tool_usage_details": {"web_search_calls": 2, "x_search_calls": 1}}, 2),
        ({"num_search_queries": 18, "search_context_size": "low"}, 18),
        ({"search_context_size": "low"}, 1),
        ({"prompt_tokens_details": {"web_search_requests": 4}}, 4),
        ({"server_tool_use": None}, 0),
        ({"server_tool_use": {"web_search_requests": -1}}, 0),
        ({"server_tool_use": {"web_search_requests": 10**9}}, 0),
    ],
)
def test_searches_of_the_web_are_counted(usage, searches):
    assert counted(usage).web_searches == searches


@pytest.mark.parametrize(
    ("annotations", "counted", "searches"),
    [
        ([{"type": "url_citation", "url_citation": {"url": "https://example.com"}}], None, 1),
        ([{"type": "url_citation"}], 3, 3),
        ([{"type": "file_citation"}], None, 0),
        ([], None, 0),
        ("url_citation", None, 0),
        ([7], None, 0),
    ],
)
@pytest.mark.parametrize("place", ["delta", "message"])
def test_an_answer_that_names_pages_took_a_search_where_none_is_counted(annotations, counted, searches, place):
    usage: dict[str, Any] = {"prompt_tokens": 10, "completion_tokens": 5}
    usage |= {"server_tool_use": {"web_search_requests": counted}} if counted else {}
    said = {"content": "As they write,", "annotations": annotations}
    answers = [{"choices": [{"index": 0, place: said, "finish_reason": "stop"}]}, {"choices": [], "usage": usage}]
    if place == "message":
        answers = [{**answers[0], "usage": usage}]
    exchange = exchange_of(*answers, stream=place == "delta")
    assert exchange.usage is not None
    assert exchange.usage.web_searches == searches


def test_each_search_has_its_price_and_the_size_that_the_answer_names():
    price = price_of({**RATES, "search_context_cost_per_query": SEARCH})
    used = TokenUsage(1000, 0, web_searches=2)
    assert [cost(price, used, *size) for size in ((), ("low",), ("medium",), ("high",))] == [
        24_000, 14_000, 24_000, 44_000,
    ]  # fmt: skip
    assert cost(price, used, "flex") == 22_000


def test_perplexity_searches_little_unless_it_says_otherwise():
    rates = {**RATES, "search_context_cost_per_query": SEARCH, "litellm_provider": "perplexity"}
    assert cost(price_of(rates), TokenUsage(1000, 0, web_searches=1)) == 9_000
    exchange = exchange_of(
        {"usage": {"prompt_tokens": 1000, "completion_tokens": 0, "search_context_size": "high"}},
        price=price_of(rates),
    )
    assert exchange.usage is not None
    assert exchange.price is not None
    assert exchange.cost_at(exchange.price, exchange.usage) == 24_000


@pytest.mark.parametrize(
    ("provider", "unit", "fees"), [("gemini", None, 1), ("gemini", "per_query", 3), ("anthropic", None, 3)]
)
def test_google_charges_some_models_by_the_answer_and_not_by_the_search(provider, unit, fees):
    rates = {**RATES, "search_context_cost_per_query": SEARCH, "litellm_provider": provider}
    rates |= {"web_search_billing_unit": unit} if unit else {}
    assert cost(price_of(rates), TokenUsage(0, 0, web_searches=3)) == fees * 10_000


def test_a_surcharge_is_one_on_tokens_alone():
    price = price_of({**ANTHROPIC, "search_context_cost_per_query": SEARCH})
    assert cost(price, TokenUsage(1000, 0, web_searches=1), "us") == 4_400 + 10_000


def test_a_request_may_have_a_price_of_its_own_which_nothing_used_has_not():
    price = price_of({"input_cost_per_token": 0, "output_cost_per_token": 1e-6, "input_cost_per_request": 0.005})
    assert cost(price, TokenUsage(10, 10)) == 5_010
    assert cost(price, TokenUsage()) == 0


def test_a_model_that_is_charged_by_the_second_costs_the_time_that_the_provider_took():
    exchange = exchange_of({"usage": {"prompt_tokens": 5, "completion_tokens": 5}})
    exchange.price = price_of({"input_cost_per_second": 0.002, "mode": "chat"})
    attempt = exchange.begin_attempt("bedrock")
    attempt.started, attempt.ended = 10.0, 12.5
    assert exchange.usage is not None
    assert exchange.price is not None
    assert exchange.cost_at(exchange.price, exchange.usage) == 5_000


def test_a_model_that_is_charged_by_the_character_has_four_in_a_token():
    price = price_of({"input_cost_per_character": 5e-6, "output_cost_per_character": 15e-6, "mode": "chat"})
    assert cost(price, TokenUsage(100, 10)) == 100 * 20 + 10 * 60


# Hours


def test_an_answer_costs_less_in_the_hours_off_the_peak():
    cheaper = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}
    always = {**RATES, "off_peak_pricing": {**cheaper, "hours_utc": "00:00-00:00"}}
    never = {**RATES, "off_peak_pricing": cheaper}
    for rates, micro_usd in ((always, 1_000 + 200), (never, 4_000 + 2_000)):
        exchange = exchange_of({"usage": {"prompt_tokens": 1000, "completion_tokens": 100}}, price=price_of(rates))
        assert exchange.usage is not None
        assert exchange.price is not None
        assert exchange.cost_at(exchange.price, exchange.usage) == micro_usd


@pytest.mark.parametrize("rate", [1000.5, 1e308, "2e9"])
def test_a_price_that_no_books_could_hold_is_refused(rate: Any) -> None:
    with pytest.raises(ValueError, match="output_cost_per_token: .* is more than 1000 US dollars for one"):
        price_of({"input_cost_per_token": 1e-6, "output_cost_per_token": rate})


def test_a_range_without_an_end_in_the_wrong_place_is_no_price() -> None:
    wrong = {"range": [float("inf"), 2], "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6}
    with pytest.raises(ValueError, match="tiered_pricing"):
        price_of({"tiered_pricing": [wrong]})
