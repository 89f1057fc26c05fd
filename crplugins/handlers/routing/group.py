"""Group: the deployments of one model name, as the handler of that name."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final

from crplugins.core.body import Body
from crplugins.core.dialects import CHAT
from crplugins.core.errors import previous_response_not_found
from crplugins.core.exchange import Exchange, Reply
from crplugins.core.principal import MissingUsagePolicy
from crplugins.handlers.handler import Unopened
from crplugins.handlers.routing.attempts import Attempts
from crplugins.handlers.routing.balancing import Balancer, Turns
from crplugins.handlers.routing.candidate import Candidate
from crplugins.handlers.routing.fallbacks import Fallbacks
from crplugins.handlers.routing.retries import Retries

Rescue = Callable[[Reply, AsyncGenerator[bytes, None], Attempts, Exchange, Body], Awaitable[Reply]]


class Group(Unopened):
    """Answers with a deployment of its model name; if that fails before the first token, the next one is tried.

    Args:
        candidates: the deployments, in the order of the configuration; at least one.
        balancer: picks one of those that are healthy; by default they take turns.
        fallbacks: the names that answer when none of them does.
        missing_usage: whether what a failed attempt has used and its provider has not counted is estimated or free,
            for keys without their own policy.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        balancer: Balancer | None = None,
        retries: Retries | None = None,
        *,
        fallbacks: Fallbacks | None = None,
        missing_usage: MissingUsagePolicy = "estimate",
    ) -> None:
        self.candidates: Final = candidates
        self.all_chat: Final = all(each.protocols.speaks(CHAT) for each in candidates)
        self.balancer: Final = balancer or Turns()
        self.retries: Final = retries or Retries()
        self.fallbacks: Final = fallbacks
        self.missing_usage: Final[MissingUsagePolicy] = missing_usage
        self._rescue: Final = _rescue_of(candidates, fallbacks)

    async def answer(self, exchange: Exchange, body: Body) -> Reply:
        attempts, kept_at = Attempts(self, exchange), exchange.kept_at
        if kept_at is not None:  # where the response is to which this one is the next
            if not any(each.place == kept_at for each in self.candidates):
                raise previous_response_not_found(body.get("previous_response_id"))
            attempts.keep(lambda each: each.place == kept_at)
        reply = await attempts.next(body)
        if isinstance(reply.body, bytes) or exchange.unended is not None:  # who works in the background is asked again
            return reply
        return reply if self._rescue is None else await self._rescue(reply, reply.body, attempts, exchange, body)


def _rescue_of(candidates: Sequence[Candidate], fallbacks: Fallbacks | None) -> Rescue | None:
    """What gives a stream that breaks to another deployment, where one says so; else nothing of it is imported."""
    if fallbacks is None and all(each.deployment.on_break.action == "error" for each in candidates):
        return None
    from crplugins.handlers.routing.rescue import with_rescue

    return with_rescue
