"""Attempts: the deployments that one request asks, one after the other."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from crplugins.core.body import Body
from crplugins.core.dialects import CHAT
from crplugins.core.errors import GatewayError, not_spoken
from crplugins.core.exchange import MODEL_HEADER, Exchange, FallbackReason, Reply
from crplugins.core.log_lines import ATTEMPT, log_upstream
from crplugins.handlers.quota import QuotaUsedUp, first_free, soonest
from crplugins.handlers.routing.candidate import Candidate
from crplugins.handlers.routing.destination import Destination
from crplugins.handlers.routing.failures import Remedy, remedy_of
from crplugins.handlers.routing.fallbacks import MOST_FALLBACKS
from crplugins.handlers.routing.retries import pause_before, retries_after
from crplugins.handlers.routing.whole_usage import with_whole_usage
from crplugins.handlers.upstream_errors import NotWritten
from crplugins.metering.attempts import give_up

if TYPE_CHECKING:
    from crplugins.handlers.routing.group import Group

logger = logging.getLogger("crplugins.upstream")

Ask = Callable[[Candidate, Body], Awaitable[Reply]]
"""Asks one deployment, whose model stands in the body, for a reply in the protocol of the client."""


class Attempts:
    """Asks one deployment of a model name after the other, each until its retries are used up, and then its fallbacks.

    First those of the lowest `order`, and of those one whose cooldown is over, as its trial. Those that cool down come
    last, after the fallbacks, and only within the budget of retries: if all are out, an outage is not multiplied by
    their number. One whose quota is used up is passed over: it has not failed, and does not cool down.

    Attributes:
        current: the one whose reply was returned last.
    """

    __slots__ = (
        "_again",
        "_asked",
        "_began",
        "_destination",
        "_destinations",
        "_exchange",
        "_failure",
        "_fits",
        "_has_fallbacks",
        "_names",
        "_retry",
        "_seen",
        "_sent",
        "_used_up",
        "_waited",
        "current",
    )  # fmt: skip

    def __init__(self, group: "Group", exchange: Exchange) -> None:
        self.current: Candidate | None = None
        self._exchange = exchange
        self._destination = Destination(group, exchange.dialect)  # of the one that is asked
        self._destinations = [self._destination]
        self._asked: list[Candidate] = []
        self._fits: Callable[[Candidate], bool] | None = None
        self._names: list[str] = []  # fallbacks that have not become destinations
        self._seen: list[str] = []  # and those that ever were among them
        self._has_fallbacks = False
        self._failure: GatewayError | None = None
        self._used_up: list[tuple[Destination, Candidate, QuotaUsedUp]] = []
        self._waited = False
        self._again: Candidate | None = None
        self._retry = 0  # how often the deployment that was asked last has been asked again
        self._began = 0.0  # when it was asked first
        self._sent = 0.0  # and last
        group.retries.budget.request()

    @property
    def left(self) -> bool:
        """Whether there is a deployment that has not been asked and may answer."""
        return self._has_fallbacks or any(destination.left for destination in self._destinations)

    def keep(self, fits: Callable[[Candidate], bool]) -> None:
        """From now on ask all for which this holds, whatever went wrong before, and none besides: those that have not
        been asked, and those of fallbacks. Wait for none of those whose quota is used up.
        """
        self._fits, self._used_up = fits, []
        for destination in self._destinations:
            destination.keep(fits, but=self._asked)

    async def next(self, body: Body, ask: Ask | None = None) -> Reply:
        """The reply of the next deployment that does not fail. `ask` asks it, where that is not the request as it is.

        Raises `GatewayError` if none is left: the failure of the last one, or when the first may be asked again if the
        quotas of all are used up. A failure that every deployment would share ends the attempts at once.
        """
        while (
            candidate := self._pick(body) or await self._pick_elsewhere(body) or await self._first_free()
        ) is not None:
            try:
                return await self._ask(candidate, body, ask)
            except QuotaUsedUp as error:
                self._used_up.append((self._destination, candidate, error.with_traceback(None)))
            except GatewayError as error:
                self._failure = error.with_traceback(None)
                if (pause := self._pause(error, candidate)) is not None:
                    await self._wait(pause, candidate)
                else:
                    self._keep_those_who_may_answer(error, candidate)
        failure = self._failure or self._unanswered(body)
        self._failure, self._used_up = None, []  # its traceback leads back here
        try:
            raise failure
        finally:
            del failure

    def _unanswered(self, body: Body) -> GatewayError:
        """Why nobody was asked: the quotas of all are used up, or none of them speaks the protocol of the request."""
        if self._used_up:
            return soonest([error for _, _, error in self._used_up])
        exchange = self._exchange
        name = exchange.requested_model or self._destinations[0].model(body)
        return not_spoken(name, exchange.dialect.path)

    async def _first_free(self) -> Candidate | None:
        """When nobody else is left: the deployment whose quota lets the request through first, if it is to wait."""
        if self._waited or not self._used_up:
            return None
        self._waited = True
        free = await first_free([error for _, _, error in self._used_up], self._exchange)
        self._retry, self._began = 0, self._exchange.clock()
        self._exchange.can_fail_over = False
        for destination, candidate, error in self._used_up:
            if error is free:
                self._destination = destination
                return candidate
        return None

    def broken(self, error: GatewayError) -> bool:
        """The stream of `current` has broken after its first token. Whether `next` may be asked for another."""
        assert self.current is not None
        self._keep_those_who_may_answer(error, self.current)
        if not self.left:
            return False
        self._failure = error.with_traceback(None)
        give_up(self._exchange, self._destination.group.missing_usage)
        return True

    async def _ask(self, candidate: Candidate, body: Body, ask: Ask | None) -> Reply:
        """The reply of this deployment, whose health is told how it went.

        What earlier attempts have used stays on the books, and the client is told the sum.
        """
        exchange, health, destination = self._exchange, candidate.health, self._destination
        if exchange.attempts:
            give_up(exchange, destination.group.missing_usage)
            exchange.kept_at = None  # there, and not where the next one keeps it
            ATTEMPT.set(len(exchange.attempts) + 1)
        self._sent = exchange.clock()
        trial = health.asked(self._sent) if health.cools_until else False
        health.running += 1
        try:
            asked = destination.body(body) if destination.fallback else body
            if exchange.dialect is not CHAT or candidate.protocols.has_own_ids:
                asked = candidate.protocols.fitted(exchange.dialect, asked)
            if ask is not None:
                reply = await ask(candidate, asked)
            elif exchange.dialect is CHAT:
                reply = await candidate.handler.answer(exchange, asked)
            else:
                reply = await candidate.protocols.answer(candidate.handler, exchange, asked)
        except BaseException as error:
            candidate.ended()
            self._note(error, candidate, trial=trial)
            raise
        health.succeeded(self._sent)
        if health.speed is not None:
            health.speed.answered(reply, exchange, self._sent)
        self.current = candidate
        attempt = exchange.attempts[-1] if exchange.attempts else None
        if attempt is None or attempt.ended is not None or isinstance(reply.body, bytes):
            candidate.ended()
        else:  # a stream, which goes on
            attempt.on_fail, attempt.on_end = partial(health.failed, sent=self._sent), candidate.ended
        if exchange.spent:
            reply = with_whole_usage(reply, exchange)
        name = candidate.exact_name or destination.model(body)
        if name.isascii() and name.isprintable():
            reply.headers.append((MODEL_HEADER, name.encode()))
        return reply

    def _note(self, error: BaseException, candidate: Candidate, *, trial: bool) -> None:
        """Tell its health why a deployment gave no reply."""
        health = candidate.health
        if not isinstance(error, GatewayError) or isinstance(error, QuotaUsedUp | NotWritten):
            decided = False
        else:
            decided = candidate.is_at_fault(error)
            if remedy_of(error) != "another":  # the deployment is well, and has found something wrong with the request
                health.succeeded(self._sent)
            elif decided:
                health.failed(error, self._exchange.clock(), sent=self._sent, trial=trial)
        if trial and not decided:
            health.undecided()

    def _pause(self, error: GatewayError, candidate: Candidate) -> float | None:
        """How long to wait before this deployment is asked again; None if it is not.

        One that has counted tokens had begun to answer, and would count them twice.
        """
        exchange, retries = self._exchange, self._destination.group.retries
        if self._retry >= retries_after(error, candidate.settings.retries) or exchange.answer_usage is not None:
            return None
        now = exchange.clock()
        pause = pause_before(self._retry, error, retries.dice)
        deadlines = candidate.deployment.deadlines
        patience = deadlines.patience(stream=exchange.stream, can_fail_over=exchange.can_fail_over)
        if pause is None or now + pause > self._began + patience.first_token:
            return None
        return pause if retries.budget.take(now) else None

    async def _wait(self, pause: float, candidate: Candidate) -> None:
        """Wait to ask it again, unless it cools down by then or another request is its trial."""
        await self._destination.group.retries.sleep(pause)
        if candidate.health.admits(self._exchange.clock()):
            self._again = candidate

    def _keep_those_who_may_answer(self, error: GatewayError, failed: Candidate) -> None:
        remedy = remedy_of(error)
        if remedy == "another":
            return
        self._has_fallbacks = False
        fallbacks = self._destination.group.fallbacks
        if remedy == "none" or (remedy == "content_policy" and fallbacks is not None and fallbacks.judge_content):
            self._names.clear()
        model = failed.deployment.model

        def may_answer(candidate: Candidate) -> bool:
            return remedy == "another_model" and candidate.deployment.model != model

        for destination in self._destinations:
            destination.left = [each for each in destination.left if may_answer(each)]
        self._used_up = [each for each in self._used_up if may_answer(each[1])]

    def _pick(self, body: Body) -> Candidate | None:
        """The deployment of the name at hand that is asked now; None if none is left that does not cool down."""
        if self._again is not None:
            again, self._again = self._again, None
            self._retry += 1
            log_upstream(logger, again.deployment.label, "is asked again")
            return again
        destination, now = self._destination, self._exchange.clock()
        best = destination.best(now)
        if not best:
            return None
        picked = best[0] if len(best) == 1 else destination.group.balancer.pick(best, self._exchange, body)
        return self._taken(picked, body, now)

    async def _pick_elsewhere(self, body: Body) -> Candidate | None:
        """A deployment of the next fallback; if there is none, one that cools down, those of the asked name first."""
        while (name := self._next_name(body)) is not None:
            fallbacks = self._destination.group.fallbacks
            group = None if fallbacks is None else await fallbacks.open(self._exchange, name)
            if group is not None:
                self._destination = Destination(group, self._exchange.dialect, name)
                if self._fits is not None:
                    self._destination.keep(self._fits)
                self._destinations.append(self._destination)
                if (picked := self._pick(body)) is not None:
                    return picked
        self._has_fallbacks = False
        for destination in self._destinations:
            if destination.left:
                now = self._exchange.clock()
                if self._failure is not None and not destination.group.retries.budget.take(now):
                    self._end()
                    return None
                self._destination = destination
                return self._taken(min(destination.left, key=lambda each: each.health.cools_until), body, now)
        return None

    def _end(self) -> None:
        """Ask nobody any more."""
        for destination in self._destinations:
            self._asked += destination.left
            destination.left = []

    def _next_name(self, body: Body) -> str | None:
        """The next fallback, of the name at hand or of one before it."""
        remedy = "another" if self._failure is None else remedy_of(self._failure)
        names = self._fallbacks(body, remedy)[: MOST_FALLBACKS - len(self._seen)]
        self._seen += names
        self._names += names
        return self._names.pop(0) if self._names else None

    def _fallbacks(self, body: Body, remedy: Remedy) -> Sequence[str]:
        """The fallbacks of the name at hand that are new."""
        fallbacks = self._destination.group.fallbacks
        if fallbacks is None:
            return ()
        known = (self._destinations[0].model(body), *self._seen)
        return [name for name in fallbacks.after(self._destination.model(body), remedy) if name not in known]

    def _taken(self, picked: Candidate, body: Body, now: float) -> Candidate:
        destination = self._destination
        if self._failure is not None:
            log_upstream(logger, picked.deployment.label, "is asked next, as the last one has failed")
        if destination.fallback is not None and not destination.asked:
            self._exchange.fallbacks += (_reason(self._failure),)
        destination.asked = True
        destination.left.remove(picked)
        self._asked.append(picked)
        self._retry, self._began = 0, now
        others = bool(destination.left) and any(each.health.admits(now) for each in destination.left)
        self._has_fallbacks = bool(self._names or self._fallbacks(body, "another"))
        self._exchange.can_fail_over = others or self._has_fallbacks
        return picked


_REASONS: Final[Mapping[Remedy, FallbackReason]] = {
    "another_model": "context_window",
    "content_policy": "content_policy",
}


def _reason(failure: GatewayError | None) -> FallbackReason:
    return "unavailable" if failure is None else _REASONS.get(remedy_of(failure), "failure")
