"""What a request costs: estimated before it is sent on, real when it is over. In micro-USD."""

from typing import Final

from crplugins.core.exchange import Exchange, Spent
from crplugins.core.principal import MissingUsagePolicy
from crplugins.core.usage import Price, TokenUsage
from crplugins.metering.estimate import Demand, asks_for_speech, attached_tokens, usage_of_answer


class ExpectedCost:
    """What a request will cost at a price, by what it asks for: a tier that may be twice the standard one, a model that
    is six times as fast and as expensive, speech, which costs many times what text does."""

    def __init__(self, exchange: Exchange, price: Price) -> None:
        self._price, self._terms, self._units = price, exchange.asked_terms(), exchange.asked_units()
        self._heard = attached_tokens(exchange, "audio") if price.audio_input is not None else 0
        self._seen = attached_tokens(exchange, "image") if price.image_input is not None else 0
        self._speaks = price.audio_output is not None and asks_for_speech(exchange)

    def of(self, prompt: int, output: int) -> int:
        """With so many tokens of the prompt and of the answer."""
        spoken = output if self._speaks else 0
        usage = TokenUsage(
            prompt,
            output,
            audio_input_tokens=self._heard,
            image_input_tokens=self._seen,
            audio_output_tokens=spoken,
        )
        return self._price.micro_usd(usage, self._terms, units=self._units)

    def to_reserve(self, demand: Demand, amount: int) -> int:
        """What to reserve of a budget of `amount`. A request whose cost exceeds the budget only by our estimate of its
        answer reserves the whole budget."""
        whole = self.of(demand.prompt, demand.output)
        if demand.limited_by_client or whole <= amount:
            return whole
        return max(self.of(demand.prompt, 0), amount)


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
    """Of one field of a price: an amount or None, or further prices, each after what it applies to."""
    if isinstance(part, Price):
        return not is_free(part)
    return any(_costs(price) for _, price in part) if isinstance(part, tuple) else bool(part)
