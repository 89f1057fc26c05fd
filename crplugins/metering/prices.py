"""Prices from LiteLLM's notation: US dollars per token, one key for each kind of token."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from msgspec.structs import replace

from crplugins.core.usage import Price, pico_usd

_FIELDS: Final[Mapping[str, str]] = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cached_input",
    "cache_creation_input_token_cost": "cache_write_input",
    "output_cost_per_reasoning_token": "reasoning_output",
    "input_cost_per_audio_token": "audio_input",
    "output_cost_per_audio_token": "audio_output",
}

_PARTS: Final[Mapping[str, str]] = {
    "cached_input": "input",
    "cache_write_input": "input",
    "audio_input": "input",
    "reasoning_output": "output",
    "audio_output": "output",
}

_LONGER: Final = re.compile(r"(\w+)_above_(\d+)(k?)_tokens")
_OTHER_UNIT: Final = re.compile(r"cost_per_(second|image|pixel|character|page|query|request|video)")

# The higher price of these providers begins at the threshold itself, not above it.
_FROM_THRESHOLD: Final = frozenset({"xai"})


def price_of(rates: Mapping[str, Any], listed: Price | None = None) -> Price | None:
    """The price in `rates`; what is missing there is taken from `listed`.

    None where the price of input or output is unknown, and where both are free because something else than tokens is
    charged.

    Raises ValueError for a rate that is not a number, or negative.
    """
    ranges = rates.get("tiered_pricing")
    if ranges:
        return _by_range(rates, ranges)
    steps = _steps(rates)
    price = _over(_named(rates), listed)
    if price is None or _charges_otherwise(rates, price):
        return None
    return replace(price, above=_longer(price, steps)) if steps else price


def _named(rates: Mapping[str, Any]) -> dict[str, Any]:
    return {field: _pico_usd(key, rates[key]) for key, field in _FIELDS.items() if rates.get(key) is not None}


def _pico_usd(key: str, rate: Any) -> int:
    """YAML reads `2e-7` as text, so text is taken too."""
    try:
        number = Decimal(str(rate))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or number < 0:
        raise ValueError(f"{key}: {rate!r} is no price in US dollars per token")
    return pico_usd(rate)


def _over(own: dict[str, Any], listed: Price | None) -> Price | None:
    """`listed` with a deployment's own prices. A listed part goes with its whole, of which it was a share."""
    if listed is None:
        return _without_echoes(Price(**own)) if "input" in own and "output" in own else None
    if not own:
        return listed
    kept = {field: getattr(listed, field) for field in _FIELDS.values() if _PARTS.get(field, field) not in own}
    above = tuple((tokens, price) for tokens, longer in listed.above if (price := _over(own, longer)) is not None)
    return _without_echoes(Price(**kept | own, above=above))


def _without_echoes(price: Price) -> Price:
    """Drops the price of a part of the output that equals the whole's, so that longer prompts change both.

    LiteLLM's table repeats the price of output for reasoning, but not for longer prompts. Equal prices of input parts
    are meant.
    """
    echoes = [part for part, whole in _PARTS.items() if whole == "output" and getattr(price, part) == price.output]
    return replace(price, **dict.fromkeys(echoes)) if echoes else price


def _steps(rates: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """The prices that change for longer prompts, by the number of tokens above which they do."""
    inclusive = rates.get("litellm_provider") in _FROM_THRESHOLD
    steps: dict[int, dict[str, Any]] = {}
    for key, rate in rates.items():
        match = _LONGER.fullmatch(key)
        if match and match[1] in _FIELDS and rate is not None:
            tokens = int(match[2]) * (1000 if match[3] else 1) - inclusive
            steps.setdefault(tokens, {})[_FIELDS[match[1]]] = _pico_usd(key, rate)
    return steps


def _longer(price: Price, steps: Mapping[int, dict[str, Any]]) -> tuple[tuple[int, Price], ...]:
    """The prices of longer prompts, the longest first. Each keeps the prices of the next shorter one that it lacks."""
    found: list[tuple[int, Price]] = []
    price = replace(price, above=())
    for tokens in sorted(steps):
        price = replace(price, **steps[tokens])
        found.append((tokens, price))
    return tuple(reversed(found))


def _by_range(rates: Mapping[str, Any], ranges: Sequence[Mapping[str, Any]]) -> Price | None:
    """`tiered_pricing`: a full list of prices for each range of input tokens; the last one has no upper end."""
    common = {key: rates[key] for key in ("output_cost_per_token",) if key in rates}
    try:
        prices = [(int(r["range"][0]), _over(_named({**common, **r}), None)) for r in ranges]
    except (LookupError, TypeError) as error:
        raise ValueError(f"tiered_pricing: {error!r} in {ranges!r}") from None
    known = sorted(((tokens, price) for tokens, price in prices if price is not None), key=lambda found: found[0])
    if not known or len(known) < len(prices):
        return None
    return replace(known[0][1], above=tuple(known[:0:-1]))


def _charges_otherwise(rates: Mapping[str, Any], price: Price) -> bool:
    if price.input or price.output:
        return False
    return any(_OTHER_UNIT.search(key) and isinstance(rate, int | float) and rate > 0 for key, rate in rates.items())
