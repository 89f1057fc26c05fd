"""Claims: of all processes that would send a message, one does, once.

A claim is two limits of the store that the processes share anyway: a lease of one while the message is being sent,
which ends by itself with the process that holds it, and a window of one, used up when the message has been delivered.
In the memory of one process it lasts as long as the process. A receiver knows a message by its id if it comes again.
"""

import hashlib
from typing import Final, Literal

from crplugins.core.exchange import new_request_id
from crplugins.homes.webhooks.message import Message
from crplugins.limits.limit import Charge, Limit, Reservation
from crplugins.limits.reservations import Reservations

ClaimRefusal = Literal["delivered", "being_sent"]


class Claim:
    """The right to send one message to one receiver, until it is released."""

    def __init__(self, reservations: Reservations, held: Reservation) -> None:
        self._reservations, self._held = reservations, held

    async def delivered(self) -> None:
        """Nobody sends it any more. Raises `GatewayError` if the store is unavailable."""
        _, done = self._held.charges
        used, decision = await self._reservations.reserve(new_request_id(), (Charge(done.limit, 1),))
        if decision.refused is None:
            self._reservations.settle(used, [1])

    def release(self) -> None:
        """Somebody else may send it, unless it is delivered."""
        self._reservations.settle(self._held, [1, 0])


class Claims:
    """Args:
    reservations: of a store that is open.
    receiver: to whom messages are sent.
    """

    def __init__(self, reservations: Reservations, receiver: str) -> None:
        self._reservations: Final = reservations
        self._receiver: Final = hashlib.sha256(receiver.encode()).hexdigest()[:16]

    async def claim(self, message: Message) -> Claim | ClaimRefusal:
        """Raises `GatewayError` if the store is unavailable."""
        path = f"webhook/{self._receiver}/{message.id}"
        sending, done = Limit("lease", f"{path}/sending", 1), Limit("window", f"{path}/done", 1, message.until)
        held, decision = await self._reservations.reserve(new_request_id(), (Charge(sending, 1), Charge(done, 0)))
        if decision.refused is None:
            return Claim(self._reservations, held)
        return "delivered" if decision.levels[1].used else "being_sent"
