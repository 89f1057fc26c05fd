"""Shared: what several may open at once, and what is open as long as any of them has it open."""

from abc import abstractmethod
from types import TracebackType
from typing import Self


class Shared:
    """An async context manager that may be entered several times: the first opens it, the last who leaves closes it.

    While a configuration replaces another, the plugins of both have the same keys, the same ledger and the same levels
    of limits open. What `open` raises leaves it closed.
    """

    _users = 0

    @abstractmethod
    async def open(self) -> None:
        """Called for the first who enters."""

    @abstractmethod
    async def close(self) -> None:
        """Called for the last who leaves."""

    async def __aenter__(self) -> Self:
        self._users += 1
        if self._users == 1:
            try:
                await self.open()
            except BaseException:
                self._users -= 1
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._users -= 1
        if not self._users:
            await self.close()
