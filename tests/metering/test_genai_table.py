"""The prices of genai-prices, which count where litellm is not installed: the same integers where both lists agree."""

from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest
from genai_prices.data import providers
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    Provider,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)

from crplugins.core.usage import TokenUsage
from crplugins.handlers.litellm.loading import load_litellm
from crplugins.metering.genai_table import PROVIDERS, GenaiTable
from crplugins.metering.listed_prices import installed_prices

NOW = datetime(2026, 11, 1, tzinfo=UTC)

BY_REGION = frozenset({"bedrock", "bedrock_converse", "azure", "vertex_ai"})
"""Sold by region: one of the lists has the price of a region where the other has that of the usual one."""


def of_both() -> list[tuple[str, str]]:
    """Provider and name in LiteLLM's notation of the chat models in its table."""
    found = []
    for name, entry in load_litellm().model_cost.items():
        provider = str(entry.get("litellm_provider"))
        if entry.get("mode") in ("chat", "completion", "responses") and provider in PROVIDERS:
            found.append((provider, name if name.startswith(f"{provider}/") else f"{provider}/{name}"))
    return found


def test_both_lists_give_the_same_price_of_a_token_for_the_models_that_both_know():
    """They are kept by other people, and differ: how often is bounded here, so that a mistake of ours is seen."""
    table, known, differs = GenaiTable(providers, NOW), Counter(), Counter()
    for provider, name in of_both():
        ours, theirs = installed_prices().find(name), table.find(name)
        if ours is not None and theirs is not None:
            known[provider] += 1
            differs[provider] += (ours.input, ours.output) != (theirs.input, theirs.output)
    elsewhere = differs.total() - sum(differs[provider] for provider in BY_REGION)
    print(f"\n{known.total()} models in both lists; another price: {dict(differs.most_common())}")
    assert known.total() > 500
    assert differs.total() < 0.2 * known.total()
    assert elsewhere < 0.12 * (known.total() - sum(known[provider] for provider in BY_REGION))
    for provider in ("openai", "anthropic", "gemini", "groq"):
        assert (known[provider] > 5, differs[provider]) == (True, 0), provider


def test_an_equal_price_is_equal_to_the_last_part_of_it():
    """Cached and written input, tiers, longer prompts: what a request costs, whichever list counts."""
    table = GenaiTable(providers, NOW)
    usage = TokenUsage(150_000, 500, cached_input_tokens=8000)
    for name in ("openai/gpt-4o", "openai/gpt-4.1", "anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-pro"):
        ours, theirs = installed_prices().find(name), table.find(name)
        assert theirs.micro_usd(usage) == ours.micro_usd(usage), name
        assert (theirs.source, theirs.input) == ("table", ours.input)


def test_what_is_not_listed_has_no_price():
    table = GenaiTable(providers, NOW)
    for name in ("hosted_vllm/qwen", "openai/nobody-has-it", "openai/", "gpt-4o", "nobody/gpt-4o", ""):
        assert table.find(name) is None, name


def a_model(**more) -> GenaiTable:
    model = ModelInfo(id="m", match=ClauseEquals(equals="m"), **more)
    return GenaiTable([Provider(id="openai", name="", api_pattern="", models=[model])], NOW)


def test_a_model_that_costs_less_at_night_costs_what_it_does_by_day():
    """A price is kept once it was found: that of the hour of the first request would be wrong at the others."""
    day, night = (ModelPrice(input_mtok=Decimal(usd), output_mtok=Decimal(usd)) for usd in (4, 1))
    hours = TimeOfDateConstraint(start_time=NOW.replace(hour=16).timetz(), end_time=NOW.replace(hour=23).timetz())
    prices = [ConditionalPrice(prices=day), ConditionalPrice(constraint=hours, prices=night)]
    for hour in (3, 17):
        found = a_model(prices=prices)
        found._now = NOW.replace(hour=hour)
        assert found.find("openai/m").input == 4_000_000


def test_longer_prompts_cost_what_their_step_says():
    steps = TieredPrices(base=Decimal(1), tiers=[Tier(start=200_000, price=Decimal(2))])
    price = a_model(prices=ModelPrice(input_mtok=steps, output_mtok=Decimal(0))).find("openai/m")
    assert [price.micro_usd(TokenUsage(tokens, 0)) for tokens in (200_000, 200_001)] == [200_000, 400_002]


def test_a_price_of_a_hundredth_of_a_millionth_is_not_rounded():
    price = a_model(prices=ModelPrice(input_mtok=Decimal("0.000123"), output_mtok=Decimal("0.01"))).find("openai/m")
    assert (price.input, price.output) == (123, 10_000)


def test_a_price_that_is_none_is_logged_and_unknown(caplog):
    assert a_model(prices=ModelPrice(input_mtok=Decimal(-1), output_mtok=Decimal(1))).find("openai/m") is None
    assert "genai-prices' price of openai/m cannot be read" in caplog.text


def test_without_the_package_the_list_is_empty(monkeypatch):
    monkeypatch.setattr("crplugins.metering.genai_table.find_spec", lambda name: None)
    table = GenaiTable.load()
    assert (len(table), table.find("openai/gpt-4o")) == (0, None)


@pytest.mark.parametrize("tier", ["flex", "priority"])
def test_a_tier_of_openais_costs_what_litellms_table_says(tier):
    ours, theirs = (
        dict(each.find("openai/gpt-5").alternatives)[tier] for each in (installed_prices(), GenaiTable.load())
    )
    assert (theirs.input, theirs.output) == (ours.input, ours.output)
    assert msgspec.structs.asdict(theirs)["cached_input"] == ours.cached_input
