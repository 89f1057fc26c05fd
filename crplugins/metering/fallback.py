"""A price for models whose own price is unknown."""

from collections.abc import Callable

from crplugins.core.usage import Price

Prices = Callable[[str], Price | None]


def or_fallback(prices: Prices, fallback: Price | None) -> Prices:
    """`prices`, with `fallback` for every model whose price they do not know."""
    if fallback is None:
        return prices

    def find(model: str) -> Price | None:
        found = prices(model)
        return fallback if found is None else found

    return find
