"""Rescue: another deployment takes over a stream that has broken, and the client sees one answer.

With `on_break: restart` the beginning of a stream is held back. If it breaks within that, nothing has been shown: the
next deployment is asked with the same body, and its answer is sent from its beginning (`restart.py`). With `continue` a
stream is shown as it comes, and the next deployment is given what it has said (`continuation.py`). What a broken
attempt has used stays on the books, and the client is told the sum (`whole_usage.py`).
"""

from collections.abc import AsyncGenerator

from crplugins.core.body import Body
from crplugins.core.exchange import Exchange, Reply
from crplugins.handlers.routing.attempts import Attempts
from crplugins.handlers.routing.continuation import ContinuedStream, shown_of
from crplugins.handlers.routing.on_break import Action
from crplugins.handlers.routing.restart import RestartedStream
from crplugins.handlers.routing.shown import CAN_GO_ON


async def with_rescue(
    reply: Reply, frames: AsyncGenerator[bytes, None], attempts: Attempts, exchange: Exchange, body: Body
) -> Reply:
    """The stream that `attempts` have replied with. If it breaks, another deployment takes over, as the deployment says
    that gives it: one of a fallback as well.
    """
    action: Action = "error" if attempts.current is None else attempts.current.deployment.on_break.action
    if action == "error" or not attempts.left or (action == "continue" and exchange.dialect not in CAN_GO_ON):
        return reply
    try:
        if action == "restart":
            rescued = RestartedStream(attempts, exchange, body).frames(frames)
        else:
            rescued = ContinuedStream(attempts, exchange, body, await shown_of(exchange)).frames(frames)
    except BaseException:  # its client has disconnected
        await frames.aclose()
        raise
    await anext(rescued)  # closing a generator that was never started runs nothing of it, and leaks the connection
    return Reply(reply.status, reply.headers, rescued)
