"""GatewayState: what outlives a reload of the configuration."""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from crplugins.core.pipeline import Faults
from crplugins.handlers.background import BackgroundResponses
from crplugins.homes.gateway.reloading import Loads, Reloaded
from crplugins.homes.gateway.worker_states import WorkerState, WorkerStates, worker_state, workers_directory


class GatewayState:
    """What all generations of a gateway have in common.

    Attributes:
        draining: the process ends, and takes nothing more.
        background: the responses in the background whose ends are waited for.
        loads: how the loading of the configuration has gone.
        faults: how often a hook failed, by plugin name and hook name.
        workers: what all processes of the server are doing.
        activity: what this one is doing, as the present generation says.
        reload: loads the configuration anew from where it was read; it is told why.
    """

    def __init__(self, reload: Callable[[str], Awaitable[Reloaded]]) -> None:
        self.draining = False
        self.background: Final = BackgroundResponses()
        self.loads: Final = Loads()
        self.faults: Final[Faults] = Counter()
        self.workers: Final = WorkerStates(lambda: self.activity(), workers_directory())
        self.activity: Callable[[], WorkerState] = lambda: worker_state((), ())
        self.reload = reload

    async def reload_now(self, why: str) -> Reloaded:
        """`reload` as it is now: `crplugins serve --workers` puts its own in its place, which reloads all processes."""
        return await self.reload(why)
