"""WithinQuota: a handler that is asked only while the quota of its deployment at the provider lasts.

The quota is counted here, where a request is sent to a deployment, and not where a client's limits are: the request may
fail over to another deployment, which has a quota of its own.
"""

import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Protocol, Self

from crplugins.core.body import Body
from crplugins.core.errors import DO_NOT_RETRY, SERVER_ERROR, GatewayError
from crplugins.core.exchange import Exchange, Reply
from crplugins.handlers.handler import Handler
from crplugins.limits.limit import NEVER

logger = logging.getLogger("crplugins.upstream")


class Quota(Protocol):
    """How much a provider lets one deployment use. What is taken is settled when the request is over."""

    async def take(self, exchange: Exchange) -> int | None:
        """Reserve what the request may use: None, or the milliseconds until there is enough of it, or `NEVER`.

        Raises `GatewayError` 503 if that cannot be known now.
        """

    def failed(self, exchange: Exchange) -> None:
        """The deployment that has just been asked has failed: its tokens are given back, its requests stay counted."""


class QuotaUsedUp(GatewayError):
    """429 for a quota of the gateway's own at its provider. The client's limits have nothing to do with it.

    Args:
        wait: milliseconds until the request would be sent on, or `NEVER`.
    """

    def __init__(self, wait: int) -> None:
        if wait == NEVER:
            then, headers = "The request is larger than that quota.", [DO_NOT_RETRY]
        else:
            seconds = -(-wait // 1000)
            then = f"Please try again in {seconds}s."
            headers = [("retry-after", str(seconds)), ("retry-after-ms", str(wait))]
        super().__init__(
            429,
            f"The gateway's own quota at its model provider is used up; this is no limit of your API key. {then}",
            type=SERVER_ERROR,
            code="provider_quota_exceeded",
            headers=headers,
            error_type="upstream_429",
        )
        self.wait: Final = wait


def soonest(used_up: Sequence[QuotaUsedUp]) -> QuotaUsedUp:
    """The one of the deployment that may be asked first."""
    return min(used_up, key=lambda each: float("inf") if each.wait == NEVER else each.wait)


class WithinQuota:
    """Asks the handler of a deployment while its quota lasts, else raises `QuotaUsedUp`.

    Enters nothing: the handler is opened and closed by the code that made it.
    """

    def __init__(self, handler: Handler, quota: Quota) -> None:
        self._handler = handler
        self._quota = quota

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    async def answer(self, exchange: Exchange, body: Body) -> Reply:
        wait = await self._quota.take(exchange)
        if wait is not None:
            raise QuotaUsedUp(wait)
        try:
            return await self._handler.answer(exchange, body)
        except GatewayError:
            self._quota.failed(exchange)
            raise
