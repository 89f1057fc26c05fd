"""Prices from LiteLLM's notation: US dollars per token, one key for each kind of token.

A key may end with the number of input tokens above which it holds, and with the processing tier for which it does:
`input_cost_per_token_above_200k_tokens_priority`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from crplugins.core.off_peak import read_off_peak
from crplugins.core.usage import OFF_PEAK, Price
from crplugins.metering.fees import charges_without_tokens, price_without_tokens, unit_prices, with_fees
from crplugins.metering.rates import read_rate

_FIELDS: Final[Mapping[str, str]] = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cached_input",
    "cache_creation_input_token_cost": "cache_write_input",
    "cache_creation_input_token_cost_above_1hr": "long_cache_write_input",
    "cache_creation_input_token_cost_above_12hr": "long_cache_write_input",
    "output_cost_per_reasoning_token": "reasoning_output",
    "input_cost_per_audio_token": "audio_input",
    "output_cost_per_audio_token": "audio_output",
    "cache_read_input_audio_token_cost": "cached_audio_input",
    "input_cost_per_image_token": "image_input",
    "output_cost_per_image_token": "image_output",
    "output_cost_per_video_token": "video_output",
}

_PARTS: Final[Mapping[str, Sequence[str]]] = {
    "cached_input": ("input",),
    "cache_write_input": ("input",),
    "long_cache_write_input": ("cache_write_input", "input"),
    "audio_input": ("input",),
    "cached_audio_input": ("cached_input", "input"),
    "image_input": ("input",),
    "reasoning_output": ("output",),
    "audio_output": ("output",),
    "image_output": ("output",),
    "video_output": ("output",),
}
"""The parts of input and output, and what each is a part of."""

_PARTS_OF_OUTPUT: Final = tuple(part for part, wholes in _PARTS.items() if "output" in wholes)

# The tier stands after the threshold in most keys, before it in a few.
_KEY: Final = re.compile(
    rf"({'|'.join(sorted(_FIELDS, key=len, reverse=True))})"
    r"(?:_(?!above_)([a-z]+))?(?:_above_(\d+)(k?)_tokens)?(?:_([a-z]+))?"
)

_WRITE_NOTHING: Final = frozenset({"embedding", "moderation", "rerank"})
"""The modes without output that is charged."""

_STANDARD: Final = ""
_BATCH: Final = "batch"
_TIERS: Final = {"batches": _BATCH}
"""Tiers that answers call otherwise than LiteLLM's keys."""

_NO_TIERS: Final = frozenset({"decisions"})
"""Words at the end of keys that are another API's, which no answer names."""

# The higher price of these providers begins at the threshold itself, not above it.
_FROM_THRESHOLD: Final = frozenset({"xai"})

_CHARACTERS_PER_TOKEN: Final = 4
"""Google's own rule for models that it prices by characters, whose usage has tokens."""

_Steps = dict[int, dict[str, int]]
"""By the number of input tokens above which they hold: prices by the fields of `Price`."""


def price_of(rates: Mapping[str, Any], listed: Price | None = None) -> Price | None:
    """The price in `rates`; what is missing there is taken from `listed`.

    None where the price of input or output is unknown, and where both are free because something else than tokens is
    charged.

    Raises ValueError for a rate that `read_rate` refuses.
    """
    ranges = rates.get("tiered_pricing")
    if ranges:
        price = _by_range(rates, ranges)
    else:
        tiers = _tiers(rates)
        price = _at(tiers[_STANDARD], listed)
        if price is not None:
            if alternatives := _alternatives(tiers, price, listed):
                price = replace(price, alternatives=alternatives)
            price = _with_off_peak(price, rates)
        if price is None or (listed is None and charges_without_tokens(rates, price)):
            return price_without_tokens(rates)
    if price is not None and not (price.input or price.output) and (units := unit_prices(rates)):
        price = replace(price, **units, source="config" if listed is not None else price.source)
    return None if price is None else with_fees(price, rates)


