"""Rescue: another deployment takes over a stream that has broken, and the client sees one answer.

With `on_break: restart` the beginning of a stream is held back. If it breaks within that, nothing has been shown: the
next deployment is asked with the same body, and its answer is sent from its beginning (`restart.py`). With `continue` a
stream is shown as it comes, and the next deployment is given what it has said (`continuation.py`). What a broken
attempt has used stays on the books, and the client is told the sum (`whole_usage.py`).
"""

from crplugins.core.body import Body
from crplugins.core.exchange import Exchange, Reply
from crplugins.handlers.routing.attempts import Attempts
from crplugins.handlers.routing.continuation import ContinuedStream
from crplugins.handlers.routing.restart import RestartedStream


def with_rescue(reply: Reply, attempts: Attempts, exchange: Exchange, body: Body) -> Reply:
    """The reply of `attempts`. If it is a stream that breaks, another deployment takes over as its own says."""
    if isinstance(reply.body, bytes) or attempts.current is None or not attempts.left:
        return reply
    action = attempts.current.deployment.on_break.action
    if action == "error":
        return reply
    kind = RestartedStream if action == "restart" else ContinuedStream
    return Reply(reply.status, reply.headers, kind(attempts, exchange, body).frames(reply.body))
