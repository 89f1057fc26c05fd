"""Deadline: how long a call waits for a server that is silent, judged by its sockets and not by the clock alone.

On a busy machine the clock proves nothing. An event loop that gets no processor runs its timers late, and before the
replies that came in the meantime; and a server beside it, which gets no processor either, is slow and not dead. To take
that for an outage would let every process decide about limits by itself, just when there are most requests.
"""

import asyncio
from types import TracebackType
from typing import Final, Self

LATE: Final = 0.01
"""Seconds. A timer that runs later than this shows that the machine is busy."""

TURNS: Final = 4
"""Of the event loop: in one it receives what the socket has, in the next ones the call gets it and returns."""

MOST_PERIODS: Final = 8
"""How many times the time of a silence a call waits at most, whatever signs of life there are."""


class SignsOfLife:
    """How often a server was heard, on any connection.

    Attributes:
        count: the replies to all calls.
    """

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Deadline:
    """`async with Deadline(seconds, signs):` raises `TimeoutError` when the server is silent.

    It is, if in `seconds` no reply came, to this call or any other, while the event loop was on time. If one came, or
    the loop was late, the call waits for as long again, `MOST_PERIODS` times at most. Before it gives up, it lets the
    event loop look at the sockets: a reply that is there already is in time.
    """

    __slots__ = ("_due", "_heard", "_periods", "_seconds", "_signs", "_timeout", "_timer")

    def __init__(self, seconds: float, signs: SignsOfLife) -> None:
        self._seconds, self._signs = seconds, signs
        self._timeout = asyncio.timeout(None)
        self._periods = 0

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._timeout.__aexit__(kind, error, traceback)

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._periods += 1
        self._heard = self._signs.count
        self._due = loop.time() + self._seconds
        self._timer: asyncio.Handle = loop.call_at(self._due, self._passed)

    def _passed(self) -> None:
        late = asyncio.get_running_loop().time() - self._due > LATE
        if self._periods < MOST_PERIODS and (late or self._signs.count != self._heard):
            self._wait()
        else:
            self._look(TURNS)

    def _look(self, turns: int) -> None:
        loop = asyncio.get_running_loop()
        if turns:
            self._timer = loop.call_soon(self._look, turns - 1)
        else:
            self._timeout.reschedule(loop.time())
