"""Exchange: the typed facts of one request, shared by every boundary and plugin it passes."""

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from random import getrandbits
from typing import TYPE_CHECKING, Final, Generic, Literal, TypeVar

import msgspec

from crplugins.core.body import Body
from crplugins.core.errors import ErrorObject, Header
from crplugins.core.principal import Principal
from crplugins.core.wire import Usage

if TYPE_CHECKING:
    from starlette.types import Scope

SCOPE_KEY: Final = "crplugins.exchange"
"""Where the Exchange lives in an ASGI scope while its request runs."""

Outcome = Literal["ok", "client_error", "limited", "server_error", "cancelled"]
UsageSource = Literal["provider", "estimated", "none"]

T = TypeVar("T")


class Timings(msgspec.Struct, eq=False):
    """Moments in seconds of one monotonic clock; None while not reached."""

    started: float
    first_token: float | None = None
    last_token: float | None = None
    longest_gap: float = 0.0
    ended: float | None = None

    def token(self, now: float) -> None:
        """A piece of the answer went to the client."""
        if self.last_token is None:
            self.first_token = now
        elif now - self.last_token > self.longest_gap:
            self.longest_gap = now - self.last_token
        self.last_token = now


@dataclass(slots=True)
class Reply:
    """An answer ready to be sent: headers without `content-length` for a stream.

    `body` is the whole body, or a generator of complete server-sent events, which is closed when the client leaves.
    """

    status: int
    headers: list[Header]
    body: bytes | AsyncGenerator[bytes, None]


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


class Exchange(msgspec.Struct, eq=False):
    """The facts of one request. `path` is relative to where the app is mounted.

    `body` is None until a plugin that reads it is reached. `status` is what the client saw: 499 when it left before the
    first byte. `outcome` is set before the first `on_finish`. `error` is the refusal we rendered, `failed_in_stream`
    says that an error frame ended the stream. `muted` are the steps of observing plugins that have failed.
    """

    id: str
    method: str
    path: str
    headers: Sequence[Header]
    client: str | None
    clock: Callable[[], float]
    timings: Timings
    body: Body | None = None
    principal: Principal | None = None
    requested_model: str | None = None
    served_model: str | None = None
    stream: bool = False
    reply: Reply | None = None
    status: int | None = None
    response_headers: list[Header] = msgspec.field(default_factory=list)
    usage: Usage | None = None
    usage_source: UsageSource = "none"
    finish_reason: str | None = None
    error: ErrorObject | None = None
    failed_in_stream: bool = False
    attempts: int = 0
    outcome: Outcome | None = None
    slots: dict[object, object] = msgspec.field(default_factory=dict)
    muted: frozenset[object] = frozenset()

    def header(self, name: bytes) -> str | None:
        """The first request header called `name` (lower case), or None."""
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return None

    def set_response_header(self, name: str, value: str) -> None:
        """Set a response header, replacing one of that name. For `on_response`."""
        key = name.lower().encode("latin-1")
        self.response_headers[:] = [h for h in self.response_headers if h[0] != key]
        self.response_headers.append((key, value.encode("latin-1")))


def new_request_id() -> str:
    """A UUIDv7 (RFC 9562, section 5.7): sorts by time, so a ledger's primary key stays append-only.

    Written out because `uuid.UUID` costs more than everything else the middleware does for a request. Ids are not
    secrets, so the fast generator serves.
    """
    stamp = f"{time.time_ns() // 1_000_000:012x}"
    random = f"{getrandbits(74):019x}"
    return f"{stamp[:8]}-{stamp[8:]}-7{random[:3]}-{'89ab'[int(random[0], 16) & 3]}{random[4:7]}-{random[7:]}"


def find_exchange(scope: "Scope") -> Exchange | None:
    """The Exchange of a request, if one of our boundaries is around."""
    found = scope.get(SCOPE_KEY)
    return found if isinstance(found, Exchange) else None


def make_exchange(scope: "Scope", clock: Callable[[], float], new_id: Callable[[], str]) -> Exchange:
    client = scope.get("client")
    return Exchange(
        id=new_id(),
        method=scope["method"],
        path=scope["path"].removeprefix(scope.get("root_path", "")),
        headers=scope["headers"],
        client=client[0] if client else None,
        clock=clock,
        timings=Timings(clock()),
    )
