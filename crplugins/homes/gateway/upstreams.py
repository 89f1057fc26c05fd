"""Upstreams: the handlers of a gateway, opened with it and closed with it.

Those that need litellm are opened while the gateway listens already, because its import takes seconds.
"""

import asyncio
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from types import MappingProxyType, TracebackType
from typing import Final, Self

from crplugins.core.daemon_thread import in_daemon_thread
from crplugins.core.identity import IdentitySource
from crplugins.core.network import Networks
from crplugins.core.principal import MissingUsagePolicy
from crplugins.core.response_ids import ResponsesPlace
from crplugins.core.waiting import stopped
from crplugins.handlers.deployment import Deployment, Routes, distinct_names
from crplugins.handlers.handler import Handler, Keeper, keeps
from crplugins.handlers.loading import Loading, Missing
from crplugins.handlers.protocols import Protocols, protocols_of, target_of
from crplugins.handlers.quota import WithinQuota
from crplugins.handlers.routing.candidate import Candidate
from crplugins.handlers.routing.checks import Checkable, HealthChecks, ignored
from crplugins.handlers.routing.fallbacks import NO_FALLBACKS, FallbackNames, Fallbacks
from crplugins.handlers.routing.group import Group
from crplugins.handlers.routing.health import Health
from crplugins.handlers.routing.settings import GroupSettings
from crplugins.handlers.routing.strategy import balancer_of
from crplugins.handlers.upstream import (
    LitellmMissing,
    Upstream,
    UpstreamUnknown,
    can_wait,
    is_left_out,
    native_upstream,
    resolve,
)
from crplugins.homes.gateway.open_handlers import OpenHandler, Served, kept_handler, open_handler
from crplugins.homes.price_list import PriceList
from crplugins.plugins.metrics.deployments import DeploymentStatus
from crplugins.plugins.rate_limits.deployments import DeploymentQuotas

logger = logging.getLogger("crplugins.gateway")

_AT_ONCE: Final = 100
"""Handlers that are opened in one step of the event loop, or made in one thread when litellm is imported."""

_Pair = tuple[Served, OpenHandler | Loading]
"""A deployment, and what it is open as."""