def _tiers(rates: Mapping[str, Any]) -> dict[str, _Steps]:
    """The prices of each processing tier, `_STANDARD` for the ordinary one, as far as they are in `rates`."""
    inclusive = rates.get("litellm_provider") in _FROM_THRESHOLD
    tiers: dict[str, _Steps] = {_STANDARD: {0: _per_character(rates)}}
    for key, rate in rates.items():
        match = _KEY.fullmatch(key)
        if match is None or rate is None or (match[2] and match[5]):
            continue
        tier = match[2] or match[5] or _STANDARD
        if tier in _NO_TIERS:
            continue
        above = int(match[3]) * (1000 if match[4] else 1) - inclusive if match[3] else 0
        steps = tiers.setdefault(_TIERS.get(tier, tier), {})
        steps.setdefault(above, {})[_FIELDS[match[1]]] = read_rate(key, rate)
    return tiers


def _per_character(rates: Mapping[str, Any]) -> dict[str, int]:
    keys = {"input": "input_cost_per_character", "output": "output_cost_per_character"}
    known = {
        field: _CHARACTERS_PER_TOKEN * read_rate(key, rates[key])
        for field, key in keys.items()
        if rates.get(key) is not None and rates.get(f"{field}_cost_per_token") is None
    }
    return _without_text(rates) | known


def _without_text(rates: Mapping[str, Any]) -> dict[str, int]:
    """What the output of a model costs for which the table has no price of written output: it writes none."""
    mode, pictures = rates.get("mode"), rates.get("output_cost_per_image_token")
    if mode in _WRITE_NOTHING:
        return {"output": 0}
    if mode in ("image_generation", "image_edit") and pictures is not None:
        return {"output": read_rate("output_cost_per_image_token", pictures)}
    return {}


def _at(steps: _Steps, listed: Price | None) -> Price | None:
    """The price of one tier."""
    price = _over(steps.get(0, {}), listed)
    if price is None or not any(steps):
        return price
    return replace(price, above=_longer(price, steps))


def _over(own: Mapping[str, int], listed: Price | None) -> Price | None:
    """`listed` with a deployment's own prices. A listed part goes with its whole, of which it was a share."""
    if listed is None:
        return _without_echoes(Price(**_fields(own))) if "input" in own and "output" in own else None
    if not own:
        return listed
    dropped = [part for part, wholes in _PARTS.items() if part not in own and any(whole in own for whole in wholes)]
    above = [(tokens, price) for tokens, longer in listed.above if (price := _over(own, longer)) is not None]
    changed: dict[str, Any] = {**dict.fromkeys(dropped), **own, "above": tuple(above), "source": "config"}
    return _without_echoes(replace(listed, **changed))


def _fields(rates: Mapping[str, int]) -> dict[str, Any]:
    return dict(rates)


def _without_echoes(price: Price) -> Price:
    """Drops the price of a part of the output that equals the whole's, so that longer prompts and tiers change both.

    LiteLLM's table repeats the price of output for reasoning, but not for longer prompts. Equal prices of input parts
    are meant.
    """
    echoes = [part for part in _PARTS_OF_OUTPUT if getattr(price, part) == price.output]
    return replace(price, **dict.fromkeys(echoes)) if echoes else price


def _longer(price: Price, steps: _Steps) -> tuple[tuple[int, Price], ...]:
    """The prices of longer prompts, the longest first. Each keeps the prices of the next shorter one that it lacks."""
    found: list[tuple[int, Price]] = []
    price = replace(price, above=())
    for tokens in sorted(filter(None, steps)):
        price = replace(price, **_fields(steps[tokens]))
        found.append((tokens, price))
    return tuple(reversed(found))


