"""Push: a piece of a stream sent from where it comes in, with no task between.

A task that is woken for each piece of a stream, and a coroutine of every layer around it, cost more than all that is
done with the piece. A server that can write without waiting says so in the scope. What stands between, a middleware
with a `send` of its own, does not know of it; so it is used only by who was given the very `send` that it belongs to,
and everybody else awaits `send`.
"""

from collections.abc import Callable
from typing import Final

from starlette.types import Scope, Send

from crplugins.core.exchange import Push

PUSH_KEY: Final = "crplugins.push"
"""Where `crplugins serve`, and each boundary of ours for the app inside, has its `FindPush` in a scope."""

FindPush = Callable[[Send], Push | None]
"""What sends pieces as the given `send` does, once that has sent the start of a response; None if there is nothing."""


def find_push(scope: Scope) -> FindPush | None:
    """What the server, or the boundary around, has said in the scope of a request."""
    found: FindPush | None = scope.get(PUSH_KEY)
    return found
