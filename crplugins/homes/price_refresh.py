"""PriceRefresh: reads a list of prices again while requests are served."""

import asyncio
import logging
from types import TracebackType
from typing import Self

from crplugins.core.daemon_thread import in_daemon_thread
from crplugins.core.waiting import stopped
from crplugins.metering.listed_prices import ListedPrices, NewList, NoPriceList

logger = logging.getLogger("crplugins.pricing")


class PriceRefresh:
    """A resource of a PluginMiddleware. Where the list can change it is read at once, and again and again.

    A list that cannot be had, or is none, is a line of the log, once for each reason; the last good one still counts.
    """

    def __init__(self, listed: ListedPrices) -> None:
        self._listed = listed
        self._task: asyncio.Task[None] | None = None
        self._said: str | None = None

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(lambda: self._listed.source)  # blocks in the first call alone; then requests may ask
        if self._listed.refresh_seconds is not None:
            self._task = asyncio.create_task(self._run(self._listed.refresh_seconds))
        return self

    async def _run(self, seconds: float) -> None:
        while True:
            found = await in_daemon_thread(self._read)
            if found is not None:
                self._listed.use(found)
                logger.info("prices are those of %s", self._listed.source)
            await asyncio.sleep(seconds)

    def _read(self) -> NewList | None:
        try:
            found = self._listed.read()
            self._said = None
            return found
        except NoPriceList as error:
            if str(error) != self._said:
                place = self._listed.place
                logger.warning("the list of %s cannot be read: %s; the last good one still counts", place, error)
            self._said = str(error)
        except Exception:
            logger.exception("the list of prices cannot be read")
        return None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await stopped(self._task)
