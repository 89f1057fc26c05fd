"""What a request costs: estimated before it is sent on, real when it is over. In micro-USD."""

from typing import Final

from crplugins.core.exchange import Exchange, Spent
from crplugins.core.principal import MissingUsagePolicy
from crplugins.core.units import NO_UNITS, Units
from crplugins.core.usage import Price, TokenUsage
from crplugins.metering.estimate import Demand, usage_of_answer


def estimated_cost(price: Price | None, demand: Demand, amount: int, units: Units = NO_UNITS) -> int:
    """What to reserve of a budget of `amount`; 0 if the price is unknown.

    A request whose cost exceeds the budget only by our estimate of its answer reserves the whole budget.
    """
    if price is None:
        return 0
    whole = price.micro_usd(TokenUsage(demand.prompt, demand.output), units=units)
    if demand.limited_by_client or whole <= amount:
        return whole
    return max(price.micro_usd(TokenUsage(demand.prompt), units=units), amount)


def as_requested(price: Price, exchange: Exchange) -> Price:
    """The price of the tier that the request asks for, which may be twice the standard one. The answer's is paid."""
    tier = exchange.body.get("service_tier") if price.alternatives and exchange.body is not None else None
    return (price.alternative(tier) if isinstance(tier, str) else None) or price


def real_cost(exchange: Exchange, expected: Price | None, missing_usage: MissingUsagePolicy) -> int:
    """The cost in the usage record; by the `expected` price if the handler gave none.

    Where no price is known, the provider's own bill is what a budget pays.
    """
    if exchange.usage_source == "cache":
        return 0
    price = exchange.price or expected
    if price is None:
        cost = exchange.provider_cost_micro_usd or 0
    else:
        cost = exchange.cost_at(price, usage_of_answer(exchange, missing_usage))
    return cost + sum(_spent(attempt, expected) for attempt in exchange.spent) if exchange.spent else cost


def _spent(attempt: Spent, expected: Price | None) -> int:
    if attempt.cost_micro_usd is None:
        return 0 if expected is None else expected.micro_usd(attempt.usage)
    return attempt.cost_micro_usd


_NO_AMOUNTS: Final = frozenset({"factors", "off_peak", "searches_together", "source"})
"""Fields of a price that cost nothing by themselves."""


def is_free(price: Price) -> bool:
    """Whether nothing that a price has an amount for costs anything."""
    return not any(_costs(getattr(price, name)) for name in Price.__struct_fields__ if name not in _NO_AMOUNTS)


def _costs(part: object) -> bool:
    """Of one field of a price: an amount or None, or further prices, each behind what it applies to."""
    if isinstance(part, Price):
        return not is_free(part)
    return any(_costs(price) for _, price in part) if isinstance(part, tuple) else bool(part)
