"""Rates: one number of LiteLLM's list of prices, in US dollars for one token, second, page or search."""

from decimal import Decimal, InvalidOperation
from typing import Any, Final

from crplugins.core.usage import pico_usd

MOST_USD: Final = 1_000
"""For one token, second, page or search. More is a mistake, and would not fit into the books."""


def read_rate(key: str, rate: Any) -> int:
    """The value of `key` in millionths of a millionth of a US dollar. YAML reads `2e-7` as text, so text is taken too.

    Raises ValueError, with the key, for what is not a number, negative, or above `MOST_USD`.
    """
    try:
        number = Decimal(str(rate))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or number < 0:
        raise ValueError(f"{key}: {rate!r} is no price in US dollars")
    if number > MOST_USD:
        raise ValueError(
            f"{key}: {rate!r} is more than {MOST_USD} US dollars for one; a price of a million is divided by 1,000,000"
        )
    return pico_usd(number)
