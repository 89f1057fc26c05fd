"""Fees: what is charged besides tokens, or in their place, in LiteLLM's notation.

Besides them: requests, searches of the web, and the surcharges of regions. In their place: pictures, characters,
seconds of a recording, and the seconds that an answer takes.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from crplugins.core.usage import Price
from crplugins.metering.rates import read_rate

_OTHER_UNIT: Final = re.compile(r"cost_per_(second|image|pixel|character|page|query|request|video)")

_ANSWERS: Final = frozenset({None, "chat", "completion", "responses"})
"""The modes in which a second is one of the answer, and not of recorded speech."""

_SIZES: Final = ("low", "medium", "high")

_SEARCHES_LITTLE: Final = frozenset({"perplexity"})
"""The size of a search context is `low` here if nobody names one, and `medium` elsewhere."""

_GOOGLE: Final = frozenset({"gemini", "vertex_ai", "vertex_ai-language-models"})

_UPLIFTS: Final[Mapping[str, str]] = {
    "regional_processing_uplift_multiplier_eu": "eu",
    "regional_processing_uplift_multiplier_us": "us",
    "fedramp_uplift_multiplier": "fedramp",
    "regional_endpoint_uplift_multiplier": "regional",
}


def with_fees(price: Price, rates: Mapping[str, Any]) -> Price:
    """The price with what is charged besides tokens, as far as it is in `rates`."""
    fees: dict[str, Any] = {}
    if (rate := rates.get("input_cost_per_request")) is not None:
        fees["request"] = read_rate("input_cost_per_request", rate)
    if rates.get("mode") == "rerank" and (rate := rates.get("input_cost_per_query")) is not None:
        fees["request"] = read_rate("input_cost_per_query", rate)  # of Cohere's, up to 100 documents
    sizes = _searches(rates.get("search_context_cost_per_query"))
    provider = rates.get("litellm_provider")
    if sizes:
        usual = "low" if provider in _SEARCHES_LITTLE else "medium"
        fees["web_search"] = sizes.get(usual, max(sizes.values()))
        unit = rates.get("web_search_billing_unit", "per_prompt" if provider in _GOOGLE else "per_query")
        fees["searches_together"] = unit == "per_prompt"
    factors = _factors(rates)
    if not (fees or factors or price.alternatives):
        return price
    alternatives = {name: replace(alternative, **fees) for name, alternative in price.alternatives}
    if len(set(sizes.values())) > 1:
        alternatives |= {size: replace(price, **{**fees, "web_search": fee}) for size, fee in sizes.items()}
    return replace(price, **fees, factors=factors or price.factors, alternatives=tuple(alternatives.items()))


def _factors(rates: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    """Anthropic's surcharges for fast answers and for regions; OpenAI's and Google's for regions, see `in_region`."""
    entry = rates.get("provider_specific_entry")
    known = {**entry} if isinstance(entry, Mapping) else {}
    known |= {region: rates[key] for key, region in _UPLIFTS.items() if key in rates}
    found = ((str(name), factor) for name, factor in known.items() if isinstance(factor, int | float))
    return tuple((name, round(factor * 1000)) for name, factor in found)


def _searches(rates: Any) -> dict[str, int]:
    """What a search of the web costs by the size of its context."""
    key = "search_context_cost_per_query"
    if isinstance(rates, Mapping):
        found = {size: rates.get(f"search_context_size_{size}") for size in _SIZES}
        return {size: read_rate(key, rate) for size, rate in found.items() if rate is not None}
    return {} if rates is None else {"medium": read_rate(key, rates)}


def price_without_tokens(rates: Mapping[str, Any]) -> Price | None:
    """The price of a model that is charged by something else than tokens; None where that is nothing that we count."""
    units = unit_prices(rates)
    return Price(0, 0, **units) if any(units.values()) else _per_second(rates)


def unit_prices(rates: Mapping[str, Any]) -> dict[str, Any]:
    """The prices of pictures, characters and seconds of a recording, by the fields of `Price`.

    The table has the price of a second on both sides of some models, which is charged once.
    """
    mode, found = rates.get("mode"), dict[str, Any]()
    for field, modes, keys in _UNITS:
        if mode in modes:
            given = [read_rate(key, rates[key]) for key in keys if rates.get(key) is not None]
            if given:
                found[field] = next(filter(None, given), 0)
    return found


_UNITS: Final = (
    ("picture", (None, "image_generation", "image_edit"), ("output_cost_per_image", "input_cost_per_image")),
    ("character", ("audio_speech",), ("input_cost_per_character",)),
    ("recorded_second", ("audio_transcription",), ("input_cost_per_second", "output_cost_per_second")),
)
"""Where each is charged, and what its price is called."""


def _per_second(rates: Mapping[str, Any]) -> Price | None:
    """The price of a model that is charged by the time that an answer takes."""
    if rates.get("mode") not in _ANSWERS:
        return None
    for key in ("cost_per_second", "input_cost_per_second", "output_cost_per_second"):
        if rates.get(key) is not None:
            return Price(0, 0, second=read_rate(key, rates[key]))
    return None


def charges_without_tokens(rates: Mapping[str, Any], price: Price) -> bool:
    """Whether tokens are free by `price`, the price in `rates`, because something else is charged."""
    if price.input or price.output or (rates.get("mode") == "rerank" and rates.get("input_cost_per_query") is not None):
        return False
    return any(_OTHER_UNIT.search(key) and isinstance(rate, int | float) and rate > 0 for key, rate in rates.items())
