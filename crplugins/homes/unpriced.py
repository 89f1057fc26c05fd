"""Models without a price: which budgets cannot count them, told before anybody asks for one."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from crplugins.core.principal import Budget, Principal
from crplugins.core.usage import Price
from crplugins.plugins.aliases.access import may_reach
from crplugins.plugins.aliases.table import AliasTable

_MOST_NAMED: Final = 8


class KnownBudgets(NamedTuple):
    """The budgets that are known before a request comes.

    Attributes:
        per_key: of each key without its own.
        per_team: of the keys of a team together.
        per_user, per_session: of each end user and each session of a key.
        keys: those that are known; tokens, and keys in a database, are not.
        shadow: whether none of the budgets refuses anything.
    """

    per_key: Budget | None
    per_team: Mapping[str, Budget]
    keys: Sequence[Principal]
    shadow: bool = False
    per_user: Budget | None = None
    per_session: Budget | None = None

    def that_meet(self, model: str, aliases: AliasTable) -> Iterator[tuple[str, bool]]:
        """Whose budget each is that a request for `model` may be under, and whether it is a shadow."""
        of_each = {"key without its own": self.per_key, "user": self.per_user, "session": self.per_session}
        for whose, budget in of_each.items():
            if budget is not None:
                yield f"each {whose}", self.shadow or budget.shadow
        for team, shared in self.per_team.items():
            yield f"the team '{team}'", self.shadow or shared.shadow
        for key in self.keys:
            if key.budget is not None and may_reach(key, model, aliases):
                yield f"the key '{key.key_id}'", self.shadow or key.budget.shadow


def unpriced_warnings(
    models: Iterable[str],
    prices: Callable[[str], Price | None],
    budgets: KnownBudgets,
    aliases: AliasTable,
    *,
    refused: bool,
) -> Iterator[str]:
    """A sentence for each model whose price is unknown, and whose requests may be under a budget.

    Args:
        models: names and wildcards. A wildcard has a price if every name that it matches has that one.
        refused: whether a budget that is no shadow refuses what it cannot count.
    """
    for model in models:
        if prices(model) is None and (found := list(budgets.that_meet(model, aliases))):
            subject, of = f"the price of '{model}' is unknown", "it"
            if "*" in model:
                subject, of = f"'{model}' has no price of its own", "a name that the list of prices does not have"
            enforced = refused and not all(shadow for _, shadow in found)
            then = f"a request for {of} is refused" if enforced else f"no request for {of} is counted"
            yield f"{subject}: {then} under the budget of {_named(found)}; {_CURE}"


_CURE: Final = "give the price in model_info (input_cost_per_token, output_cost_per_token)"


def _named(found: Sequence[tuple[str, bool]]) -> str:
    named = [f"{whose} (shadow)" if shadow else whose for whose, shadow in found[:_MOST_NAMED]]
    more = len(found) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")
