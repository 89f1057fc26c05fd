"""RequestSide: what a request asks and who asks it, with its id, its moments and the slots of the plugins."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import getrandbits
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from crplugins.core.body import Body
from crplugins.core.dialects import CHAT, Dialect
from crplugins.core.errors import Header
from crplugins.core.exchange.reply import Drain
from crplugins.core.principal import Principal
from crplugins.core.units import NO_UNITS, Units

if TYPE_CHECKING:
    from crplugins.core.exchange.exchange import Exchange

T = TypeVar("T")


class Timings(msgspec.Struct, eq=False):
    """Moments in seconds of one monotonic clock; None while not reached.

    `asked` is when it asked the first of its limits, `app` when the plugins were through and the app was called,
    `response` when it answered with a status. A token is any piece of the answer that says something: neither the role
    alone nor a comment. `queued` is for how many seconds the request has waited for limits.
    """

    started: float
    asked: float | None = None
    app: float | None = None
    response: float | None = None
    first_token: float | None = None
    last_token: float | None = None
    longest_gap: float = 0.0
    ended: float | None = None
    queued: float = 0.0

    def token(self, now: float) -> None:
        """A piece of the answer came."""
        if self.last_token is None:
            self.first_token = now
        elif now - self.last_token > self.longest_gap:
            self.longest_gap = now - self.last_token
        self.last_token = now


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


class RequestSide(msgspec.Struct, eq=False):
    """`path` is relative to where the app is mounted.

    Attributes:
        query: the query string, as it came.
        asks_model: the request asks a model, as the home has judged it by `core/paths.py`. False for the others that
            plugins with `every_path = True` see.
        dialect: the protocol in which it asks, and that of its answer and its errors.
        body: None until a plugin that reads it is reached.
        served_model: the name under which the provider was asked for the model.
        drain: how long to read on when the client leaves; None ends the work at once.
        trace_headers: what a provider that takes part in our traces is sent; None for what the client sent.
        disconnected: returns when the client has disconnected, for a plugin that waits in `on_request`; None in a home
            that cannot know.
        authenticate: finds out once more who calls, for a plugin that has waited. Raises `GatewayError` for a key that
            is not valid any more. None where nobody has asked for a key.
        inner_path: the path with which the app inside is called, if it is another one.
        wall_clock: seconds since 1970, for prices that depend on the hour.
        slots: the private state of plugins, each in a `Slot` of its own.
    """

    id: str
    method: str
    path: str
    headers: Sequence[Header]
    client: str | None
    clock: Callable[[], float]
    timings: Timings
    query: bytes = b""
    asks_model: bool = True
    dialect: Dialect = CHAT
    body: Body | None = None
    principal: Principal | None = None
    requested_model: str | None = None
    served_model: str | None = None
    stream: bool = False
    drain: Drain | None = None
    trace_headers: Mapping[str, str] | None = None
    disconnected: Callable[[], Awaitable[None]] | None = None
    authenticate: "Callable[[Exchange], Awaitable[None] | None] | None" = None
    inner_path: str | None = None
    wall_clock: Callable[[], float] = time.time
    slots: dict[object, object] = msgspec.field(default_factory=dict)

    @property
    def choices(self) -> int:
        """How many answers the client asks for (`n`)."""
        return 1 if self.body is None else self.dialect.choices(self.body)

    def asked_units(self) -> Units:
        """What the request asks for that is charged by number and is no token."""
        return NO_UNITS if self.body is None else self.dialect.asked_units(self.body)

    def header(self, name: bytes) -> str | None:
        """The first request header called `name` (lower case), or None."""
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return None


def new_request_id() -> str:
    """A UUIDv7 (RFC 9562, section 5.7): sorts by time, so a ledger's primary key stays append-only.

    Written out because `uuid.UUID` costs more than everything else the middleware does for a request. Ids are not
    secrets, so the fast generator serves.
    """
    stamp = f"{time.time_ns() // 1_000_000:012x}"
    random = f"{getrandbits(74):019x}"
    return f"{stamp[:8]}-{stamp[8:]}-7{random[:3]}-{'89ab'[int(random[0], 16) & 3]}{random[4:7]}-{random[7:]}"
