"""What a request would count against, and what it would cost, for `crplugins explain`."""

from collections.abc import Iterator

from crplugins.config import Config
from crplugins.config.models import ModelEntry
from crplugins.core.principal import Principal
from crplugins.core.usage import Price, TokenUsage
from crplugins.plugins.rate_limits.rules import bounds_for

_MILLION = 1_000_000


def limits_text(config: Config, principal: Principal, model: str) -> str:
    """Every limit that a request of this key for this served name has to pass."""
    bounds = bounds_for(config.limits.rules(), principal, model, None)
    limits = [
        f"{bound.limit.amount} {bound.measure.name} ({_scope(bound.scope)}{', shadow' * bound.shadow})"
        for bound in bounds.all
    ]
    return ", ".join([*limits, *_budgets(config, principal)]) or "no limit and no budget applies"


def price_text(entry: ModelEntry, name: str, input_tokens: int, output_tokens: int) -> str:
    """What tokens cost, and what so many of them do."""
    price = entry.deployment().price_for(name)
    if price is None:
        return "nobody knows its price: cost is null, and budgets do not move"
    cost = price.micro_usd(TokenUsage(input_tokens, output_tokens)) / _MILLION
    return f"{_per_million(price)}; {input_tokens} in and {output_tokens} out cost ${cost:.6f}"


def _per_million(price: Price) -> str:
    parts = [("input", price.input), ("output", price.output), ("cached input", price.cached_input)]
    return ", ".join(f"${pico / _MILLION:g} {name}" for name, pico in parts if pico is not None) + " per million tokens"


def _scope(scope: str) -> str:
    """In the words of the configuration."""
    return "global" if scope == "overall" else scope.replace("_", " ")


def _budgets(config: Config, principal: Principal) -> Iterator[str]:
    own = principal.budget or config.budgets.key()
    if own is not None:
        yield f"${own.micro_usd / _MILLION:.2f} per {own.period} (key)"
    team = config.budgets.teams().get(principal.team or "")
    if team is not None:
        yield f"${team.micro_usd / _MILLION:.2f} per {team.period} (team)"
