"""Takeover: asking the next deployment for the rest, or the whole, of an answer whose stream has broken."""

import logging
from collections.abc import AsyncGenerator

from crplugins.core.body import Body
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, RescueKind
from crplugins.core.log_lines import log_upstream
from crplugins.handlers.routing.attempts import Ask, Attempts

logger = logging.getLogger("crplugins.upstream")


def takes_over(attempts: Attempts, exchange: Exchange, error: GatewayError, kind: RescueKind) -> bool:
    """Whether the next deployment is asked to take over a stream that has broken. It is not for a client that left."""
    broken = attempts.current
    if exchange.client_gone or not attempts.broken(error):
        return False
    exchange.rescues = (*exchange.rescues, kind)
    label = "" if broken is None else broken.deployment.label
    log_upstream(logger, label, "its stream broke, and another deployment takes over (%s)", kind)
    return True


async def next_stream(attempts: Attempts, body: Body, ask: Ask | None = None) -> AsyncGenerator[bytes, None]:
    """The stream of the next deployment. Raises `GatewayError` if all that are left fail.

    `ask` asks one of them, where that is not the client's request as it is.
    """
    reply = await attempts.next(body, ask)
    assert not isinstance(reply.body, bytes), "a stream was asked for"
    return reply.body
