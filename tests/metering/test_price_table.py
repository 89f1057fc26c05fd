import json
import subprocess
import sys

import pytest

from crplugins.config.litellm_params import LitellmParams
from crplugins.config.models import region_of
from crplugins.core.units import Units
from crplugins.core.usage import Price, TokenUsage
from crplugins.metering.listed_prices import installed_prices
from crplugins.metering.price_table import PriceTable, fits, prices_for
from crplugins.metering.prices import price_of

LISTED = Price(10, 20, cached_input=1, cache_write_input=12, reasoning_output=30)


def table_of(**entries):
    return PriceTable((name, None, price) for name, price in entries.items())


def no_table():
    raise AssertionError("the table was asked for")


# What `model_info` says


def test_a_model_info_with_both_prices_needs_no_table():
    prices = prices_for({"input_cost_per_token": 1.5e-7, "output_cost_per_token": "6e-7"}, no_table)
    assert prices("openai/anything") == Price(150_000, 600_000)


def test_every_kind_of_token_may_have_a_price():
    rates = {
        "input_cost_per_token": 1e-6,
        "output_cost_per_token": 2e-6,
        "cache_read_input_token_cost": 3e-6,
        "cache_creation_input_token_cost": 4e-6,
        "output_cost_per_reasoning_token": 5e-6,
        "input_cost_per_audio_token": 6e-6,
        "output_cost_per_audio_token": 7e-6,
    }
    million = 1_000_000
    assert price_of(rates) == Price(
        million, 2 * million, 3 * million, 4 * million, 5 * million, 6 * million, 7 * million
    )


def test_free_is_a_price():
    assert prices_for({"input_cost_per_token": 0, "output_cost_per_token": 0.0}, no_table)("m") == Price(0, 0)


def test_without_prices_in_the_model_info_the_table_is_used():
    prices = prices_for({"mode": "chat", "input_cost_per_token": None}, lambda: table_of(m=LISTED))
    assert prices("m") == LISTED
    assert prices("another") is None


@pytest.mark.parametrize(
    ("info", "price"),
    [
        ({"input_cost_per_token": 5e-12}, Price(5, 20, reasoning_output=30)),
        ({"output_cost_per_token": 5e-12}, Price(10, 5, cached_input=1, cache_write_input=12)),
        ({"cache_read_input_token_cost": 5e-12}, Price(10, 20, 5, 12, 30)),
        ({"output_cost_per_token": 0}, Price(10, 0, cached_input=1, cache_write_input=12)),
    ],
)
def test_a_missing_price_is_the_tables_and_a_part_goes_with_its_whole(info, price):
    assert prices_for(info, lambda: table_of(m=LISTED))("m") == price


def test_half_a_price_of_a_model_that_is_not_listed_is_no_price():
    assert prices_for({"input_cost_per_token": 1e-6}, PriceTable)("m") is None


def test_the_base_model_is_looked_up_in_place_of_the_deployments_name():
    assert prices_for({"base_model": "m"}, lambda: table_of(m=LISTED))("azure/my-deployment") == LISTED


UPLIFTED = {
    "input_cost_per_token": 4e-6,
    "output_cost_per_token": 8e-6,
    "cache_read_input_token_cost": 1e-6,
    "input_cost_per_token_priority": 6e-6,
    "input_cost_per_token_above_200k_tokens": 10e-6,
    "regional_processing_uplift_multiplier_eu": 1.1,
    "regional_endpoint_uplift_multiplier": 1.2,
    "search_context_cost_per_query": 0.01,
}


@pytest.mark.parametrize(("region", "thousandths"), [(None, 1000), ("eu", 1100), ("us", 1000), ("regional", 1200)])
def test_a_deployment_in_a_region_pays_its_price_for_every_token(region, thousandths):
    price = prices_for({}, lambda: table_of(m=price_of(UPLIFTED)), region=region)("m")
    used = TokenUsage(1000, 100, cached_input_tokens=500, web_searches=1)
    assert price.micro_usd(used) == (2000 + 500 + 800) * thousandths // 1000 + 10_000
    assert price.micro_usd(TokenUsage(1000), ("priority",)) == 6 * thousandths
    assert price.micro_usd(TokenUsage(300_000)) == 3000 * thousandths


def test_a_price_of_ones_own_is_that_of_the_region_already():
    price = prices_for({"input_cost_per_token": 1e-6}, lambda: table_of(m=price_of(UPLIFTED)), region="eu")("m")
    assert price.micro_usd(TokenUsage(1000, 1000)) == 1000 + 8800


