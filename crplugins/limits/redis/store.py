"""RedisStore: limits shared by several machines, in a Redis or Valkey server.

Each call is one Lua script (`*.lua` in this package), which Redis runs atomically.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from types import TracebackType
from typing import Final, Self

from crplugins.limits.limit import Charge, Decision, Level, Limit, LimitReading, Reservation
from crplugins.limits.redis.client import LEVELS, RENEW, RESERVE, SECONDS, SEED, SETTLE, RedisClient
from crplugins.limits.redis.connections import CONNECTIONS
from crplugins.limits.store import DEBT, LEASE_MILLISECONDS

RENEWED_AT_ONCE: Final = 500
"""Reservations in one call: a few milliseconds of the server, in which it does nothing else."""


class RedisStore:
    """A `LimitStore`. Needs Redis 5 or newer, or Valkey; the extra `redis`.

    It connects with the first call, so that the store can be entered while the server is down; each call then raises
    `StoreUnavailable` within a quarter of a second, until the server is available.

    Args:
        url: `redis://user:password@host:6379/0`, `rediss://` for TLS, `unix:///run/redis.sock?db=0`,
            `redis+sentinel://host:26379,host:26379/mymaster/0` or `redis+cluster://host:6379,host:6379`, with
            redis-py's options, such as `?ssl_ca_certs=ca.pem`.
        tag: all keys are `crp:{tag}:...`, so that a cluster holds them on one node.
        seconds: how long the server may be silent; a call takes eight times as long at most, where it is slow.
        connections: at most, unless the URL has `max_connections`.

    Raises `ValueError`, whose text has no part of the URL, for one that cannot be read.
    """

    def __init__(self, url: str, *, tag: str = "crp", seconds: float = SECONDS, connections: int = CONNECTIONS) -> None:
        self._client = RedisClient(url, f"crp:{{{tag}}}:", seconds=seconds, connections=connections)
        self._limit, self._marker = f"crp:{{{tag}}}:l:", f"crp:{{{tag}}}:r:"
        self._clock = f"crp:{{{tag}}}:clock"

    async def reserve(
        self, reservation: Reservation, *, lease: int = LEASE_MILLISECONDS, now: int | None = None
    ) -> Decision:
        arguments: list[str | int] = [reservation.id, lease, _moment(now)]
        for charge in reservation.charges:
            limit = charge.limit
            arguments += (limit.kind, limit.amount, limit.period, limit.burst, charge.cost)
        refused, wait, *levels = await self._client.run(RESERVE, self._keys(reservation), arguments)
        return Decision(refused - 1 if refused else None, wait, _levels(levels))

    async def settle(
        self, reservation: Reservation, costs: Sequence[int], *, debt: float = DEBT, now: int | None = None
    ) -> bool:
        return await self._charge(reservation, costs, debt, now, goes_on="")

    async def adjust(
        self, reservation: Reservation, costs: Sequence[int], *, debt: float = DEBT, now: int | None = None
    ) -> bool:
        return await self._charge(reservation, costs, debt, now, goes_on="1")

    async def renew(self, reservations: Sequence[Reservation], *, lease: int, now: int | None = None) -> None:
        for some in _batches(reservations):
            keys: list[str] = []
            arguments: list[str | int] = [lease, _moment(now)]
            for reservation in some:
                held = [charge.limit for charge in reservation.charges if charge.limit.kind == "lease"]
                keys += (self._marker + reservation.id, *(self._limit + limit.key for limit in held))
                arguments += (reservation.id, len(held))
            await self._client.run(RENEW, [*keys, self._clock], arguments)

    async def levels(self, limits: Sequence[Limit], *, now: int | None = None) -> tuple[LimitReading, ...]:
        arguments: list[str | int] = [_moment(now)]
        for limit in limits:
            arguments += (limit.kind, limit.amount, limit.period)
        keys = [*[self._limit + limit.key for limit in limits], self._clock]
        numbers = await self._client.run(LEVELS, keys, arguments)
        return tuple(map(LimitReading, numbers[::3], numbers[1::3], numbers[2::3]))

    async def seed(self, limit: Limit, used: int) -> None:
        await self._client.run(SEED, [self._limit + limit.key], [used, limit.period])

    async def __aenter__(self) -> Self:
        await self._client.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.close()

    async def _charge(
        self, reservation: Reservation, costs: Sequence[int], debt: float, now: int | None, goes_on: str
    ) -> bool:
        arguments: list[str | int] = [reservation.id, repr(debt), _moment(now), goes_on]
        for charge, difference in _differences(reservation, costs):
            limit = charge.limit
            arguments += (limit.kind, limit.amount, limit.period, difference)
        return bool(await self._client.run(SETTLE, self._keys(reservation), arguments))

    def _keys(self, reservation: Reservation) -> list[str]:
        limits = [self._limit + charge.limit.key for charge in reservation.charges]
        return [self._marker + reservation.id, *limits, self._clock]


def _moment(now: int | None) -> int | str:
    """An empty string, for the server's own clock, if none is given: the clocks of the machines differ."""
    return "" if now is None else now


def _levels(numbers: Sequence[int]) -> tuple[Level, ...]:
    return tuple(map(Level, numbers[::2], numbers[1::2]))


def _batches(reservations: Iterable[Reservation]) -> Iterable[list[Reservation]]:
    remaining = iter(reservations)
    while some := list(islice(remaining, RENEWED_AT_ONCE)):
        yield some


def _differences(reservation: Reservation, costs: Sequence[int]) -> list[tuple[Charge, int]]:
    """Each charge with the difference between its real cost and what was reserved for it."""
    return [(charge, cost - charge.cost) for charge, cost in zip(reservation.charges, costs, strict=True)]
