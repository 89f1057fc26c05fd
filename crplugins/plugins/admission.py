"""Admission: how many requests a process serves at once, and whose are refused first when there is no room.

What a request holds while it runs (its body, its connections, the buffers of its answer) is memory, and what runs at
once shares one event loop. So a process that takes all that comes slows everybody down, then dies of it. One that is
full refuses in a few microseconds, before it has read a body.
"""

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Final, Self

from crplugins.core.errors import SERVER_ERROR, GatewayError, shutting_down
from crplugins.core.exchange import Exchange, Slot
from crplugins.core.plugin import Plugin
from crplugins.core.principal import DEFAULT_PRIORITY, PRIORITIES, Priority
from crplugins.core.retry_after import waiting

SHARES: Final[Mapping[Priority, float]] = MappingProxyType({"low": 0.75, "normal": 0.9, "high": 1.0})
"""Up to which share of all places a request of each priority is taken, where there are keys of a higher one."""

_HELD: Final[Slot[bool]] = Slot("admission.held")


def places_of(most: int, known: Collection[Priority]) -> dict[Priority, int]:
    """How many requests may be in flight, whosever they are, for one more of each priority to be taken.

    A priority leaves room for those above it that are `known`: the share of `SHARES`, and one place at the least. It
    leaves none for keys that there are not.
    """
    places: dict[Priority, int] = {}
    above: int | None = None
    for priority in reversed(PRIORITIES):
        places[priority] = most if above is None else max(min(int(most * SHARES[priority]), above - 1), 1)
        if priority in known:
            above = places[priority]
    return places


class _Room:
    """The places that are taken: in one object, which outlives a configuration."""

    __slots__ = ("taken",)

    def __init__(self) -> None:
        self.taken = 0


class Admission(Plugin):
    """Refuses with 503 what there is no room for, a lower priority before a higher one.

        Admission(max_in_flight=200)

    A request is taken if fewer are in flight than its priority may have: with 100 places `low` up to 75, `normal` up to
    90, `high` all. What is taken is never put out again. Requests of any priority fill the same places, so that `low`
    may have nearly all of a gateway that nobody else uses.

    Room is kept for a priority once a key of it is known: from the start those that `known` lists, others from their
    first request on. Where every key is `normal`, every place may be taken.

    Place it inside Auth, which knows the priority, and where a flood without keys ends: it takes no place here. And
    place it outside whatever reads the body, because what is refused is not to be read.

    Args:
        max_in_flight: requests of this process that are served at once; None for any number.
        known: the priorities of the keys, asked once when the plugin opens.
        jitter: 0 to 1; spreads the time after which the refused come again.

    Attributes:
        shed: how many were refused because there was no room, by priority.
    """

    stored_answers: bool = True  # read as a stream they hold as much, and as many connections to a provider

    def __init__(
        self,
        max_in_flight: int | None = None,
        *,
        known: Callable[[], Iterable[Priority]] = lambda: (),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.max_in_flight: Final = max_in_flight
        self.shed: Counter[Priority] = Counter()
        self._room = _Room()
        self._draining = False
        self._ask_known = known
        self._known: set[Priority] = set()
        self._places: Mapping[Priority, int] = {}
        self._jitter = jitter

    @property
    def in_flight(self) -> int:
        """How many are served now, those among them that have begun under an earlier configuration."""
        return self._room.taken

    def on_request(self, exchange: Exchange) -> None:
        if self._draining:
            raise shutting_down()
        if self.max_in_flight is None:
            return
        caller = exchange.principal
        priority = DEFAULT_PRIORITY if caller is None else caller.priority
        if priority not in self._known:
            self._learn((priority,))
        places = self._places[priority]
        if self._room.taken >= places:
            self.shed[priority] += 1
            raise self._full(priority, places)
        self._room.taken += 1
        _HELD.set(exchange, True)

    def on_finish(self, exchange: Exchange) -> None:
        if _HELD in exchange.slots:
            self._room.taken -= 1

    def on_drain(self) -> None:
        self._draining = True

    def take_over(self, previous: Self) -> None:
        self._room, self.shed = previous._room, previous.shed

    async def __aenter__(self) -> Self:
        self._learn(self._ask_known())
        return self

    def _learn(self, priorities: Iterable[Priority]) -> None:
        """Keep room for these too, from the next request on."""
        self._known.update(priorities)
        if self.max_in_flight is not None:
            self._places = places_of(self.max_in_flight, self._known)

    def _full(self, priority: Priority, places: int) -> GatewayError:
        """Who is refused comes again between one and two seconds later, not all at once."""
        milliseconds = 1000 + round(1000 * self._jitter())
        return GatewayError(
            503,
            f"The server is full: {places} requests are in flight, and it takes no more of priority '{priority}' "
            f"(server.max_in_flight: {self.max_in_flight}). Please try again in {milliseconds / 1000:.1f}s.",
            type=SERVER_ERROR,
            code="server_full",
            headers=waiting(milliseconds),
        )
