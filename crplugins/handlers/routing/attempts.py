"""Attempts: the deployments that one request asks, one after the other."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from crplugins.core.body import Body
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, Reply
from crplugins.core.principal import MissingUsagePolicy
from crplugins.handlers.quota import QuotaUsedUp, first_free, soonest
from crplugins.handlers.routing.candidate import Candidate
from crplugins.handlers.routing.choice import Choice
from crplugins.handlers.routing.failures import remedy_of
from crplugins.handlers.routing.retries import Retries, pause_before, retries_after
from crplugins.handlers.routing.whole_usage import with_whole_usage
from crplugins.metering.attempts import give_up

logger = logging.getLogger("crplugins.upstream")


class Attempts:
    """Asks one deployment of a model name after the other, each until its retries are used up.

    First those of the lowest `order`, and of those one whose cooldown is over, as its trial. Those that cool down come
    last, and only within the budget of retries: if all are out, an outage is not multiplied by their number. One whose
    quota is used up is passed over: it has not failed, and does not cool down.

    Args:
        missing_usage: whether what a failed attempt has used and its provider has not counted is estimated or free,
            for keys without their own policy.

    Attributes:
        current: the one whose reply was returned last.
    """

    __slots__ = (
        "_again", "_began", "_choice", "_exchange", "_failure", "_left", "_missing_usage", "_retries", "_retry",
        "_sent", "_used_up", "_waited", "current",
    )  # fmt: skip

    def __init__(
        self,
        candidates: Sequence[Candidate],
        choice: Choice,
        retries: Retries,
        exchange: Exchange,
        missing_usage: MissingUsagePolicy = "estimate",
    ) -> None:
        self.current: Candidate | None = None
        self._left = [*candidates]
        self._choice = choice
        self._retries = retries
        self._exchange = exchange
        self._missing_usage: Final = missing_usage
        self._failure: GatewayError | None = None
        self._used_up: list[tuple[Candidate, QuotaUsedUp]] = []
        self._waited = False
        self._again: Candidate | None = None
        self._retry = 0  # how often the deployment that was asked last has been asked again
        self._began = 0.0  # when it was asked first
        self._sent = 0.0  # and last
        retries.budget.request()

    @property
    def left(self) -> Sequence[Candidate]:
        """Those that have not been asked."""
        return self._left

    def keep(self, candidates: Sequence[Candidate]) -> None:
        """Ask none but these from now on, and wait for none of those whose quota is used up."""
        self._left, self._used_up = [*candidates], []

    async def next(self, body: Body, adapted: Callable[[Candidate], Body] | None = None) -> Reply:
        """The reply of the next deployment that does not fail. `adapted` makes the request for one, if not as it is.

        Raises `GatewayError` if none is left: the failure of the last one, or when the first may be asked again if the
        quotas of all are used up. A failure that every deployment would share ends the attempts at once.
        """
        while (candidate := self._pick(body) or await self._first_free()) is not None:
            try:
                return await self._ask(candidate, body if adapted is None else adapted(candidate))
            except QuotaUsedUp as error:
                self._used_up.append((candidate, error.with_traceback(None)))
            except GatewayError as error:
                self._failure = error.with_traceback(None)
                if (pause := self._pause(error, candidate)) is not None:
                    await self._wait(pause, candidate)
                else:
                    self._keep_those_who_may_answer(error, candidate)
        failure = self._failure or soonest([error for _, error in self._used_up])
        self._failure, self._used_up = None, []  # its traceback leads back here
        try:
            raise failure
        finally:
            del failure

    async def _first_free(self) -> Candidate | None:
        """When nobody else is left: the deployment whose quota lets the request through first, if it is to wait."""
        if self._waited or not self._used_up:
            return None
        self._waited = True
        free = await first_free([error for _, error in self._used_up], self._exchange)
        self._retry, self._began = 0, self._exchange.clock()
        self._exchange.can_fail_over = False
        return next((candidate for candidate, error in self._used_up if error is free), None)

    def broken(self, error: GatewayError) -> bool:
        """The stream of `current` has broken after its first token. Whether `next` may be asked for another."""
        assert self.current is not None
        self._keep_those_who_may_answer(error, self.current)
        if not self._left:
            return False
        self._failure = error.with_traceback(None)
        give_up(self._exchange, self._missing_usage)
        return True

    async def _ask(self, candidate: Candidate, body: Body) -> Reply:
        """The reply of this deployment, whose health is told how it went.

        What earlier attempts have used stays on the books, and the client is told the sum.
        """
        exchange, health = self._exchange, candidate.health
        if exchange.attempts:
            give_up(exchange, self._missing_usage)
        self._sent = exchange.clock()
        trial = health.asked(self._sent) if health.cools_until else False
        candidate.running += 1
        try:
            reply = await candidate.handler.answer(exchange, body)
        except BaseException as error:
            candidate.ended()
            self._note(error, candidate, trial=trial)
            raise
        health.succeeded(self._sent)
        self.current = candidate
        attempt = exchange.attempts[-1] if exchange.attempts else None
        if attempt is None or attempt.ended is not None or isinstance(reply.body, bytes):
            candidate.ended()
        else:  # a stream, which goes on
            attempt.on_fail, attempt.on_end = partial(health.failed, sent=self._sent), candidate.ended
        return with_whole_usage(reply, exchange) if exchange.spent else reply

    def _note(self, error: BaseException, candidate: Candidate, *, trial: bool) -> None:
        """Tell its health why a deployment gave no reply."""
        health = candidate.health
        if not isinstance(error, GatewayError) or isinstance(error, QuotaUsedUp):
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
        if self._retry >= retries_after(error, candidate.settings.retries) or self._exchange.answer_usage is not None:
            return None
        now = self._exchange.clock()
        pause = pause_before(self._retry, error, self._retries.dice)
        patience = candidate.deployment.deadlines.patience(
            stream=self._exchange.stream, can_fail_over=self._exchange.can_fail_over
        )
        if pause is None or now + pause > self._began + patience.first_token:
            return None
        return pause if self._retries.budget.take(now) else None

    async def _wait(self, pause: float, candidate: Candidate) -> None:
        """Wait to ask it again, unless it cools down by then or another request is its trial."""
        await self._retries.sleep(pause)
        if candidate.health.admits(self._exchange.clock()):
            self._again = candidate

    def _keep_those_who_may_answer(self, error: GatewayError, failed: Candidate) -> None:
        remedy = remedy_of(error)
        if remedy != "another":
            model = failed.deployment.model
            self._left = [each for each in self._left if remedy == "another_model" and each.deployment.model != model]
            self._used_up = [
                each for each in self._used_up if remedy == "another_model" and each[0].deployment.model != model
            ]

    def _pick(self, body: Body) -> Candidate | None:
        """Who is asked now; None if nobody is left."""
        again, self._again = self._again, None
        if again is not None:
            self._retry += 1
            logger.warning("request %s is sent to %s again", self._exchange.id, again.deployment.label)
            return again
        left, now = self._left, self._exchange.clock()
        if not left:
            return None
        picked = left[0] if len(left) == 1 else self._best(left, now, body)
        if self._failure is not None:
            if not picked.health.admits(now) and not self._retries.budget.take(now):
                return None
            name = picked.deployment.name
            logger.warning("request %s fails over to the next deployment of %s", self._exchange.id, name)
        left.remove(picked)
        self._retry, self._began = 0, now
        self._exchange.can_fail_over = any(each.health.admits(now) for each in left) if left else False
        return picked

    def _best(self, left: Sequence[Candidate], now: float, body: Body) -> Candidate:
        well = [each for each in left if each.health.admits(now)]
        if not well:
            return min(left, key=lambda each: each.health.cools_until)
        first = min([each.order for each in well])
        level = [each for each in well if each.order == first]
        if (tried := next((each for each in level if each.health.cools_until), None)) is not None:
            return tried
        return level[0] if len(level) == 1 else self._choice.pick(level, self._exchange, body)
