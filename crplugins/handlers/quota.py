"""WithinQuota: a handler that is asked only while the quota of its deployment at the provider lasts.

The quota is counted here, where a request is sent to a deployment, and not where a client's limits are: the request may
fail over to another deployment, which has a quota of its own.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, Protocol

from crplugins.core.body import Body
from crplugins.core.errors import DO_NOT_RETRY, SERVER_ERROR, GatewayError
from crplugins.core.exchange import Exchange, Reply
from crplugins.core.retry_after import waiting
from crplugins.handlers.handler import Handler, Unopened
from crplugins.limits.limit import NEVER

logger = logging.getLogger("crplugins.upstream")


class Quota(Protocol):
    """How much a provider lets one deployment use. What is taken is settled when the request is over."""

    async def take(self, exchange: Exchange) -> int | None:
        """Reserve what the request may use: None, or the milliseconds until there is enough of it, or `NEVER`.

        None also if the request holds it already, because it has waited for it. Raises `GatewayError` 503 if that
        cannot be known now.
        """

    async def wait(self, exchange: Exchange) -> "Turn | None":
        """Wait until there is enough of it. None, perhaps at once, for a request that is not to wait, or not so long.

        May be cancelled. Raises `GatewayError` as `take`.
        """

    def answered(self, exchange: Exchange) -> None:
        """The deployment has answered: a plain request in whole, a stream by its first token."""

    def failed(self, exchange: Exchange, error: GatewayError) -> None:
        """The deployment that has just been asked has failed: its tokens are given back, its requests stay counted."""


class Turn(Protocol):
    """What a request has been given that has waited."""

    async def accept(self) -> None:
        """The request is sent on. Raises `GatewayError`, and gives it back, if its key is not valid any more."""

    def give_back(self) -> None:
        """It is not, because another deployment was free at the same time."""


class QuotaUsedUp(GatewayError):
    """429 for a quota of the gateway's own at its provider. The client's limits have nothing to do with it.

    Args:
        wait: milliseconds until the request would be sent on, or `NEVER`.
        quota: which one.
    """

    def __init__(self, wait: int, quota: Quota) -> None:
        if wait == NEVER:
            then, headers = "The request is larger than that quota.", [DO_NOT_RETRY]
        else:
            then, headers = f"Please try again in {-(-wait // 1000)}s.", waiting(wait)
        super().__init__(
            429,
            f"The gateway's own quota at its model provider is used up; this is no limit of your API key. {then}",
            type=SERVER_ERROR,
            code="provider_quota_exceeded",
            headers=headers,
            error_type="upstream_429",
        )
        self.wait: Final = wait
        self.quota: Final = quota


async def first_free(used_up: Sequence[QuotaUsedUp], exchange: Exchange) -> QuotaUsedUp | None:
    """Waits for all these quotas at once: the one that admits the request first, which then holds it.

    None if it is to wait for none of them, or not so long. Raises `GatewayError` for a key that is not valid any more.
    """
    waits = {asyncio.ensure_future(each.quota.wait(exchange)): each for each in used_up if each.wait != NEVER}
    accepted: QuotaUsedUp | None = None
    waiting = set(waits)
    try:
        while waiting and accepted is None:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                turn = None if each.exception() else each.result()
                if turn is not None and accepted is None:
                    accepted = waits.pop(each)
                    await turn.accept()
    finally:
        for each in waits:
            if not each.done():
                each.cancel()
            elif not each.cancelled() and not each.exception() and (turn := each.result()) is not None:
                turn.give_back()
    return accepted


def soonest(used_up: Sequence[QuotaUsedUp]) -> QuotaUsedUp:
    """The one of the deployment that may be asked first."""
    return min(used_up, key=lambda each: float("inf") if each.wait == NEVER else each.wait)


class WithinQuota(Unopened):
    """Asks the handler of a deployment while its quota lasts, else raises `QuotaUsedUp`."""

    def __init__(self, handler: Handler, quota: Quota) -> None:
        self._handler = handler
        self._quota = quota

    async def answer(self, exchange: Exchange, body: Body) -> Reply:
        wait = await self._quota.take(exchange)
        if wait is not None:
            raise QuotaUsedUp(wait, self._quota)
        try:
            reply = await self._handler.answer(exchange, body)
        except GatewayError as error:
            self._quota.failed(exchange, error)
            raise
        self._quota.answered(exchange)
        return reply
