"""Active checks: the list of a deployment's models is asked for now and then, off the path of requests.

A deployment that gives no answer several times in a row cools down before a request has to find that out, and one that
answers again need not wait for the end of its time. Requests have the last word: one that was answered in the meantime
outweighs the checks, and a deployment that has cooled down, for whatever reason, has a single request as its trial.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from typing import Final, Protocol, runtime_checkable

from crplugins.core.waiting import stopped
from crplugins.handlers.http.interface import HttpError
from crplugins.handlers.routing.candidate import Candidate

logger = logging.getLogger("crplugins.upstream")

FAILURES_IN_A_ROW: Final = 3
"""Checks that must fail, one after the other, before a deployment cools down: one may be lost on the way."""

CHECK_SECONDS: Final = 5.0
"""How long a check waits for an answer."""

_JITTER: Final = 0.1
_SHORTEST_SLEEP: Final = 0.01


@runtime_checkable
class Checkable(Protocol):
    """A handler that can ask its provider for the list of models. `models_at` is the same for those that would ask the
    same with the same credential."""

    @property
    def models_at(self) -> Hashable: ...

    async def models_status(self, seconds: float) -> int:
        """The status of `GET /models`. Raises `HttpError` and `TimeoutError`."""


def ignored(names: Iterable[str]) -> str:
    """What to say of models with a `health_check` whose handler cannot make it; "" for none."""
    models = ", ".join(sorted(set(names)))
    return (
        f"health_check is ignored for {models}: only the direct handler can ask for a list of models" if models else ""
    )


def is_down(status: int) -> bool:
    """Whether an answer says that the deployment cannot answer requests.

    A server error does, also that of a proxy whose server is gone. Most others say only that somebody is there: many
    servers have no list of models (404, 405, 501), or show it to nobody (401, 403).
    """
    return status >= 500 and status != 501


class _Check:
    """The check of all deployments at one place.

    Attributes:
        due: when it is made next.
        asking: it is being made.
    """

    def __init__(self, handler: Checkable, seconds: float, due: float) -> None:
        self.handler: Final = handler
        self.seconds = seconds
        self.due = due
        self.asking = False
        self.candidates: list[Candidate] = []
        self._failed: Final = deque[float](maxlen=FAILURES_IN_A_ROW)  # when the last were sent, as long as all fail

    def failed(self, reason: str, sent: float, now: float) -> None:
        self._failed.append(sent)
        if len(self._failed) == FAILURES_IN_A_ROW:
            for each in self.candidates:
                if each.health.checks_failed(self._failed[0], now):
                    logger.warning("%s cools down: its checks fail (%s)", each.deployment.label, reason)

    def answered(self, status: int, now: float) -> None:
        self._failed.clear()
        if 200 <= status < 300:
            for each in self.candidates:
                each.health.check_succeeded(now)


class HealthChecks:
    """Makes the checks of a gateway from one task, each with a deadline, and none twice at the same time.

    Args:
        clock: that of the exchanges.
        dice: a random number from 0 to 1: several processes do not check at the same moment.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        dice: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock: Final = clock
        self._dice: Final = dice
        self._sleep: Final = sleep
        self._checks: Sequence[_Check] = ()
        self._task: asyncio.Task[None] | None = None

    def watch(self, candidates: Iterable[tuple[Candidate, Checkable]]) -> None:
        """Check these from now on, and no others. Those at one place are checked together, as often as the one that is
        to be checked most often."""
        checks: dict[Hashable, _Check] = {}
        now = self._clock()
        for candidate, handler in candidates:
            seconds = candidate.settings.check_seconds
            if seconds > 0:
                check = checks.setdefault(handler.models_at, _Check(handler, seconds, now + seconds * self._dice()))
                check.seconds = min(seconds, check.seconds)
                check.candidates.append(candidate)
        self._checks = list(checks.values())
        if self._checks and self._task is None:
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as asking:
            while True:
                now = self._clock()
                for check in self._checks:
                    if check.due <= now:
                        check.due = now + check.seconds * (1 + _JITTER * (2 * self._dice() - 1))
                        if not check.asking:
                            check.asking = True
                            asking.create_task(self._ask(check))
                due = min([check.due for check in self._checks], default=now + 1)
                await self._sleep(max(due - now, _SHORTEST_SLEEP))

    async def _ask(self, check: _Check) -> None:
        sent = self._clock()
        try:
            status = await check.handler.models_status(CHECK_SECONDS)
            if is_down(status):
                check.failed(f"status {status}", sent, self._clock())
            else:
                check.answered(status, self._clock())
        except TimeoutError:
            check.failed("no answer in time", sent, self._clock())
        except HttpError as error:
            check.failed(str(error), sent, self._clock())
        except Exception:  # or no deployment would be checked any more
            logger.exception("a check failed")
        finally:
            check.asking = False

    async def close(self) -> None:
        """Ends the checks."""
        await stopped(self._task)
