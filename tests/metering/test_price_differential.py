"""Every chat model of litellm's table in every tier, against litellm's own calculators and against genai-prices.

Each day some of the models, in an hour of the night (LONG_TESTS=1) all. The figures are printed: pytest -s.
"""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ClauseEquals, ModelInfo

from crplugins.core.usage import OFF_PEAK, Price, TokenUsage
from crplugins.handlers.litellm.loading import load_litellm
from crplugins.metering.genai_table import PROVIDERS, rates_of
from crplugins.metering.genai_table import tiers_of as contexts_of
from crplugins.metering.listed_prices import installed_prices
from crplugins.metering.prices import in_region, price_of
from tests.long import times
from tests.metering.price_differences import GENAI, LITELLM, Comparison, Explanation

MODES = frozenset({"chat", "completion", "responses"})
OWN_FEES = frozenset({"perplexity", "xai"})
"""Providers whose searches litellm counts in fields of their own."""

NO_TIERS = frozenset({"low", "medium", "high", OFF_PEAK})

USAGES = {
    "plain": TokenUsage(1000, 500),
    "cached": TokenUsage(10_000, 500, cached_input_tokens=8000),
    "written": TokenUsage(10_000, 500, cached_input_tokens=4000, cache_write_input_tokens=3000),
    "written for long": TokenUsage(10_000, 500, cache_write_input_tokens=3000, long_cache_write_input_tokens=1000),
    "reasoning": TokenUsage(1000, 5000, reasoning_output_tokens=3000),
    "audio": TokenUsage(1000, 500, audio_input_tokens=300, audio_output_tokens=200),
    "cached audio": TokenUsage(
        1000, 500, cached_input_tokens=400, audio_input_tokens=700, cached_audio_input_tokens=300
    ),
    "images": TokenUsage(1000, 500, image_input_tokens=300, image_output_tokens=200),
    "at 128k": TokenUsage(128_000, 500),
    "above 128k": TokenUsage(128_001, 500, cached_input_tokens=1000),
    "at 200k": TokenUsage(200_000, 500),
    "above 200k": TokenUsage(200_001, 500, cached_input_tokens=1000, cache_write_input_tokens=1000),
    "above all": TokenUsage(
        1_100_001, 500, cached_input_tokens=1000, cache_write_input_tokens=2000, long_cache_write_input_tokens=500,
        audio_input_tokens=1000, reasoning_output_tokens=100,
    ),
}  # fmt: skip


class Figures:
    """What was compared, and why some of it differs."""

    def __init__(self, explanations: Iterable[Explanation]) -> None:
        self._explanations = tuple(explanations)
        self.models: set[str] = set()
        self.tiers: set[tuple[str, str]] = set()
        self.compared = self.equal = 0
        self.explained: Counter[str] = Counter()
        self.unexplained: list[str] = []

    def add(self, case: str, c: Comparison) -> None:
        self.models.add(c.model)
        self.tiers.add((c.model, c.tier))
        self.compared += 1
        if c.equal:
            self.equal += 1
        elif (why := next((e for e in self._explanations if e.covers(c)), None)) is not None:
            self.explained[f"{why.kind} ({why.verdict})"] += 1
        else:
            self.unexplained.append(f"{c.model} {c.tier or 'standard'} {case}: {c.ours} and not {c.theirs:.2f}")

    def __str__(self) -> str:
        explained = ", ".join(f"{kind}: {number}" for kind, number in self.explained.most_common())
        return (
            f"{len(self.models)} models, {len(self.tiers)} of them x tiers, {self.compared} costs: {self.equal} equal, "
            f"{self.explained.total()} explained ({explained}), {len(self.unexplained)} unexplained"
        )


# litellm


@pytest.fixture(scope="module")
def litellm() -> ModuleType:
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
    module = load_litellm()
    # Older releases charge nothing for a cached token, or one of audio, where it has no price of its own.
    used = {"prompt_tokens": 1000, "completion_tokens": 0, "total_tokens": 1000}
    costs = [
        sum(module.cost_per_token("gpt-4", custom_llm_provider="openai", usage_object=module.Usage(**used, **details)))
        for details in ({}, {"prompt_tokens_details": {"cached_tokens": 400, "audio_tokens": 300}})
    ]
    if costs[0] != pytest.approx(costs[1]):
        pytest.skip("this release of litellm does not count every token itself")
    return module