@pytest.mark.parametrize(
    ("params", "region"),
    [
        ({"model": "openai/gpt-9", "api_base": "https://eu.api.openai.com/v1"}, "eu"),
        ({"model": "openai/gpt-9", "api_base": "https://us.api.openai.com/v1"}, "us"),
        ({"model": "openai/gpt-9", "api_base": "https://gov.api.openai.com/v1"}, "fedramp"),
        ({"model": "openai/gpt-9", "api_base": "https://api.openai.com/v1"}, None),
        ({"model": "openai/gpt-9"}, None),
        ({"model": "vertex_ai/gemini-9", "vertex_location": "europe-west1"}, "regional"),
        ({"model": "vertex_ai/gemini-9", "vertex_location": "global"}, None),
        ({"model": "vertex_ai/gemini-9"}, None),
        ({"model": "openai/gpt-9", "vertex_location": "europe-west1"}, None),
    ],
)
def test_where_a_deployment_is_says_its_region(params, region):
    assert region_of(LitellmParams(**params)) == region


def test_a_name_is_looked_up_once():
    asked = []

    class Table(PriceTable):
        def find(self, model):
            asked.append(model)
            return super().find(model)

    table = Table([("m", None, LISTED)])
    prices = prices_for({}, lambda: table)
    assert [prices("m"), prices("m"), prices("x"), prices("x")] == [LISTED, LISTED, None, None]
    assert asked == ["m", "x"]


def test_another_table_is_asked_anew():
    tables, caches = [table_of(m=LISTED)], []
    prices = prices_for({}, lambda: tables[-1], watch=caches.append)
    assert prices("m") == LISTED
    tables.append(table_of(m=Price(1, 1)))
    caches[0].cache_clear()
    assert [prices("m"), prices("m")] == [Price(1, 1), Price(1, 1)]


@pytest.mark.parametrize("rate", ["cheap", -1e-6, float("nan"), float("inf"), "", [1]])
@pytest.mark.parametrize("key", ["input_cost_per_token", "output_cost_per_token_above_200k_tokens"])
def test_a_rate_that_is_no_price_is_refused_by_name(key, rate):
    with pytest.raises(ValueError, match=key):
        prices_for({key: rate}, no_table)


# Prices of longer prompts


def test_a_longer_prompt_costs_its_price_for_every_token():
    price = price_of(
        {
            "input_cost_per_token": 1e-6,
            "output_cost_per_token": 2e-6,
            "cache_read_input_token_cost": 1e-7,
            "input_cost_per_token_above_128k_tokens": 3e-6,
            "input_cost_per_token_above_200k_tokens": 4e-6,
            "output_cost_per_token_above_200k_tokens": 5e-6,
            "input_cost_per_token_above_200k_tokens_priority": 9e-6,
        }
    )
    assert [tokens for tokens, _ in price.above] == [200_000, 128_000]
    assert price.micro_usd(TokenUsage(128_000, 10, cached_input_tokens=1000)) == 127_000 + 100 + 20
    assert price.micro_usd(TokenUsage(128_001, 10, cached_input_tokens=1000)) == 3 * 127_001 + 100 + 20
    assert price.micro_usd(TokenUsage(200_001, 10)) == 4 * 200_001 + 50


def test_reasoning_that_costs_what_output_costs_does_so_in_longer_prompts_too():
    price = price_of(
        {
            "input_cost_per_token": 0,
            "output_cost_per_token": 2e-6,
            "output_cost_per_reasoning_token": 2e-6,
            "output_cost_per_token_above_200k_tokens": 3e-6,
        }
    )
    assert price.micro_usd(TokenUsage(200_001, 10, reasoning_output_tokens=10)) == 30


def test_at_some_providers_the_longer_price_begins_at_the_threshold():
    rates = {
        "input_cost_per_token": 1e-6,
        "output_cost_per_token": 0,
        "input_cost_per_token_above_128k_tokens": 2e-6,
        "litellm_provider": "xai",
    }
    assert price_of(rates).micro_usd(TokenUsage(128_000)) == 256_000
    assert price_of(rates).micro_usd(TokenUsage(127_999)) == 127_999


def test_lists_of_prices_by_range():
    ranges = [
        {"range": [32_000.0, 128_000.0], "input_cost_per_token": 2e-6, "output_cost_per_token": 4e-6},
        {"range": [0, 32_000.0], "input_cost_per_token": 1e-6, "output_cost_per_token": 3e-6},
    ]
    price = price_of({"tiered_pricing": ranges})
    assert price == Price(1_000_000, 3_000_000, above=((32_000, Price(2_000_000, 4_000_000)),))
    assert price.micro_usd(TokenUsage(500_000, 1)) == 1_000_004


def test_a_list_without_every_price_is_no_price():
    assert price_of({"tiered_pricing": [{"range": [0, 1], "input_cost_per_token": 1e-6}]}) is None
    with pytest.raises(ValueError, match="tiered_pricing"):
        price_of({"tiered_pricing": [{"input_cost_per_token": 1e-6}]})


