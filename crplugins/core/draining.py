"""Reading on for a client that has left: the provider bills the whole answer, and tells its tokens at the end."""

import asyncio
from contextlib import suppress

from crplugins.core.exchange import Drain, Exchange
from crplugins.core.usage import BYTES_PER_TOKEN


class Draining:
    """The bounds of one answer that is read for its usage alone. Made when the client has left."""

    __slots__ = ("_last", "_over", "_seconds")

    def __init__(self, drain: Drain, exchange: Exchange) -> None:
        self._seconds = drain.seconds
        self._last = exchange.output_bytes + drain.tokens * BYTES_PER_TOKEN
        self._over = asyncio.Event()

    def look(self, exchange: Exchange) -> None:
        """More of the answer came."""
        if exchange.output_bytes >= self._last:
            self._over.set()

    async def over(self) -> None:
        """Returns once a bound is reached."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                await self._over.wait()
