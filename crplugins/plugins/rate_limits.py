"""RateLimits: how much each key, team, model or address may use in a time, and how much at once."""

import logging
from collections import Counter, OrderedDict
from collections.abc import Iterable
from types import TracebackType
from typing import Final, Self

from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, Slot
from crplugins.core.outcome import ErrorType
from crplugins.core.plugin import Plugin
from crplugins.core.principal import MissingUsagePolicy, Principal
from crplugins.limits.limit import Decision, Reservation
from crplugins.limits.memory import MemoryStore
from crplugins.limits.store import LimitStore
from crplugins.plugins.limit_address import ClientAddresses
from crplugins.plugins.limit_bounds import Bounds, bounds_for
from crplugins.plugins.limit_demand import ESTIMATED_OUTPUT_TOKENS, NO_DEMAND, Demand, demand_of
from crplugins.plugins.limit_headers import Standing, rate_limit_headers, without_foreign
from crplugins.plugins.limit_refusals import limit_reached, refusal_reason
from crplugins.plugins.limit_reservations import Milliseconds, Reservations
from crplugins.plugins.limit_rules import LimitRules
from crplugins.plugins.limit_usage import came_through, usage_of

_KEPT_BOUNDS: Final = 4096

logger = logging.getLogger("crplugins.limits")


class RateLimits(Plugin):
    """Refuses what is too much with OpenAI's 429, and tells every client how much is left.

        RateLimits(LimitRules(per_key=Limits(requests_per_minute=60, tokens_per_minute=100_000)))

    A request reserves what it may take before the work begins, in one step: of all its limits, or of none. When it is
    over, however it ended, what it really took stands in place of the estimate. A request refused further in takes
    nothing; one that the provider fails takes itself, and no tokens.

    A limit is kept as a level that drains, so that a changed one holds at once for what is already used. In any period
    at most its burst and its amount are let through, so twice the amount in the first minute and never again, unless
    `burst` is less.

    Stands inside ModelAliases, which tells the serving model, and outside MissingUsage. Alone, in front of any app, it
    reads usage from the app's answers.

    Args:
        rules: limits besides those that keys bring with them. May be replaced while requests run.
        store: where levels are kept: in this process, unless a store says otherwise.
        trusted_proxies: networks whose `x-forwarded-for` is believed.
        estimated_output_tokens: how long an answer is taken to be where the client sets no bound.
        missing_usage: as MissingUsage has it: whether an answer without usage is estimated here or free.
    """

    reads_body: bool = True

    def __init__(
        self,
        rules: LimitRules = LimitRules(),  # noqa: B008  # frozen
        *,
        store: LimitStore | Reservations | None = None,
        trusted_proxies: Iterable[str] = (),
        estimated_output_tokens: int = ESTIMATED_OUTPUT_TOKENS,
        missing_usage: MissingUsagePolicy = "estimate",
        now: Milliseconds | None = None,
    ) -> None:
        self.reads_events = True  # no event is looked at, but with this the core reads the usage in them
        self.shadowed: Final[Counter[ErrorType]] = Counter()
        """How often a shadow would have refused, by reason."""
        self._reservations: Final = reservations_in(store, now)
        self._addresses: Final = ClientAddresses(trusted_proxies)
        self._estimated_output: Final = estimated_output_tokens
        self._missing_usage: Final[MissingUsagePolicy] = missing_usage
        self._standing: Final[Slot[Standing]] = Slot("rate_limits.standing")
        self._held: Final[Slot[Reservation]] = Slot("rate_limits.held")
        self._rules = rules
        self._bounds: Final[OrderedDict[_Whose, tuple[Principal | None, Bounds]]] = OrderedDict()
