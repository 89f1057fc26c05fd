"""A bad day of thousands of requests, after which the books must agree to the token.

`METERING_REQUESTS` says how many; `METERING_SEED` which ones.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from crplugins.core.outcome import OUTCOMES
from crplugins.homes.gateway import Gateway
from crplugins.testing import FakeProvider, ReceivedRequest
from tests.integration.metering_books import TOKENS, Row, Scraped, by_marker, read_table, summed
from tests.integration.metering_traffic import MODELS, Sent, gateway_options, plan, send_all
from tests.postgresql_setup import allow_drivers_to_block

REQUESTS = int(os.environ.get("METERING_REQUESTS", "600"))
SEED = int(os.environ.get("METERING_SEED", "20260601"))
MAX_BODY_BYTES = 64 * 1024
AT_ONCE = 40


@dataclass
class Day:
    """What is left of it."""

    sent: Sequence[Sent]
    told: dict[str, list[ReceivedRequest]]
    asked: int
    rows: Sequence[Row]
    daily: Sequence[Row]
    scraped: Scraped
    seconds: float

    def row(self, sent: Sent) -> Row:
        """The one record of a request that had a good key and a body that could be read."""
        [row] = [row for row in self.rows if row["user"] == sent.marker]
        return row


async def settled(session: aiohttp.ClientSession, url: str) -> Scraped:
    """The metrics, once nothing is in flight. Clients that have left may still be drained for."""
    async with asyncio.timeout(60):
        while True:
            async with session.get(url + "/metrics") as response:
                scraped = Scraped(await response.text())
            if scraped.total("crplugins_requests_in_flight") == 0:
                return scraped
            await asyncio.sleep(0.05)
