"""Slot: a typed place for a plugin's private state on the Exchange."""

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from crplugins.core.exchange.exchange import Exchange

T = TypeVar("T")


class Slot(Generic[T]):
    """A typed place for a plugin's private state on the Exchange.

    Make one at module level: `seen: Slot[Reservation] = Slot("reservation")`.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def get(self, exchange: "Exchange") -> T | None:
        value: T | None = exchange.slots.get(self)  # type: ignore[assignment]  # only `set` writes, with a T
        return value

    def set(self, exchange: "Exchange", value: T) -> None:
        exchange.slots[self] = value

    def __repr__(self) -> str:
        return f"Slot({self._name!r})"