def as_litellm(litellm: ModuleType, usage: TokenUsage, rates: Mapping[str, Any]) -> Any:
    """The usage as litellm's own object of the answer of this model."""
    long, written = usage.long_cache_write_input_tokens, usage.cache_write_input_tokens
    hours, minutes = ("12h", "30m") if any("_above_12hr" in key for key in rates) else ("1h", "5m")
    lifetimes = {f"ephemeral_{hours}_input_tokens": long, f"ephemeral_{minutes}_input_tokens": written - long}
    details: dict[str, Any] = {
        "cached_tokens": usage.cached_input_tokens,
        "cache_write_tokens": written,
        "audio_tokens": usage.audio_input_tokens,
        "image_tokens": usage.image_input_tokens,
    }
    if long:
        details["cache_creation_token_details"] = lifetimes
    if usage.cached_audio_input_tokens:
        details["cached_tokens_details"] = {"audio_tokens": usage.cached_audio_input_tokens}
    return litellm.Usage(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        prompt_tokens_details=details,
        completion_tokens_details={
            "reasoning_tokens": usage.reasoning_output_tokens,
            "audio_tokens": usage.audio_output_tokens,
            "image_tokens": usage.image_output_tokens,
        },
    )


def tiers_of(price: Price) -> list[str]:
    """The standard tier first, which has no name."""
    return ["", *(name for name, _ in price.alternatives if name not in NO_TIERS)]


def sampled(litellm: ModuleType) -> Iterator[tuple[str, Mapping[str, Any], str, str]]:
    """Chat models of the table, their entries, and the names and providers under which litellm prices them."""
    chat = [(model, rates) for model, rates in litellm.model_cost.items() if rates.get("mode") in MODES]
    for model, rates in chat[:: times(9, 1)]:
        try:
            name, provider, _, _ = litellm.get_llm_provider(model)
        except Exception:  # no provider by that name
            continue
        yield model, rates, name, provider


def lists_half(rates: Mapping[str, Any]) -> bool:
    """An entry without a price for input or output: litellm charges the other half, and we know no price."""
    return any(rates.get(f"{side}_cost_per_token") is None for side in ("input", "output"))


def test_costs_are_those_of_litellms_calculators(litellm: ModuleType) -> None:
    figures = Figures(LITELLM)
    theirs: dict[tuple[str, bool], Any] = {}
    for model, rates, name, provider in sampled(litellm):
        price, hours = installed_prices().find(model), any("_above_12hr" in key for key in rates)
        if price is None:
            assert lists_half(rates) or not any(rates[key] for key in rates if "cost_per_token" in key), model
            continue
        for tier in tiers_of(price):
            options = {"call_type": "retrieve_batch"} if tier == "batch" else {"service_tier": tier or None}
            if not tier and price.off_peak is not None and price.off_peak.holds_at(time.time()):
                tier = OFF_PEAK
            for case, usage in USAGES.items():
                if (case, hours) not in theirs:
                    theirs[case, hours] = as_litellm(litellm, usage, rates)
                try:
                    costs = litellm.cost_per_token(
                        model=name, custom_llm_provider=provider, usage_object=theirs[case, hours], **options
                    )
                except Exception:  # litellm does not find the entry itself
                    continue
                figures.add(case, Comparison(model, provider, rates, price, tier, usage, sum(costs) * 1e6))
    print(f"\nlitellm {figures}")
    assert not figures.unexplained, "\n".join(figures.unexplained[:40])
    assert len(figures.tiers) > times(400, 4000)
    assert figures.equal > 0.9 * figures.compared


@pytest.mark.filterwarnings("ignore:Items? .* using the `ReadOnly` qualifier")  # of what litellm imports on the way
def test_a_whole_answer_costs_what_litellm_says_of_it_searches_of_the_web_included(litellm: ModuleType) -> None:
    """`completion_cost` reads the tier and the searches from the answer, as we do."""
    compared = 0
    for model, rates, name, provider in sampled(litellm):
        price = installed_prices().find(model)
        if price is None or not price.web_search or provider in OWN_FEES:
            continue
        usage = litellm.Usage(
            prompt_tokens=1000,
            completion_tokens=500,
            total_tokens=1500,
            server_tool_use={"web_search_requests": 3},
            prompt_tokens_details={"web_search_requests": 3},
        )
        for tier in ("default", "priority"):
            answer = litellm.ModelResponse(model=name, usage=usage, service_tier=tier)
            try:
                cost = litellm.completion_cost(answer, model=name, custom_llm_provider=provider) * 1e6
            except Exception:  # litellm does not find the entry itself
                continue
            used = TokenUsage(1000, 500, web_searches=3)
            c = Comparison(model, provider, rates, price, tier, used, cost)
            assert c.equal or any(e.covers(c) for e in LITELLM), f"{model} {tier}: {c.ours} and not {cost:.2f}"
            compared += 1
    assert compared > times(30, 300)


