"""GenaiTable: the prices of genai-prices, where there is no table of litellm's.

Its prices are put under LiteLLM's names of them, so that one reader of prices (`price_of`) reads both lists, and gives
the same integers where they agree.
"""

import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Self

from msgspec.structs import replace

from crplugins.core.usage import Price
from crplugins.metering.prices import price_of

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

logger = logging.getLogger("crplugins.pricing")

PROVIDERS: Final[Mapping[str, str]] = {
    "openai": "openai", "anthropic": "anthropic", "gemini": "google", "vertex_ai": "google", "azure": "azure",
    "bedrock": "aws", "bedrock_converse": "aws", "mistral": "mistral", "deepseek": "deepseek", "groq": "groq",
    "xai": "x-ai", "cohere": "cohere", "cohere_chat": "cohere", "perplexity": "perplexity", "together_ai": "together",
    "fireworks_ai": "fireworks", "openrouter": "openrouter", "novita": "novita", "moonshot": "moonshotai",
    "cerebras": "cerebras", "minimax": "minimax", "zai": "zai", "databricks": "databricks", "baseten": "baseten",
    "ovhcloud": "ovhcloud",
}  # fmt: skip
"""What genai-prices calls LiteLLM's providers."""

RATES: Final[Mapping[str, str]] = {
    "input_mtok": "input_cost_per_token",
    "output_mtok": "output_cost_per_token",
    "cache_read_mtok": "cache_read_input_token_cost",
    "cache_write_mtok": "cache_creation_input_token_cost",
    "cache_write_1h_mtok": "cache_creation_input_token_cost_above_1hr",
    "input_audio_mtok": "input_cost_per_audio_token",
    "cache_audio_read_mtok": "cache_read_input_audio_token_cost",
    "output_audio_mtok": "output_cost_per_audio_token",
    "output_reasoning_mtok": "output_cost_per_reasoning_token",
    "input_image_mtok": "input_cost_per_image_token",
    "output_image_mtok": "output_cost_per_image_token",
    "requests_kcount": "input_cost_per_request",
}
"""Their names of rates, for a million tokens or a thousand requests, and LiteLLM's for one."""

_BATCH: Final = {"processing": "batch"}


class GenaiTable:
    """Prices by model, as genai-prices finds a model by its name: by rules such as `begins with`, not by a list.

    Args:
        providers: theirs.
        now: the prices of that day; of a model that costs less at some hours, what it costs at the others.
    """

    def __init__(self, providers: "list[Provider]", now: datetime) -> None:
        self._all = providers
        self._by_id = {provider.id: provider for provider in providers}
        self._now = now

    @classmethod
    def load(cls) -> Self:
        """The list of the installed package; empty where there is none. Blocks for 0.3 s."""
        if find_spec("genai_prices") is None:
            return cls([], datetime.now(UTC))
        from genai_prices.data import providers  # 1.6 MB of Python, and its HTTP client

        return cls(providers, datetime.now(UTC))

    def find(self, model: str) -> Price | None:
        """The price of a model in LiteLLM's notation; None if it is not listed, or not priced by tokens."""
        name, _, rest = model.partition("/")
        provider = self._by_id.get(PROVIDERS.get(name, ""))
        if provider is None or not rest:
            return None
        found = provider.find_model(rest, all_providers=self._all)
        try:
            price = None if found is None else price_of(rates_of(found, self._now))
        except ValueError as error:
            logger.warning("genai-prices' price of %s cannot be read: %s", model, error)
            return None
        return None if price is None else replace(price, source="table")

    def __len__(self) -> int:
        return sum(len(provider.models) for provider in self._all)


def rates_of(model: "ModelInfo", now: datetime) -> dict[str, Decimal]:
    """The rates of a model under LiteLLM's names, those of its tiers among them."""
    hours = [now] if not isinstance(model.prices, list) else [now.replace(hour=hour) for hour in range(24)]
    dearest = max(hours, key=lambda hour: sum(rate for _, rate in _rates(model.get_prices(hour), "")))
    rates: dict[str, Decimal] = {}
    for tier, asked in tiers_of(model):
        rates |= _rates(model.get_prices(dearest, asked), f"_{tier}" if tier else "")
    return rates


def tiers_of(model: "ModelInfo") -> Iterator[tuple[str, dict[str, str]]]:
    """The tiers in which a model has prices of its own, as LiteLLM's keys end with them, and how each is asked for."""
    yield "", {}
    variants = [variant.when for variant in model.price_variants or ()]
    for when in variants:
        if when.keys() == {"service_tier"} and when["service_tier"] != "default":
            yield when["service_tier"], when
    if _BATCH in variants:
        yield "batches", _BATCH


def _rates(prices: "ModelPrice", ending: str) -> Iterator[tuple[str, Decimal]]:
    from genai_prices.types import TieredPrices

    for theirs, ours in RATES.items():
        rate = getattr(prices, theirs)
        unit = 1000 if theirs == "requests_kcount" else 10**6
        if isinstance(rate, TieredPrices):
            for tier in rate.tiers:
                yield f"{ours}_above_{tier.start}_tokens{ending}", tier.price / unit
            rate = rate.base
        if rate is not None:
            yield f"{ours}{ending}", rate / unit
