"""What is said of a reload of the configuration: to who has asked for it, in the log, in metrics and by `/readyz`."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from crplugins.core.single_flight import SingleFlight
from crplugins.handlers.upstream import UpstreamUnknown
from crplugins.keys.store import KeyFileError
from crplugins.settings.errors import ConfigError, error_line

logger = logging.getLogger("crplugins.config")

MOST_LOGGED: Final = 50
"""Changes of one reload that are written into the log, a line each."""


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """How a reload has ended. Without `problems` it is in force for every request from now on, in every process."""

    object: str = "config.reload"
    problems: Annotated[
        Sequence[str],
        Meta(description="What is wrong with the new configuration; then nothing has changed."),
    ] = ()
    changes: Annotated[Sequence[str], Meta(description="What is different. Secrets are not shown.")] = ()
    needs_restart: Annotated[
        Sequence[str], Meta(description="Settings that have changed, and count from the next start on.")
    ] = ()


class ReloadTurns:
    """Reloads one after the other, each of which reads what there is when its turn comes: what was read first never
    counts last. Who asks while another waits for its turn shares that one, so that a storm of signals is two reloads.
    """

    def __init__(self) -> None:
        self._turn: Final = asyncio.Lock()
        self._waiting: Final[SingleFlight[Reloaded]] = SingleFlight()

    async def run(self, reload: Callable[[], Awaitable[Reloaded]]) -> Reloaded:
        async def in_turn() -> Reloaded:
            async with self._turn:
                self._waiting.forget()
                return await reload()

        return await self._waiting.run("next", in_turn)


class LoadedAs(msgspec.Struct, frozen=True):
    """How it has gone in the other processes of a run, for one that takes the place of a dead one."""

    problem: str | None
    succeeded_at: float


class Loads:
    """How the loading of the configuration has gone in this process.

    Attributes:
        problem: why the last attempt has failed; None if it has not.
        succeeded_at: when the configuration was loaded that is served, in seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock: Final = clock
        self.problem: str | None = None
        self.succeeded_at = clock()

    @property
    def successful(self) -> bool:
        return self.problem is None

    def as_they_are(self) -> LoadedAs:
        return LoadedAs(self.problem, self.succeeded_at)

    def are(self, loaded: LoadedAs) -> None:
        """It has gone here as it has there."""
        self.problem, self.succeeded_at = loaded.problem, loaded.succeeded_at

    def note(self, reloaded: Reloaded) -> None:
        """An attempt has ended so."""
        if reloaded.problems:
            self.problem = "\n".join(reloaded.problems)
        else:
            self.problem, self.succeeded_at = None, self._clock()


def log(reloaded: Reloaded, why: str) -> None:
    """`why`: what has asked for the reload, such as `SIGHUP`."""
    if reloaded.problems:
        problems = "; ".join(reloaded.problems)
        logger.error("the configuration stays as it was (%s): %s", why, problems)
        return
    count = len(reloaded.changes)
    what = f"{count} change{'' if count == 1 else 's'}" if count else "nothing has changed"
    logger.info("the configuration is reloaded (%s): %s", why, what)
    for change in reloaded.changes[:MOST_LOGGED]:
        logger.info("changed: %s", change)
    if count > MOST_LOGGED:
        logger.info("changed: %d more", count - MOST_LOGGED)
    for setting in reloaded.needs_restart:
        logger.warning("%s has changed, which counts from the next start on", setting)


def problems_of(error: Exception) -> list[str]:
    """What is wrong, a sentence each, as `crplugins serve` says it at its start."""
    if isinstance(error, ConfigError):
        return str(error).splitlines()
    if isinstance(error, UpstreamUnknown | KeyFileError):
        return [str(error)]
    return [error_line(error)]