def test_a_region_costs_what_litellm_says_of_it(litellm: ModuleType) -> None:
    usage, compared = TokenUsage(10_000, 500, cached_input_tokens=4000), 0
    asked = {
        "eu": ("openai", {"data_residency": "eu"}),
        "fedramp": ("openai", {"data_residency": "fedramp"}),
        "regional": ("vertex_ai", {"vertex_location": "europe-west4"}),
    }
    for model, rates, name, provider in sampled(litellm):
        price, theirs = installed_prices().find(model), as_litellm(litellm, usage, rates)
        for region, (seller, options) in asked.items():
            if price is None or provider != seller or region not in dict(price.factors):
                continue
            costs = litellm.cost_per_token(name, custom_llm_provider=provider, usage_object=theirs, **options)
            c = Comparison(model, provider, rates, in_region(price, region), "", usage, sum(costs) * 1e6)
            assert c.equal or any(e.covers(c) for e in LITELLM), f"{model} {region}: {c.ours} and not {c.theirs:.2f}"
            compared += 1
    assert compared > times(3, 30)


def test_anthropics_cached_and_written_tokens_are_counted_once(litellm: ModuleType) -> None:
    """Anthropic counts them beside its input tokens; in our Usage they are part of them."""
    price = installed_prices().find("anthropic/claude-sonnet-4-5")
    theirs = litellm.Usage(
        prompt_tokens=100 + 2000 + 300,
        completion_tokens=50,
        total_tokens=2450,
        cache_read_input_tokens=2000,
        cache_creation_input_tokens=300,
    )
    assert price is not None
    cost = sum(litellm.cost_per_token("claude-sonnet-4-5", custom_llm_provider="anthropic", usage_object=theirs)) * 1e6
    ours = price.micro_usd(TokenUsage(2400, 50, cached_input_tokens=2000, cache_write_input_tokens=300))
    assert ours == pytest.approx(cost, abs=0.6)
    assert ours == round(100 * 3 + 2000 * 0.3 + 300 * 3.75 + 50 * 15)


# genai-prices


def in_our_notation(prices: Any) -> Price | None:
    """The price that their rates are, in ours."""
    return price_of(rates_of(ModelInfo(id="", match=ClauseEquals(equals=""), prices=prices), datetime.now(UTC)))


_TIERS = {"batches": "batch"}
"""Tiers that LiteLLM's keys call otherwise than answers do."""


def as_genai(usage: TokenUsage) -> genai_prices.Usage:
    counts = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cached_input_tokens,
        "cache_write_tokens": usage.cache_write_input_tokens,
        "cache_write_1h_tokens": usage.long_cache_write_input_tokens,
        "input_audio_tokens": usage.audio_input_tokens,
        "cache_audio_read_tokens": usage.cached_audio_input_tokens,
        "output_audio_tokens": usage.audio_output_tokens,
        "output_reasoning_tokens": usage.reasoning_output_tokens,
        "input_image_tokens": usage.image_input_tokens,
        "output_image_tokens": usage.image_output_tokens,
    }
    overlaps = ("cache_audio_write_tokens", "cache_image_read_tokens", "cache_image_write_tokens")
    return genai_prices.Usage(**counts, **dict.fromkeys(overlaps, 0))


def test_costs_are_those_of_genai_prices_where_its_rates_are_those_of_litellms_table(litellm: ModuleType) -> None:
    known = {provider.id: provider for provider in get_snapshot().providers}
    figures, same, now = Figures(GENAI), {case: as_genai(usage) for case, usage in USAGES.items()}, datetime.now(UTC)
    for model, rates, name, provider in sampled(litellm):
        seller = known.get(PROVIDERS.get(provider, ""))
        found = seller.find_model(name.lower()) if seller is not None else None
        price = installed_prices().find(model)
        if found is None or price is None:
            continue
        for tier, context in contexts_of(found):
            tier, prices = _TIERS.get(tier, tier), found.get_prices(now, context or None)
            own = in_our_notation(prices)
            if own is None:
                continue
            for case, usage in USAGES.items():
                theirs = float(prices.calc_price(same[case])["total_price"]) * 1e6
                figures.add(case, Comparison(model, provider, rates, price, tier, usage, theirs, own))
    print(f"\ngenai-prices {figures}")
    assert not figures.unexplained, "\n".join(figures.unexplained[:40])
    assert len(figures.tiers) > times(50, 500)
    assert figures.equal > 0.5 * figures.compared
