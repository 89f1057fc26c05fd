"""Gateway: an ASGI app that serves by one configuration, and by another from one request to the next.

client -> Gateway -> the present Generation [plugins -> handlers]     requests that come now
                  -> earlier ones                                     requests that have begun under them
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Final, Self, Unpack

from starlette.types import Receive, Scope, Send

from crplugins.asgi.lifespan import failure_message
from crplugins.config import Config, Problem, find_config, load_config, parse_config
from crplugins.core.collector import collect_what_has_ended
from crplugins.core.plugin import Plugin
from crplugins.homes.gateway.generation import Generation
from crplugins.homes.gateway.reloading import Loads, Reloaded, ReloadTurns, log, problems_of
from crplugins.homes.gateway.state import GatewayState
from crplugins.keys.key import Key
from crplugins.settings.errors import ConfigError

if TYPE_CHECKING:
    from crplugins.config.words import ConfigWords

logger = logging.getLogger("crplugins.gateway")

_HELD_SECONDS: Final = 1.0
"""How long a closed generation may be held by the task that has closed it, and by answers that are being written."""


class Gateway:
    """An OpenAI-compatible chat completions gateway: an ASGI app that any server runs.

        app = Gateway(
            model_list=[{"model_name": "fast", "litellm_params": {"model": "openai/gpt-4o-mini"}}],
            keys=[{"id": "team-a", "secret": "sk-..."}],
        )

    The keywords are the keys of the configuration file, with the same shapes. Without `model_list` it serves the demo
    model. Without `keys` every request is refused, unless a HostPrincipalMiddleware around it knows the caller.

    Raises `ConfigError`.
    """

    def __init__(self, **words: "Unpack[ConfigWords]") -> None:
        self._begin(parse_config(words))

    @classmethod
    def from_config(cls, config: Config) -> Self:
        gateway = cls.__new__(cls)
        gateway._begin(config)
        return gateway

    def _begin(self, config: Config) -> None:
        self._state = GatewayState(self.reload_file)
        self._generation = Generation(config, self._state)
        self._generation.begin()
        self._changing = asyncio.Lock()
        self._turns = ReloadTurns()
        self._prepared: Prepared | None = None
        self._retiring: dict[asyncio.Task[None], Generation] = {}

    @property
    def config(self) -> Config:
        """That of the requests that come now."""
        return self._generation.config

    @property
    def plugins(self) -> Sequence[Plugin]:
        """Those of the requests that come now, outermost first."""
        return self._generation.plugins

    @property
    def loads(self) -> Loads:
        """How the loading of the configuration has gone."""
        return self._state.loads

    def reload_by(self, reload: Callable[[str], Awaitable[Reloaded]]) -> None:
        """What `POST /admin/reload` does, in the place of `reload_file`."""
        self._state.reload = reload

    def resolve(self) -> None:
        """Decide which handler serves each model, before anything listens; but of those that wait for litellm. Blocks.

        Raises `UpstreamUnknown`.
        """
        self._generation.resolve()

    async def loaded(self) -> None:
        """Returns when every model answers at once, or never will: litellm is imported while the gateway listens."""
        await self._generation.loaded()

    def drain(self) -> None:
        """The process ends as soon as what runs has ended: from now on chat completions and /readyz get 503."""
        self._state.draining = True
        for generation in (self._generation, *self._retiring.values()):
            generation.drain()

    def waiting(self) -> list[str]:
        """The names of the models that do not answer yet, as litellm is imported for them."""
        return self._generation.waiting()

    def warnings(self, keys: Sequence[Key]) -> list[str]:
        """A sentence for each alias, each model that one of `keys` may call, and each price that is doubtful.

        Blocks: litellm's table of prices may have to be read.
        """
        return self._generation.warnings(keys)

    async def reload(self, config: Config) -> Reloaded:
        """Serve by `config` from the next request on. Requests that run end as they have begun.

        What is the same in both goes on: levels of limits, keys, the ledger, connections to providers and what is known
        of their health, counters. Either all of `config` counts from one moment on, or nothing has changed.

        Raises what is wrong with it, as the start of a gateway does: `ConfigError`, `UpstreamUnknown`, `ImportError`,
        and what opening its databases and one's own plugins raises.
        """
        prepared = await self.prepare(config)
        return prepared.apply()

    async def prepare(self, config: Config) -> "Prepared":
        """The first half of a reload: all that `config` needs is made and opened beside what is served, which stays as
        it is until `apply`. Several processes can so agree. Raises as `reload`.
        """
        await self._changing.acquire()
        try:
            changed = await asyncio.to_thread(_differences, self.config, config)
            # Not in the context of the request that asks for it: tasks that begin here outlive it.
            opened = asyncio.get_running_loop().create_task(self._opened(config), context=Context())
            generation = await opened
        except BaseException:
            self._changing.release()
            raise
        self._prepared = Prepared(changed, partial(self._apply, generation), partial(self._abandon, generation))
        return self._prepared

    async def reload_file(self, why: str) -> Reloaded:
        """`reload` with the file that the configuration was read from; what is wrong with it is in the result.

        `why`: what has asked for it, for the log.
        """
        file = self.config.source.file
        if file is None:
            return Reloaded(problems=["the configuration was read from no file"])
        return await self._turns.run(lambda: self._reload_file(file, why))

    async def _reload_file(self, file: str, why: str) -> Reloaded:
        try:
            reloaded = await self.reload(await asyncio.to_thread(load_config, file))
        except Exception as error:
            reloaded = Reloaded(problems=problems_of(error))
        self.loads.note(reloaded)
        log(reloaded, why)
        return reloaded

    async def _opened(self, config: Config) -> Generation:
        if self._state.draining:
            raise ConfigError([Problem((), "the process is ending")])
        await self._generation.loaded()  # its handlers are taken over, and those that load are none yet
        generation = await asyncio.to_thread(Generation, config, self._state, self._generation)
        try:
            await generation.open()
        except BaseException:
            await generation.close()
            _forget()
            raise
        return generation

    def _apply(self, generation: Generation) -> None:
        previous, self._generation = self._generation, generation
        generation.begin()
        if self._state.draining:
            generation.drain()
        self._prepared = None
        self._changing.release()
        task = asyncio.get_running_loop().create_task(self._retire(previous), context=Context())
        self._retiring[task] = previous
        task.add_done_callback(self._retiring.pop)

    async def _abandon(self, generation: Generation) -> None:
        self._prepared = None
        self._changing.release()
        await generation.close()
        _forget()

    async def _retire(self, generation: Generation) -> None:
        await generation.ended()
        await generation.close()
        _forget()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        generation = self._generation
        generation.running += 1
        try:
            await generation.handle(scope, receive, send)
        finally:
            generation.running -= 1
            if generation is not self._generation:
                generation.left()

    async def _live(self, receive: Receive, send: Send) -> None:
        """From start to stop, as the host tells it."""
        await receive()
        try:
            await self._generation.open()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": failure_message(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        failure = await self._close()
        if failure is None:
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await send({"type": "lifespan.shutdown.failed", "message": failure_message(failure)})

    async def _close(self) -> Exception | None:
        """Close everything, also under requests that the host no longer waits for."""
        if self._prepared is not None:
            await self._prepared.abandon()
        generations = [*self._retiring.values(), self._generation]
        await self._state.background.close()
        for task in list(self._retiring):
            task.cancel()
        errors = [await generation.close() for generation in generations]
        return next((error for error in errors if error is not None), None)


def _differences(old: Config, new: Config) -> Reloaded:
    """In a thread: with a thousand models it takes longer than a request may wait."""
    from crplugins.homes.gateway.changes import changes_between, needs_restart  # not needed to start

    return Reloaded(changes=changes_between(old, new), needs_restart=needs_restart(old, new))


def _forget() -> None:
    """A generation is closed, which whoever has closed it holds for a moment yet."""
    asyncio.get_running_loop().call_later(_HELD_SECONDS, collect_what_has_ended)


class Prepared:
    """A configuration that is made and open, and waits: call `apply` or `abandon`, once.

    Attributes:
        reloaded: what `apply` changes.
    """

    def __init__(self, reloaded: Reloaded, apply: Callable[[], None], abandon: Callable[[], Awaitable[None]]) -> None:
        self.reloaded: Final = reloaded
        self._apply, self._abandon = apply, abandon

    def apply(self) -> Reloaded:
        """It counts for every request from now on. Cannot fail."""
        self._apply()
        return self.reloaded

    async def abandon(self) -> None:
        """What was opened for it is closed."""
        await self._abandon()


def create_app() -> Gateway:
    """The gateway that the file in `CRPLUGINS_CONFIG` describes, for servers that make their app themselves."""
    path = find_config(None)
    config = parse_config({}) if path is None else load_config(path)
    os.environ.update(config.variables)  # for litellm and the providers' clients
    return Gateway.from_config(config)
