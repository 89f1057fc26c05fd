"""LimitStore: where the state of limits is kept. Every store makes the same decisions."""

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Protocol, Self

from crplugins.limits.limit import Decision, Limit, LimitReading, Reservation

LEASE_MILLISECONDS: Final = 60_000
"""How long a reservation lives that nobody renews: how long the leases of a dead worker stay taken."""

DEBT: Final = 60.0
"""How many times its amount a meter may be overdrawn by use above what was reserved, to be repaid from the following
time: of a limit per minute an hour's worth. What goes beyond is forgiven."""


class StoreUnavailable(Exception):
    """The store does not answer, or not in time. The text contains no address and no credential."""


class LimitStore(Protocol):
    """All methods raise `StoreUnavailable`.

    `now` is in milliseconds since 1970; None for the store's own clocks. Leases, and the expiry of reservations, go by
    one of them that a step of the wall clock does not move; a `now` that is given counts for them too.
    """

    async def reserve(
        self, reservation: Reservation, *, lease: int = LEASE_MILLISECONDS, now: int | None = None
    ) -> Decision:
        """Charge all limits, or none if one of them refuses, atomically.

        A meter admits a charge above its burst, up to its amount, when it is empty. A `lease` is as long as
        `LEASE_MILLISECONDS` at most. If `now` is earlier than what it refuses for, the clock was ahead: meters drain
        from `now` on, and no lease stays for longer than one that is taken now.
        """

    async def settle(
        self, reservation: Reservation, costs: Sequence[int], *, debt: float = DEBT, now: int | None = None
    ) -> bool:
        """Replace what was reserved by the real cost, charge by charge, and free the leases.

        Idempotent: False, and nothing is changed, for a reservation that was settled before or has expired.
        """

    async def adjust(
        self, reservation: Reservation, costs: Sequence[int], *, debt: float = DEBT, now: int | None = None
    ) -> bool:
        """Replace what was reserved by these costs, and let the reservation go on; its leases stay as they are.

        No limit refuses it: the request runs already. The charges of the reservation are `costs` from then on. False,
        and nothing is changed, for one that was settled or has expired.
        """

    async def renew(self, reservations: Sequence[Reservation], *, lease: int, now: int | None = None) -> None:
        """Let live reservations expire `lease` milliseconds from now; those that have expired stay so."""

    async def levels(self, limits: Sequence[Limit], *, now: int | None = None) -> tuple[LimitReading, ...]:
        """How much of limits is used, without charging anything."""

    async def seed(self, limit: Limit, used: int) -> None:
        """Raise a window's use to at least `used`, which a ledger knows and a store may have lost."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
