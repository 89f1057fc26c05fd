"""Applicant: a request that asks for its limits, and how its wait for them ends."""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, Protocol

from crplugins.core.principal import Queue
from crplugins.limits.fair_queue import Weighed
from crplugins.limits.limit import NEVER, Charge, Decision, Level

QueueRefusal = Literal["full", "too_long", "deadline"]
"""Why a request is refused that might have waited: as many wait as may, its turn would come after its deadline, or the
deadline has come."""

WaitEnd = QueueRefusal | Literal["admitted", "left", "failed"]
"""How a wait ends. `left`: the client has disconnected. `failed`: the store is unavailable, the process
ends, or something is broken."""

WAIT_ENDS: Final[Sequence[WaitEnd]] = ("admitted", "left", "failed", "full", "too_long", "deadline")


class Ask(NamedTuple):
    """What a request asks of one limit.

    Attributes:
        queue: how long it waits for it; None if it does not.
        scope: of the limit, for metrics.
    """

    charge: Charge
    queue: Queue | None
    scope: str

    def may_wait(self, wait: int) -> bool:
        """Whether it waits, if the limit has refused it for so many milliseconds. Nothing of a window is free before
        its end, and its end may move: nobody waits for it."""
        return self.queue is not None and wait != NEVER and self.charge.limit.kind != "window"


class Applicant(Weighed, Protocol):
    """A request that asks for its limits, of all of them or of none. The requests of a key keep their order.

    Attributes:
        asks: from narrow limits to those that many share. Only `attempt` changes it.
        size: in tokens.
    """

    @property
    def asks(self) -> Sequence[Ask]: ...

    async def attempt(self) -> Decision:
        """Reserve. The index in the decision is one of `asks`. Raises `GatewayError`."""

    def withdraw(self) -> None:
        """Give back what the last attempt has reserved."""

    async def levels(self) -> tuple[Level, ...]:
        """Of the limits in `asks`. Raises `GatewayError`."""

    def has_waited(self, wait: "Wait") -> None:
        """It waits no longer, or might have and was refused at once."""


class Wait(NamedTuple):
    """How a request has waited.

    Attributes:
        position: when it came, in the first queue; 1 is next.
        scope: of the limit that it waited for first.
    """

    seconds: float
    position: int
    scope: str
    end: WaitEnd
