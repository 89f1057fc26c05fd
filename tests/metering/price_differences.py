"""Why the costs of litellm's calculators, and of genai-prices, differ from ours: one explanation for each kind.

A comparison that no explanation covers fails the test. Explanations are rules, because the tables change with every
release.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from msgspec.structs import replace

from crplugins.core.usage import Price, TokenUsage
from crplugins.metering.listed_prices import installed_prices

Verdict = Literal["ours is right", "theirs is right", "ambiguous"]
TOLERANCE = 0.6
"""Micro-USD: ours is rounded to whole ones, theirs is a float. A rate of ours is rounded to millionths of one."""


@dataclass(frozen=True)
class Comparison:
    """One model in one tier with one usage.

    Attributes:
        rates: the entry of litellm's table; `price` is what we make of it.
        theirs: their cost in micro-USD.
        their_price: what we make of their own rates, where theirs is another list.
    """

    model: str
    provider: str
    rates: Mapping[str, Any]
    price: Price
    tier: str
    usage: TokenUsage
    theirs: float
    their_price: Price | None = None

    @property
    def ours(self) -> int:
        return self.price.micro_usd(self.usage, (self.tier,))

    @property
    def equal(self) -> bool:
        return self.equals(self.ours)

    def equals(self, micro_usd: float) -> bool:
        tokens = self.usage.input_tokens + self.usage.output_tokens
        return abs(micro_usd - self.theirs) <= max(TOLERANCE + tokens / 2e6, 1e-9 * abs(self.theirs))

    def has(self, part: str) -> bool:
        """Whether the entry has a rate with this in its name."""
        return any(part in key and rate is not None for key, rate in self.rates.items())


@dataclass(frozen=True)
class Explanation:
    kind: str
    verdict: Verdict
    why: str
    covers: Callable[[Comparison], bool]


def _without_tier(c: Comparison) -> bool:
    return bool(c.tier) and c.equals(c.price.micro_usd(c.usage))


def _without_fee(c: Comparison) -> bool:
    return c.has("cost_per_request") and c.equals(c.ours - c.price.request // 10**6)


def _batch_of_long_writes(c: Comparison) -> bool:
    return c.tier == "batch" and c.usage.long_cache_write_input_tokens > 0 and c.has("cache_creation")


def _batch_of_long_prompts(c: Comparison) -> bool:
    longer = any(c.usage.input_tokens > above for above, _ in c.price.above)
    return c.tier == "batch" and longer and c.theirs < c.ours


def _batch_without_cache(c: Comparison) -> bool:
    plain = replace(c.usage, cached_input_tokens=0, cache_write_input_tokens=0, long_cache_write_input_tokens=0)
    without_cache = c.equals(c.price.micro_usd(replace(plain, cached_audio_input_tokens=0), (c.tier,)))
    return c.tier == "batch" and (without_cache or c.usage.cached_audio_input_tokens > 0)


def _audio_without_tier(c: Comparison) -> bool:
    audio = c.price.audio_input
    tiers = tuple((name, replace(price, audio_input=audio)) for name, price in c.price.alternatives)
    return bool(c.tier) and c.equals(replace(c.price, alternatives=tiers).micro_usd(c.usage, (c.tier,)))


def _one_search(c: Comparison) -> bool:
    once = replace(c.usage, web_searches=min(c.usage.web_searches, 1))
    return c.usage.web_searches > 1 and c.equals(c.price.micro_usd(once, (c.tier,)))


def _another_entry(c: Comparison) -> bool:
    return installed_prices().find(f"{c.provider}/{c.model}") not in (None, c.price)


LITELLM: tuple[Explanation, ...] = (
    Explanation(
        "a provider whose calculator takes no tier",
        "ours is right",
        "litellm's table lists a price for the tier; the calculators of some providers (Fireworks) never read it",
        _without_tier,
    ),
    Explanation(
        "a region's own entry",
        "ours is right",
        "the table has an entry for the model in the region, and litellm's search ends at the one for all regions",
        lambda c: c.provider == "bedrock_mantle" and c.model.count("/") > 1,
    ),
    Explanation(
        "another entry for the same model",
        "ours is right",
        "the table has one entry under the bare name, which was asked for, and one behind its provider's, which litellm "
        "takes",
        _another_entry,
    ),
    Explanation(
        "Perplexity's own calculator",
        "ours is right",
        "it reads neither the prices of longer prompts nor of cache writes that the table lists, and takes the entry of "
        "another model for `perplexity/perplexity/...`",
        lambda c: c.provider == "perplexity" and not c.has("cost_per_request"),
    ),
    Explanation(
        "a fee for each request",
        "ours is right",
        "Perplexity's older models cost $5 for 1,000 requests besides tokens; the table lists it, litellm leaves it out",
        _without_fee,
    ),
    Explanation(
        "cached audio where cached input has no price",
        "ours is right",
        "without a discount for what is cached, cached audio costs what audio does, as genai-prices has it; litellm takes "
        "the price of text",
        lambda c: c.usage.cached_audio_input_tokens > 0 and c.has("input_cost_per_audio") and not c.has("cache_read"),
    ),
    Explanation(
        "characters",
        "ours is right",
        "a model priced by the character costs nothing in litellm unless it is told the number of characters",
        lambda c: c.has("cost_per_character") and c.theirs == 0,
    ),
    Explanation(
        "cached in a batch",
        "ours is right",
        "up to 1.109 litellm charges cached input in a batch as any other, and since then as we do",
        _batch_without_cache,
    ),
    Explanation(
        "audio in a tier",
        "ours is right",
        "up to 1.105 litellm charges audio in a tier as any other, though the table has a price for both",
        _audio_without_tier,
    ),
    Explanation(
        "one search for many",
        "ours is right",
        "up to 1.109 litellm charges one search of an answer, however many Anthropic counts, outside Anthropic's own API",
        _one_search,
    ),
    Explanation(
        "written for long in a batch",
        "ours is right",
        "Anthropic takes half for everything in a batch; litellm charges for an hour what it does for five minutes where "
        "the table has no price for both at once",
        _batch_of_long_writes,
    ),
    Explanation(
        "a longer prompt in a batch",
        "ours is right",
        "a batch takes half of the price of longer prompts, as Anthropic and Google say; litellm takes that of short ones "
        "where the table has no price for both at once",
        _batch_of_long_prompts,
    ),
)


def _of_their_rates(c: Comparison) -> bool:
    return c.their_price is not None and c.equals(c.their_price.micro_usd(c.usage))


GENAI: tuple[Explanation, ...] = (
    Explanation(
        "Perplexity's fee for each request",
        "ours is right",
        "it depends on the size of the search context, which the answer names; they take the fee of the largest always",
        lambda c: c.their_price is not None and c.their_price.request > 0 and _of_their_rates(c),
    ),
    Explanation(
        "another rate in their list",
        "ambiguous",
        "the two lists are kept by other people; with the rates of theirs our arithmetic gives the same cost, so that is "
        "all that differs. A deployment's own price settles it",
        _of_their_rates,
    ),
)