def _alternatives(tiers: Mapping[str, _Steps], price: Price, listed: Price | None) -> tuple[tuple[str, Price], ...]:
    """What the tiers besides the standard one cost. A price that one of them lacks is the standard one's."""
    standard = tiers[_STANDARD]
    listed_ones = dict(listed.alternatives) if listed is not None else {}
    found = {name: _over(standard[0], alternative) or alternative for name, alternative in listed_ones.items()}
    for tier, steps in tiers.items():
        if tier != _STANDARD:
            lacking = _lacking_in_batches if tier == _BATCH else _lacking
            both = {
                above: {**lacking(standard.get(above, {}), steps.get(above, {})), **steps.get(above, {})}
                for above in (*standard, *steps)
            }
            whole = listed_ones.get(tier, price)
            own = _at(both, replace(whole, alternatives=(), above=() if any(both) else whole.above))
            if own is not None:
                found[tier] = own
    if "priority" in found:
        found.setdefault("fast", found["priority"])  # OpenAI's newer word for it
    return tuple(found.items())


def _lacking(standard: Mapping[str, int], tier: Mapping[str, int]) -> dict[str, int]:
    """What a tier charges where it has no price of its own: what the standard one does.

    Only reasoning then costs what the tier's output does.
    """
    return {field: rate for field, rate in standard.items() if field != "reasoning_output" or "output" not in tier}


def _lacking_in_batches(standard: Mapping[str, int], batch: Mapping[str, int]) -> dict[str, int]:
    """The same in batches: output costs half, input parts what input does there, but cached ones what they do always.

    What is written for long costs as many times what is written for short as elsewhere: Anthropic's discount is one on
    both.
    """
    price = {field: standard[field] // 2 for field in ("input", "output", "image_output") if field in standard}
    for field in ("cached_input", "cached_audio_input"):
        if field in standard and "cached_input" not in batch:
            price[field] = standard[field]
    short, long = standard.get("cache_write_input"), standard.get("long_cache_write_input")
    if short and long is not None and "cache_write_input" in batch:
        price["long_cache_write_input"] = long * batch["cache_write_input"] // short
    return price


def _with_off_peak(price: Price, rates: Mapping[str, Any]) -> Price:
    """The price with that of the hours in which a provider charges less. What that lacks costs what it always does."""
    block = rates.get("off_peak_pricing")
    if not isinstance(block, Mapping) or (hours := read_off_peak(block)) is None:
        return price
    own = _fields(_tiers(block)[_STANDARD][0])
    longer = tuple((tokens, replace(longer, **own)) for tokens, longer in price.above)
    cheaper = replace(price, **own, above=longer, alternatives=())
    return replace(price, off_peak=hours, alternatives=(*price.alternatives, (OFF_PEAK, cheaper)))


def in_region(price: Price, region: str | None) -> Price:
    """The price at a deployment in this region (`eu`, `us`, `fedramp` of OpenAI's, `regional` of Google's Vertex)."""
    factor = dict(price.factors).get(region) if region is not None else None
    return price if factor is None else _scaled(price, factor)


def _scaled(price: Price, thousandths: int) -> Price:
    rates = {field: getattr(price, field) for field in set(_FIELDS.values())}
    scaled = {field: rate * thousandths // 1000 for field, rate in rates.items() if rate is not None}
    above = tuple((tokens, _scaled(longer, thousandths)) for tokens, longer in price.above)
    alternatives = tuple((name, _scaled(other, thousandths)) for name, other in price.alternatives)
    return replace(price, **_fields(scaled), above=above, alternatives=alternatives)


def _by_range(rates: Mapping[str, Any], ranges: Sequence[Mapping[str, Any]]) -> Price | None:
    """`tiered_pricing`: a full list of prices for each range of input tokens; the last one has no upper end."""
    common = {key: rates[key] for key in ("output_cost_per_token",) if key in rates}
    try:
        prices = [(int(r["range"][0]), _at(_tiers({**common, **r})[_STANDARD], None)) for r in ranges]
    except (LookupError, TypeError, OverflowError) as error:
        raise ValueError(f"tiered_pricing: {error!r} in {ranges!r}") from None
    known = sorted(((tokens, price) for tokens, price in prices if price is not None), key=lambda found: found[0])
    if not known or len(known) < len(prices):
        return None
    return replace(known[0][1], above=tuple(known[:0:-1]))
