"""Pricing: what a token of a deployment's model costs, by its `model_info`, else by litellm's table."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from crplugins.core.usage import Price
from crplugins.ledger.pricing_rates import price_of
from crplugins.ledger.pricing_table import PriceTable

Prices = Callable[[str], Price | None]
"""The price of a model under its name in LiteLLM's notation; None where nobody knows."""

_REMEMBERED: Final = 1024
"""Names of models: behind a wildcard they come from clients."""


def prices_for(model_info: Mapping[str, Any], table: Callable[[], PriceTable]) -> Prices:
    """What is charged under a `model_info` (US dollars per token, under LiteLLM's names).

    With prices for input and output there, nothing is looked up. A missing one is taken from `table()`, under the name
    in `base_model` if there is one; a price given without its parts (cached input, reasoning) is theirs too.

    Call the result once at start-up, off the event loop: `table` may read a file then, and never again.

    Raises ValueError for a price that is no number, or less than none.
    """
    own = price_of(model_info)
    if own is not None:
        return lambda _model: own
    base_model = model_info.get("base_model")

    @lru_cache(_REMEMBERED)
    def find(model: str) -> Price | None:
        listed = table().find(base_model if isinstance(base_model, str) else model)
        return listed if listed is None else price_of(model_info, listed)

    return find
