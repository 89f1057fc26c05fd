"""The account of an attempt that has failed, before another one is made: its tokens are paid for, whoever answers.

A request is recorded as one, with the sum of what its attempts have used, each at the price of its own model. A client
that asks for usage is told the same sum (`whole_usage.py`).
"""

from crplugins.core.exchange import Exchange
from crplugins.core.principal import MissingUsagePolicy
from crplugins.metering.estimate import settle_missing
from crplugins.metering.record import cost_of_answer


def give_up(exchange: Exchange, policy: MissingUsagePolicy) -> None:
    """The last attempt has failed and another one follows: close its account.

    It has used what its provider reported, and what it said that its provider had not counted. One that did neither has
    used nothing that anybody knows of.

    Args:
        policy: whether what is missing is estimated or free, for keys without their own policy.
    """
    exchange.complete_count(ended_early=True)
    if exchange.answer_usage is not None or exchange.answer_says:
        settle_missing(exchange, policy)
    exchange.give_up(cost_of_answer(exchange).micro_usd)
