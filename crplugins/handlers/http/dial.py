"""Dialer: connected sockets to one host and port, of whichever of its addresses answers first (RFC 8305)."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from errno import EACCES
from itertools import chain, zip_longest
from typing import Any, Final, NamedTuple

from crplugins.core.single_flight import SingleFlight

HEAD_START: Final = 0.25
"""Seconds that an address has before the next one is tried beside it: RFC 8305's Connection Attempt Delay."""

_ADDRESSES_LAST: Final = 10.0
"""Seconds until a name is looked up again. Many new connections are one look-up, and a change of DNS is followed."""


class Address(NamedTuple):
    family: socket.AddressFamily
    sockaddr: Any


class Dialer:
    """Looks the name up in a thread, and no more often than every ten seconds while its addresses answer.

    Only addresses that `permits` allows are ever connected to: what was looked at is what is used.
    """

    def __init__(self, host: str, port: int, permits: Callable[[str], bool] | None = None) -> None:
        self._host, self._port, self._permits = host, port, permits
        self._addresses: Sequence[Address] = ()
        self._known_until = float("-inf")
        self._flight: SingleFlight[None] = SingleFlight()

    async def dial(self) -> socket.socket:
        """A connected socket. Raises `OSError`, of the address that was tried first."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._known_until:
            await self._flight.run("look-up", self._look_up)
        try:
            return await first_of(self._addresses)
        except OSError:
            self._known_until = float("-inf")
            raise

    async def close(self) -> None:
        await self._flight.close()

    async def _look_up(self) -> None:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        addresses = [Address(family, sockaddr) for family, _, _, _, sockaddr in found]
        permitted = [each for each in addresses if self._permits is None or self._permits(each.sockaddr[0])]
        if addresses and not permitted:
            raise PermissionError(EACCES, "its addresses are private, which is not permitted")
        self._addresses = in_turn(permitted)
        self._known_until = loop.time() + _ADDRESSES_LAST


def in_turn(addresses: Sequence[Address]) -> list[Address]:
    """The addresses of the two families by turns, each family in its order, so that a dead one costs little."""
    first = [each for each in addresses if each.family == addresses[0].family]
    others = [each for each in addresses if each.family != addresses[0].family]
    return [each for each in chain.from_iterable(zip_longest(first, others)) if each is not None]


async def first_of(addresses: Sequence[Address]) -> socket.socket:
    """The first of them that connects; each begins a head start after the one before it, or when that has failed."""
    if len(addresses) == 1:
        return await _connected(addresses[0])
    errors: list[OSError] = []
    running: set[asyncio.Task[socket.socket]] = set()
    remaining = list(reversed(addresses))
    try:
        while running or remaining:
            if remaining:
                running.add(asyncio.create_task(_connected(remaining.pop())))
            ended, _ = await asyncio.wait(
                running, timeout=HEAD_START if remaining else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in ended:
                running.discard(task)
                try:
                    return task.result()
                except OSError as error:
                    errors.append(error)
    finally:
        await _give_up(running)
    raise errors[0] if errors else OSError("the name has no address")


async def _give_up(running: set[asyncio.Task[socket.socket]]) -> None:
    for task in running:
        task.cancel()
    for late in await asyncio.gather(*running, return_exceptions=True):
        if isinstance(late, socket.socket):
            late.close()


async def _connected(address: Address) -> socket.socket:
    connected = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        connected.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connected, address.sockaddr)
    except BaseException:
        connected.close()
        raise
    return connected
