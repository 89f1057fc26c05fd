"""Demand: how much a request is going to take, estimated before anybody has worked on it."""

from typing import Final, Literal, NamedTuple

from crplugins.core.body import Body
from crplugins.core.exchange import Exchange
from crplugins.ledger.estimate import prompt_tokens

ESTIMATED_OUTPUT_TOKENS: Final = 1024
"""What an answer is taken to be long where the client has set it no bound."""

_MOST_CHOICES: Final = 128
_MOST_TOKENS: Final = 10**12
"""More than any limit, and few enough for a store to count."""


Unit = Literal["requests", "tokens", "output_tokens", "parallel"]


class Demand(NamedTuple):
    """Tokens of a request.

    Attributes:
        output: of all its choices together.
        told: whether the client has bounded them itself.
    """

    prompt: int
    output: int
    told: bool

    def of(self, unit: Unit, amount: int) -> int:
        """What to reserve of a limit of `amount`.

        A request that only our own guess makes larger than the limit takes all of it, and is not turned away forever.
        """
        least = self.prompt if unit == "tokens" else 0
        whole = least + self.output
        return whole if self.told or whole <= amount else max(least, amount)


NO_DEMAND: Final = Demand(0, 0, told=True)
"""For requests of which no tokens are counted."""


def demand_of(exchange: Exchange, estimated_output_tokens: int) -> Demand:
    """A token for every four bytes of the messages and tools, and as many as the answer may have.

    Raises `GatewayError` 400 for a body that is no JSON.
    """
    body = exchange.body
    if body is None:
        return NO_DEMAND
    told = _count(body, "max_completion_tokens") or _count(body, "max_tokens")
    choices = min(_count(body, "n") or 1, _MOST_CHOICES)
    output = choices * (told or estimated_output_tokens)
    return Demand(min(prompt_tokens(exchange), _MOST_TOKENS), min(output, _MOST_TOKENS), told is not None)


def _count(body: Body, key: str) -> int | None:
    """What stands there, if it is a whole number above 0; anything else is for the app to refuse."""
    if key not in body:
        return None
    value = body.get(key, int)
    return value if value is not None and value > 0 else None
