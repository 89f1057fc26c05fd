"""What a request may cost, and what it did cost, in micro-USD."""

from crplugins.core.exchange import Exchange
from crplugins.core.principal import MissingUsagePolicy
from crplugins.core.usage import Price, TokenUsage
from crplugins.metering.estimate import Demand, usage_of


def estimated_cost(price: Price | None, demand: Demand, amount: int) -> int:
    """What to reserve of a budget of `amount`; 0 where nobody knows the price.

    A request that only our own guess of its answer makes dearer than the budget takes all of it.
    """
    if price is None:
        return 0
    whole = price.micro_usd(TokenUsage(demand.prompt, demand.output))
    if demand.told or whole <= amount:
        return whole
    return max(price.micro_usd(TokenUsage(demand.prompt)), amount)


def real_cost(exchange: Exchange, expected: Price | None, missing_usage: MissingUsagePolicy) -> int:
    """As the usage record has it; by the `expected` price where the handler told none."""
    price = exchange.price or expected
    return 0 if price is None else price.micro_usd(usage_of(exchange, missing_usage))