def test_prices_of_ones_own_hold_for_longer_prompts_too():
    listed = Price(10, 20, above=((200, Price(11, 21)), (100, Price(12, 22))))
    price = prices_for({"input_cost_per_token": 5e-12}, lambda: table_of(m=listed))("m")
    assert price == Price(5, 20, above=((200, Price(5, 21)), (100, Price(5, 22))))


# The table


def test_cached_input_at_the_price_of_input_keeps_it_for_longer_prompts():
    rates = {
        "input_cost_per_token": 3e-6,
        "cache_read_input_token_cost": 3e-6,
        "input_cost_per_token_above_272k_tokens": 6e-6,
        "output_cost_per_token": 1e-6,
    }
    assert price_of(rates).micro_usd(TokenUsage(300_000, 0, cached_input_tokens=100_000)) == 200_000 * 6 + 100_000 * 3


def test_what_is_not_priced_by_tokens_has_no_price():
    assert price_of({"input_cost_per_pixel": 2e-8, "output_cost_per_pixel": 0.0, "mode": "image_generation"}) is None
    assert price_of({"output_cost_per_video_per_second": 0.1, "mode": "video_generation"}) is None
    assert price_of({"input_cost_per_token": 0, "output_cost_per_token": 0, "ocr_cost_per_page": 0.04}) is None


def test_pictures_characters_and_seconds_of_a_recording_have_prices():
    picture = price_of({"output_cost_per_image": 0.04, "mode": "image_generation"})
    assert picture.micro_usd(TokenUsage(7), units=Units(pictures=3)) == 120_000
    assert price_of({"input_cost_per_token": 0, "output_cost_per_token": 0, "output_cost_per_image": 0.04}) == picture
    assert price_of({"input_cost_per_image": 0.04, "mode": "image_generation"}) == picture
    spoken = price_of({"input_cost_per_character": 1.5e-5, "mode": "audio_speech"})
    assert spoken.micro_usd(TokenUsage(2, 500), units=Units(characters=11, spoken=9.0)) == 165
    heard = price_of({"input_cost_per_second": 1e-4, "output_cost_per_second": 1e-4, "mode": "audio_transcription"})
    assert heard.micro_usd(TokenUsage(), units=Units(recorded=90.5)) == 9050
    groq = price_of({"input_cost_per_second": 3.083e-5, "output_cost_per_second": 0.0, "mode": "audio_transcription"})
    assert groq.micro_usd(TokenUsage(), units=Units(recorded=100)) == 3083
    assert heard.micro_usd(TokenUsage(9, 9)) == 0


def test_a_model_with_prices_of_tokens_is_not_charged_by_number_too():
    rates = {"input_cost_per_token": 5e-6, "output_cost_per_token": 1e-6, "output_cost_per_image": 0.04, "mode": "image_generation"}  # fmt: skip
    assert price_of(rates).picture == 0


def test_a_price_by_number_of_the_configuration_replaces_the_listed_one():
    listed = price_of({"output_cost_per_image": 0.04, "mode": "image_generation"})
    own = price_of({"output_cost_per_image": 0.01}, listed)
    assert (own.picture, own.source) == (10_000_000_000, "config")
    assert price_of({}, listed) == listed


def test_a_table_of_ones_own(tmp_path):
    file = tmp_path / "prices.json"
    entries = {
        "sample_spec": {"input_cost_per_token": 0, "output_cost_per_token": 0},
        "m": {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "litellm_provider": "openai"},
        "search": {"input_cost_per_query": 1e-3},
    }
    file.write_text(json.dumps(entries))
    table = PriceTable.read(file.read_bytes())
    assert len(table) == 1
    assert table.find("openai/m") == table.find("m") == Price(1_000_000, 2_000_000, source="table")
    assert table.find("azure/m") is None


@pytest.mark.parametrize(
    "odd",
    [
        {"input_cost_per_token": "?"},
        ["cost_per_token"],
        {"litellm_provider": ["?"], "input_cost_per_token": 1, "output_cost_per_token": 1},
        {"tiered_pricing": [{"range": "?", "input_cost_per_token": 1, "output_cost_per_token": 1}]},
    ],
)
def test_an_entry_that_cannot_be_read_is_logged_and_the_others_are_kept(tmp_path, caplog, odd):
    file = tmp_path / "prices.json"
    file.write_text(json.dumps({"odd": odd, "m": {"input_cost_per_token": 1, "output_cost_per_token": 1}}))
    assert len(PriceTable.read(file.read_bytes())) == 1
    assert "odd" in caplog.text