class Upstreams:
    """The handlers of a gateway, a resource of its PluginMiddleware.

    Args:
        groups: by model name, how one of its deployments is chosen.
        sessions: where clients name their session.
        previous: those of the configuration that this one replaces. What serves an unchanged deployment is kept.
        missing_usage: what becomes of the tokens of a failed attempt that its provider has not counted.
        in_litellms_file: whether their file is LiteLLM's alone, where one that cannot be served stops no other.

    Attributes:
        quotas: makes the quotas of deployments, where there are any. To be set before this is entered.
        fallbacks: the names that answer in the place of others; None where there are none.
    """

    def __init__(
        self,
        served: Sequence[Served],
        groups: Mapping[str, GroupSettings] = MappingProxyType({}),
        sessions: Sequence[IdentitySource] = (),
        fallbacks: FallbackNames = NO_FALLBACKS,
        previous: "Upstreams | None" = None,
        *,
        missing_usage: MissingUsagePolicy = "estimate",
        in_litellms_file: bool = False,
    ) -> None:
        self._in_litellms_file = in_litellms_file
        self.quotas: DeploymentQuotas | None = None
        self._missing_usage: Final[MissingUsagePolicy] = missing_usage
        self.fallbacks: Final = None if fallbacks == NO_FALLBACKS else Fallbacks(fallbacks)
        self._served = served
        self._settings: Final = groups
        self._sessions: Final = sessions
        self._resolved: dict[int, Upstream | LitellmMissing | None] | None = None
        self._previous = previous
        self._stack = AsyncExitStack()
        self._handlers: list[OpenHandler | Loading] = []
        self._loader: asyncio.Task[None] | None = None
        self._opened: Mapping[str, Sequence[_Pair]] = {}
        self._names: Sequence[str] = ()
        self._groups: dict[str, Group] = {}
        self._keepers: Mapping[bytes, Keeper] | None = None
        self._routes: Routes[str] | None = None
        self._checks: Final = HealthChecks()
        self.price: Final = PriceList([s.deployment for s in served])

    @property
    def ready(self) -> bool:
        """Every model answers at once."""
        return self._routes is not None and not any(isinstance(handler, Loading) for handler in self._handlers)

    def names_with_only(self, kind: type[Loading] | type[Missing]) -> list[str]:
        """The names that nothing but such handlers serves: with `Loading` those that wait for litellm."""
        by_name: dict[str, list[Handler]] = {}
        for each, opened in zip(self._served, self._handlers, strict=False):  # none before this is entered
            by_name.setdefault(each.deployment.name, []).append(_behind(opened))
        return [name for name, handlers in by_name.items() if all(isinstance(each, kind) for each in handlers)]

    @property
    def served(self) -> list[str]:
        """The model names and patterns that are served, in the order of the configuration."""
        return list(dict.fromkeys(s.deployment.name for s in self._served))

    def find(self, model: str) -> Group | None:
        name = None if self._routes is None else self._routes.find(model)
        return None if name is None else self._groups.get(name) or self._group(name)

    def place(self, tag: bytes) -> ResponsesPlace | None:
        """Where answers are kept, by its tag."""
        keeper = self._keeper(tag)
        return None if keeper is None else keeper.place

    def keeper(self, place: ResponsesPlace) -> Keeper | None:
        """Who asks for answers that are kept there: any of the deployments with one account at one address."""
        return self._keeper(place.tag)

    def _keeper(self, tag: bytes) -> Keeper | None:
        if self._keepers is None:  # until somebody asks, nobody needs the places of all
            behind = map(_behind, self._handlers)
            self._keepers = {handler.place.tag: handler for handler in behind if keeps(handler)}
        return self._keepers.get(tag)

    def deployments(self) -> Iterator[DeploymentStatus]:
        """How each deployment fares in this process. Only reads, so that another thread may ask."""
        opened, names = self._opened, self._names
        if len(names) != sum(map(len, opened.values())):
            every = [each.deployment for pairs in opened.values() for each, _ in pairs]
            names = self._names = distinct_names(every)
        named = iter(names)
        for model, pairs in opened.items():
            for health in self._health_of(model, pairs):
                yield DeploymentStatus(model, next(named), health.state, health.cooldowns, health.running)

    def _health_of(self, model: str, pairs: Sequence[_Pair]) -> list[Health]:
        if (group := self._groups.get(model)) is not None and len(group.candidates) == len(pairs):
            return [each.health for each in group.candidates]
        return [
            opened.health if isinstance(opened, OpenHandler) else Health(s.deployment.routing) for s, opened in pairs
        ]

    def resolve(self) -> None:
        """Decide each deployment's handler, but of those that wait for litellm. Blocks: prices are read, and litellm
        is imported where it alone knows whether a deployment can be served.

        Those that may be (`is_left_out`) are left out, with a line in the log. Raises `UpstreamUnknown` if that is each
        of them, and for what is wrong with any other.
        """
        if self._resolved is None:
            self._place(waits=self._previous is None and "litellm" not in sys.modules)
            self.price.read()

    def _place(self, *, waits: bool) -> None:
        placed: list[Served] = []
        resolved: dict[int, Upstream | LitellmMissing | None] = {}
        unserved: list[UpstreamUnknown] = []
        networks = Networks()
        for each in self._served:
            try:
                if not waits or not can_wait(each.deployment, each.handler, networks=networks):
                    resolved[len(placed)] = resolve(each.deployment, each.handler, networks=networks)
                placed.append(each)
            except LitellmMissing as error:  # its name is served, so that whoever asks for it is told why
                unserved.append(error)
                resolved[len(placed)] = error
                placed.append(each)
            except UpstreamUnknown as error:
                if not is_left_out(error, in_litellms_file=self._in_litellms_file):
                    raise
                unserved.append(error)
        if len(unserved) == len(self._served):
            raise unserved[0]
        for reason in unserved:
            logger.warning("%s; it is not served", reason)
        self._served, self._resolved = placed, resolved

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.resolve)
        handlers = await asyncio.to_thread(self._make_handlers)
        async with AsyncExitStack() as stack:
            for number, handler in enumerate(handlers):
                self._handlers.append(await stack.enter_async_context(handler))
                if number % _AT_ONCE == _AT_ONCE - 1:
                    await asyncio.sleep(0)  # requests of the configuration before go on
            self._stack = stack.pop_all()
        self._route()
        self._previous = None  # nor what was before it
        if not self.ready:
            self._loader = asyncio.create_task(self._load())
        return self

    def _make_handlers(self) -> list[OpenHandler | Loading]:
        resolved = self._resolved or {}
        kept: dict[str, list[OpenHandler]] = {}
        for each in () if self._previous is None else self._previous.open_handlers():
            kept.setdefault(each.served.deployment.name, []).append(each)
        networks = Networks()
        return [
            kept_handler(kept, each, resolved[number], networks) or open_handler(each, resolved[number], networks)
            if number in resolved
            else Loading(each.deployment)
            for number, each in enumerate(self._served)
        ]

    def open_handlers(self) -> Iterator[OpenHandler]:
        """In the order of the configuration."""
        return (handler for handler in self._handlers if isinstance(handler, OpenHandler))

    async def _load(self) -> None:
        loading = [(number, each) for number, each in enumerate(self._handlers) if isinstance(each, Loading)]
        while loading:
            some, loading = loading[:_AT_ONCE], loading[_AT_ONCE:]
            made = await in_daemon_thread(_resolved_and_made, [self._served[number] for number, _ in some])
            for (number, waiting), opened in zip(some, made, strict=True):
                error = opened if isinstance(opened, Exception) else await self._entered(number, opened)
                if error is not None:
                    logger.error("the model %s cannot be served", waiting.deployment.label, exc_info=error)
                    waiting.failed(error)
                elif isinstance(opened, OpenHandler):
                    waiting.done(opened.handler)
        self._route()

    async def _entered(self, number: int, opened: OpenHandler) -> Exception | None:
        """Opens the handler that another one has stood in for. What went wrong with it."""
        try:
            self._handlers[number] = await self._stack.enter_async_context(opened)
        except Exception as error:
            return error
        return None

    async def loaded(self) -> None:
        """Returns when nothing is loading any more, if it is loading now."""
        if self._loader is not None:
            await asyncio.wait([self._loader])

    def _route(self) -> None:
        """Send each name to its deployments, but to none that is loading, or never will be, if another is open."""
        grouped: dict[str, list[_Pair]] = {}
        for each, handler in zip(self._served, self._handlers, strict=True):
            grouped.setdefault(each.deployment.name, []).append((each, handler))
        self._opened = {name: _ready(served) or served for name, served in grouped.items()}
        self._groups, self._keepers, self._names = {}, None, ()
        self._routes = Routes((name, name) for name in self._opened)
        if self.fallbacks is not None:
            self.fallbacks.find = self.find
        for name in () if self._previous is None else self._previous.asked:
            if name in self._opened:  # what is known of its requests is to go on
                self._group(name)
        self._checks.watch(self._checked())
        if self.ready and (warning := ignored(self._unchecked())):
            logger.warning(warning)

    def _checked(self) -> Iterator[tuple[Candidate, Checkable]]:
        """Those whose health is checked, each with who asks."""
        for name, served in self._opened.items():
            if any(each.deployment.routing.check_seconds for each, _ in served):
                group = self._groups.get(name) or self._group(name)
                for candidate, (_, opened) in zip(group.candidates, served, strict=True):
                    if candidate.settings.check_seconds and isinstance(handler := _behind(opened), Checkable):
                        yield candidate, handler

    @property
    def asked(self) -> Sequence[str]:
        """The names that requests have asked for."""
        return list(self._groups)

    def _candidates(self, served: Iterable[_Pair]) -> list[Candidate]:
        made = []
        for entry, opened in served:
            each = entry.deployment
            handler, health = (opened, None) if isinstance(opened, Loading) else (opened.handler, opened.health)
            upstream = None if isinstance(opened, Loading) else opened.upstream
            native = None if isinstance(upstream, Upstream) else native_upstream(each, entry.handler)
            asked_in = protocols_of(each, upstream, native)
            protocols = Protocols(asked_in, target_of(each, upstream))
            keeper = handler if keeps(handler) else None
            made.append(Candidate(each, self._within_quota(each, handler), health, protocols, keeper))
        return made

    def _group(self, name: str) -> Group:
        """The deployments of a name, made for the first request that asks for it: most of many names are seldom asked
        for. With what one of the same deployments and settings has learned: whose turn it is, where sessions are."""
        candidates = self._candidates(self._opened[name])
        settings, previous = self._settings.get(name, GroupSettings()), self._previous
        before = None if previous is None else previous.group(name, settings, self._sessions)
        kept = before is not None and [c.health for c in before.candidates] == [c.health for c in candidates]
        self._groups[name] = group = Group(
            candidates,
            before.balancer if before is not None and kept else balancer_of(settings, self._sessions),
            before.retries if before is not None else None,
            fallbacks=self.fallbacks,
            missing_usage=self._missing_usage,
        )
        return group

    def group(self, name: str, settings: GroupSettings, sessions: Sequence[IdentitySource]) -> Group | None:
        """The deployments of a name, if it was asked for and one of them is chosen in this way."""
        same = self._settings.get(name, GroupSettings()) == settings and self._sessions == sessions
        return self._groups.get(name) if same else None

    def _unchecked(self) -> Iterator[str]:
        """The models that are to be checked, and cannot be."""
        for each, opened in zip(self._served, self._handlers, strict=True):
            if each.deployment.routing.check_seconds and not isinstance(_behind(opened), Checkable):
                yield each.deployment.name

    def _within_quota(self, deployment: Deployment, handler: Handler) -> Handler:
        if self.quotas is None or not deployment.is_limited:
            return handler
        quota = self.quotas.quota(deployment.account, deployment.quota, adaptive=deployment.adaptive)
        return WithinQuota(handler, quota)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await stopped(self._loader)
        await self._checks.close()
        self._routes = None
        await self._stack.aclose()


def _resolved_and_made(served: Iterable[Served]) -> list[OpenHandler | Exception]:
    """The handlers of those that have waited for litellm, or why one cannot be served. In a thread."""
    made: list[OpenHandler | Exception] = []
    networks = Networks()
    for each in served:
        try:
            made.append(open_handler(each, resolve(each.deployment, each.handler, networks=networks), networks))
        except Exception as error:
            made.append(error)
    return made


def _ready(group: Iterable[_Pair]) -> list[_Pair]:
    return [(served, opened) for served, opened in group if not isinstance(_behind(opened), Loading | Missing)]


def _behind(opened: OpenHandler | Loading) -> Handler:
    return opened.handler if isinstance(opened, OpenHandler) else opened
