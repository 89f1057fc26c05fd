"""What a request has really used, when it is over."""

from typing import Final

from crplugins.core.exchange import Exchange
from crplugins.core.principal import MissingUsagePolicy
from crplugins.core.usage import TokenUsage
from crplugins.ledger.estimate import ByteEstimator, missing_usage_policy, owes_usage

NOTHING_USED: Final = TokenUsage()

_BYTES: Final = ByteEstimator()


def usage_of(exchange: Exchange, missing_usage: MissingUsagePolicy) -> TokenUsage:
    """The provider's numbers; an estimate where it worked and told none, unless that is free.

    In front of a foreign app nobody else may have estimated. Nothing where no provider was asked, or where it failed
    before it had said anything.
    """
    if exchange.usage is not None:
        return exchange.usage
    if missing_usage_policy(exchange, missing_usage) == "free" or not owes_usage(exchange):
        return NOTHING_USED
    return _BYTES.count(exchange)


def came_through(exchange: Exchange) -> bool:
    """Whether the request reached the app, or a plugin that answered in its stead: nobody further in refused it."""
    return exchange.timings.app is not None or exchange.reply is not None