def test_another_name_for_a_model_has_its_price_unless_it_is_a_model_itself(tmp_path):
    file = tmp_path / "prices.json"
    entries = {
        "claude-latest": {"alias_of": "claude-5"},
        "claude-5": {"litellm_provider": "anthropic", "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6,
                     "aliases": ["claude-five", "claude-4"]},
        "claude-4": {"litellm_provider": "anthropic", "input_cost_per_token": 3e-6, "output_cost_per_token": 4e-6},
        "claude-lost": {"alias_of": "nothing"},
    }  # fmt: skip
    file.write_text(json.dumps(entries))
    table = PriceTable.read(file.read_bytes())
    for name in ("claude-latest", "claude-five", "anthropic/claude-latest"):
        assert table.find(name) == Price(1_000_000, 2_000_000, source="table")
    assert table.find("claude-4") == Price(3_000_000, 4_000_000, source="table")
    assert table.find("claude-lost") is None


def test_without_litellm_the_table_is_empty(monkeypatch):
    monkeypatch.setattr("crplugins.metering.price_table.find_spec", lambda name: None)
    assert len(PriceTable.load()) == 0
    assert PriceTable.load().find("openai/gpt-4o") is None


def test_reading_the_table_does_not_import_litellm():
    code = (
        "import sys; from crplugins.metering.price_table import PriceTable; "
        "assert len(PriceTable.load()) > 1000; assert 'litellm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_table_is_read_once_per_process():
    assert installed_prices() is installed_prices()


HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"


@pytest.mark.parametrize(
    ("model", "provider", "listed_as"),
    [
        ("openai/gpt-4o-mini", "openai", "gpt-4o-mini"),
        ("openai/GPT-4o-Mini", "openai", "gpt-4o-mini"),
        ("openai/gpt-4o-2031-02-03", "openai", "gpt-4o"),
        ("ft:gpt-4o-2024-08-06:org::id", "openai", "ft:gpt-4o-2024-08-06"),
        ("azure/eu/gpt-4o-2024-08-06", "azure", "azure/eu/gpt-4o-2024-08-06"),
        (f"bedrock/{HAIKU}", "bedrock_converse", HAIKU),
        (f"bedrock/converse/{HAIKU}", "bedrock_converse", HAIKU),
        (f"bedrock/apac.{HAIKU}:200k", "bedrock_converse", HAIKU),
        (f"bedrock/apac.{HAIKU}:200k", "bedrock_converse", f"apac.{HAIKU}"),
        (f"bedrock/sa-east-1/{HAIKU}", "bedrock", HAIKU),
        (f"bedrock/sa-east-1/{HAIKU}", "bedrock", f"bedrock/sa-east-1/{HAIKU}"),
        (f"jp.{HAIKU}", "bedrock", HAIKU),
        (f"bedrock/arn:aws:bedrock:us-east-1:1:inference-profile/us.{HAIKU}", "bedrock", f"us.{HAIKU}"),
        ("vertex_ai_beta/gemini-2.5-pro-001", "vertex_ai-language-models", "gemini-2.5-pro"),
        ("vertex_ai/mistral-large", "vertex_ai-mistral_models", "vertex_ai/mistral-large@latest"),
        ("vertex_ai/llama-4", "vertex_ai-llama_models", "vertex_ai/meta/llama-4"),
        ("fireworks_ai/deepseek-r1", "fireworks_ai", "fireworks_ai/accounts/fireworks/models/deepseek-r1"),
        ("perplexity/glm-5", "perplexity", "perplexity/perplexity/glm-5"),
        ("cohere/command-r", "cohere_chat", "command-r"),
        ("github/gpt-4o", "openai", "gpt-4o"),
    ],
)
def test_a_model_is_found_under_the_names_litellm_would_try(model, provider, listed_as):
    table = PriceTable([(listed_as, provider, LISTED), ("another", provider, Price(1, 1))])
    assert table.find(model) == LISTED


def test_a_region_with_a_price_of_its_own_goes_before_the_model_anywhere():
    table = PriceTable([(HAIKU, "bedrock", Price(1, 1)), (f"us.{HAIKU}", "bedrock", LISTED)])
    assert table.find(f"bedrock/converse/us.{HAIKU}") == LISTED
    assert table.find(f"bedrock/eu.{HAIKU}") == Price(1, 1)


@pytest.mark.parametrize("model", ["openai/claude-sonnet-4-5", "hosted_vllm/gpt-4o", "sample_spec", "openai/*", ""])
def test_another_providers_price_is_no_price(model):
    assert installed_prices().find(model) is None


def test_which_entries_a_provider_means():
    assert fits(None, "openai")
    assert fits("vertex_ai", "vertex_ai-anthropic_models")
    assert fits("bedrock", "bedrock_converse")
    assert fits("azure_ai", "openai")
    assert not fits("azure", "openai")
    assert not fits("openai", "azure")


@pytest.mark.parametrize("provider", ["openai", "azure"])
def test_litellms_mark_of_responses_is_no_part_of_the_name(provider):
    table = PriceTable([("o9-pro", provider, LISTED)])
    assert table.find(f"{provider}/responses/o9-pro") == LISTED
