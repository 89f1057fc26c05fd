"""LimitedRequest: one request that asks for its limits, and waits for them if it has to."""

from collections.abc import Callable, Sequence
from typing import Final

from crplugins.core.exchange import Exchange, Slot
from crplugins.limits.applicant import Ask, Wait
from crplugins.limits.limit import Decision, Level, Reservation
from crplugins.limits.reservations import Reservations
from crplugins.metering.estimate import demand_of
from crplugins.plugins.rate_limits.rules import AppliedLimit, AppliedLimits

POSITION_HEADER: Final = "x-crplugins-queue-position"
"""The place in the queue that a request was given when it came; 1 is the next."""

WAITS: Final[Slot[list[Wait]]] = Slot("rate_limits.waits")
"""How a request has waited, for its own limits and for those of deployments, in this order."""


class LimitedRequest:
    """An `Applicant`: a request of an exchange with what it is to be charged.

    A limit in shadow mode that would refuse it is left out from then on.

    Args:
        reservation: what it asks for; not made yet.
        shadowed: is told of each limit that is left out.

    Attributes:
        applied, reservation: as they were in the last attempt; a charge for each limit.
    """

    def __init__(
        self,
        exchange: Exchange,
        reservations: Reservations,
        reservation: Reservation,
        applied: AppliedLimits,
        shadowed: Callable[[AppliedLimit], None],
        estimated_output: int,
    ) -> None:
        self.reservation = reservation
        self.applied = applied
        self._exchange: Final = exchange
        self._reservations: Final = reservations
        self._shadowed: Final = shadowed
        self._estimated_output: Final = estimated_output

    @property
    def asks(self) -> Sequence[Ask]:
        return [
            Ask(charge, each.queue, each.scope)
            for charge, each in zip(self.reservation.charges, self.applied.all, strict=True)
        ]

    @property
    def key(self) -> str:
        principal = self._exchange.principal
        return "" if principal is None else principal.key_id

    @property
    def weight(self) -> float:
        principal = self._exchange.principal
        return 1 if principal is None else principal.weight

    @property
    def size(self) -> int:
        """In tokens, whether or not any limit counts them: else who is under such a limit would wait longest."""
        demand = demand_of(self._exchange, self._estimated_output)
        return max(1, demand.prompt + demand.output)

    async def attempt(self) -> Decision:
        while self.reservation.charges:
            _, decision = await self._reservations.reserve(self.reservation.id, self.reservation.charges)
            if not self.left_out(decision):
                return decision
        return Decision(None, 0, ())

    def left_out(self, decision: Decision) -> bool:
        """Whether the limit that has refused is in shadow mode: the request no longer asks for it."""
        index = decision.refused
        if index is None or not self.applied.all[index].shadow:
            return False
        self._shadowed(self.applied.all[index])
        charges = self.reservation.charges
        self.applied = self.applied.without(index)
        self.reservation = Reservation(self.reservation.id, (*charges[:index], *charges[index + 1 :]))
        return True

    def withdraw(self) -> None:
        if self.reservation.charges:
            self._reservations.settle(self.reservation, [0] * len(self.reservation.charges))

    def has_waited(self, wait: Wait) -> None:
        """For that time its duration is not the gateway's own."""
        self._exchange.timings.queued += wait.seconds
        WAITS.set(self._exchange, [*(WAITS.get(self._exchange) or ()), wait])

    async def levels(self) -> tuple[Level, ...]:
        return await self._reservations.levels_or_refuse([charge.limit for charge in self.reservation.charges])


async def authenticate_again(exchange: Exchange, request: LimitedRequest) -> None:
    """A key may have been revoked while its request has waited. Raises `GatewayError` 401."""
    if exchange.authenticate is None:
        return
    try:
        asked = exchange.authenticate(exchange)
        if asked is not None:
            await asked
    except BaseException:
        request.withdraw()
        raise


def show_position(exchange: Exchange) -> None:
    """In the response, where a request has waited."""
    if waits := WAITS.get(exchange):
        exchange.set_response_header(POSITION_HEADER, str(waits[0].position))
