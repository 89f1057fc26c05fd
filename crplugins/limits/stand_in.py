"""What decides while a store does not: everything is admitted, nothing is, or a share of the limits."""

# ruff: noqa: ARG002 -- the protocol's arguments

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Literal, Self

from crplugins.limits.limit import Decision, Level, Limit, Reservation
from crplugins.limits.share import Share
from crplugins.limits.store import DEBT, LEASE_MILLISECONDS, LimitStore, StoreUnavailable

OnStoreError = Literal["local", "open", "closed"]
"""The policy of a deployment for the time in which its store does not answer:

- `local`: each process decides by itself, by a share of the limits.
- `open`: everything is admitted.
- `closed`: nothing is; `StoreUnavailable` is raised, of which a 503 becomes.
"""

MEANWHILE: Final = {
    "local": "meanwhile each process decides about limits by itself",
    "open": "meanwhile everything is admitted",
    "closed": "meanwhile requests are refused with 503",
}
"""For the log."""

_UNUSED: Final = Level(0, 0)


def stand_in(policy: OnStoreError, share: float) -> LimitStore:
    """A `LimitStore` for the time of an outage. `share` is of each limit, and means nothing but for `local`."""
    if policy == "local":
        return Share(share)
    return Everything() if policy == "open" else Nothing()


class Everything:
    """A `LimitStore` that admits everything and counts nothing."""

    async def reserve(
        self, reservation: Reservation, *, lease: int = LEASE_MILLISECONDS, now: int | None = None
    ) -> Decision:
        return Decision(None, 0, (_UNUSED,) * len(reservation.charges))

    async def settle(
        self, reservation: Reservation, costs: Sequence[int], *, debt: float = DEBT, now: int | None = None
    ) -> bool:
        return True

    async def renew(self, reservations: Sequence[Reservation], *, lease: int, now: int | None = None) -> None:
        """Nothing runs out."""

    async def levels(self, limits: Sequence[Limit], *, now: int | None = None) -> tuple[Level, ...]:
        return (_UNUSED,) * len(limits)

    async def seed(self, limit: Limit, used: int) -> None:
        """Nothing is counted."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing to close."""


class Nothing(Everything):
    """A `LimitStore` that answers no question."""

    async def reserve(
        self, reservation: Reservation, *, lease: int = LEASE_MILLISECONDS, now: int | None = None
    ) -> Decision:
        raise StoreUnavailable(_CLOSED)

    async def levels(self, limits: Sequence[Limit], *, now: int | None = None) -> tuple[Level, ...]:
        raise StoreUnavailable(_CLOSED)


_CLOSED: Final = "the store of limits is not available"
