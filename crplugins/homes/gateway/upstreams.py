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

import msgspec

from crplugins.core.daemon_thread import in_daemon_thread
from crplugins.core.identity import IdentitySource
from crplugins.core.network import Network, Networks
from crplugins.core.principal import MissingUsagePolicy
from crplugins.core.response_ids import ResponsesPlace
from crplugins.core.shared import Shared
from crplugins.core.waiting import stopped
from crplugins.handlers.demo_models import is_demo
from crplugins.handlers.deployment import Deployment, Routes, distinct_names
from crplugins.handlers.handler import Handler, Keeper, keeps
from crplugins.handlers.loading import Loading, Missing
from crplugins.handlers.quota import WithinQuota
from crplugins.handlers.routing.candidate import Candidate
from crplugins.handlers.routing.checks import Checkable, HealthChecks, ignored
from crplugins.handlers.routing.fallbacks import NO_FALLBACKS, FallbackNames, Fallbacks
from crplugins.handlers.routing.group import Group
from crplugins.handlers.routing.health import Health
from crplugins.handlers.routing.settings import GroupSettings
from crplugins.handlers.routing.strategy import balancer_of
from crplugins.handlers.spoken import Protocols, spoken_by, target_of
from crplugins.handlers.upstream import (
    ANTHROPIC,
    GATEWAY_EXTRA,
    HandlerKind,
    LitellmMissing,
    Upstream,
    UpstreamUnknown,
    can_wait,
    in_responses,
    is_left_out,
    may_be_responses_alone,
    native_upstream,
    resolve,
)
from crplugins.homes.price_list import PriceList
from crplugins.plugins.metrics.deployments import DeploymentStatus
from crplugins.plugins.rate_limits.deployments import DeploymentQuotas

logger = logging.getLogger("crplugins.gateway")


class Served(msgspec.Struct, frozen=True):
    """A deployment and the handler asked for it. Equal ones are served alike.

    `priced` is what its prices are made of.
    """

    deployment: Deployment
    handler: HandlerKind = "auto"
    priced: object = None


class OpenHandler(Shared):
    """The handler of a deployment, for every configuration that has the deployment: its connections stay open, and how
    it fares is known. To be made in a thread, as files of certificates are read.

    Args:
        upstream: where it is, as resolved from the environment too.
        network: how it is reached.
    """

    def __init__(
        self, served: Served, upstream: Upstream | LitellmMissing | None, handler: Handler, network: Network
    ) -> None:
        self.served: Final = served
        self.upstream: Final = upstream
        self.handler: Final = handler
        self.certificates: Final = network.certificates
        self.health: Final = Health(served.deployment.routing)

    async def open(self) -> None:
        await self.handler.__aenter__()

    async def close(self) -> None:
        await self.handler.__aexit__(None, None, None)


class Upstreams:
    """The handlers of a gateway, a resource of its PluginMiddleware.

    Args:
        groups: by model name, how one of its deployments is chosen.
        sessions: where clients name their session.
        previous: those of the configuration that this one replaces. What serves an unchanged deployment is kept.
        in_litellms_file: whether their file is LiteLLM's alone, where one that cannot be served stops no other.

    Attributes:
        quotas: makes the quotas of deployments, where there are any. To be set before this is entered.
        fallbacks: the names that answer in the place of others; None where there are none.
        missing_usage: what becomes of the tokens of a failed attempt that its provider has not counted; likewise.
    """

    def __init__(
        self,
        served: Sequence[Served],
        groups: Mapping[str, GroupSettings] = MappingProxyType({}),
        sessions: Sequence[IdentitySource] = (),
        fallbacks: FallbackNames = NO_FALLBACKS,
        previous: "Upstreams | None" = None,
        *,
        in_litellms_file: bool = False,
    ) -> None:
        self._in_litellms_file = in_litellms_file
        self.quotas: DeploymentQuotas | None = None
        self.missing_usage: MissingUsagePolicy = "estimate"
        self.fallbacks: Final = None if fallbacks == NO_FALLBACKS else Fallbacks(fallbacks)
        self._served = served
        self._settings: Final = groups
        self._sessions: Final = sessions
        self._resolved: dict[int, Upstream | LitellmMissing | None] | None = None
        self._previous = previous
        self._stack = AsyncExitStack()
        self._handlers: list[OpenHandler | Loading] = []
        self._loader: asyncio.Task[None] | None = None
        self._groups: Mapping[str, Group] = {}
        self._keepers: Mapping[bytes, Keeper] | None = None
        self._routes: Routes[Group] | None = None
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

    def find(self, model: str) -> Handler | None:
        return None if self._routes is None else self._routes.find(model)

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
        candidates = [each for group in self._groups.values() for each in group.candidates]
        names = distinct_names([each.deployment for each in candidates])
        for name, each in zip(names, candidates, strict=True):
            health = each.health
            yield DeploymentStatus(each.deployment.name, name, health.state, health.cooldowns, health.running)

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
            self._handlers = [await stack.enter_async_context(handler) for handler in handlers]
            self._stack = stack.pop_all()
        self._route()
        self._previous = None  # nor what was before it
        if not self.ready:
            self._loader = asyncio.create_task(self._load())
        return self

    def _make_handlers(self) -> list[OpenHandler | Loading]:
        resolved = self._resolved or {}
        kept = [] if self._previous is None else [*self._previous.open_handlers()]
        networks = Networks()
        return [
            _kept(kept, each, resolved[number], networks) or _open_handler(each, resolved[number], networks)
            if number in resolved
            else Loading(each.deployment)
            for number, each in enumerate(self._served)
        ]

    def open_handlers(self) -> Iterator[OpenHandler]:
        """In the order of the configuration."""
        return (handler for handler in self._handlers if isinstance(handler, OpenHandler))

    async def _load(self) -> None:
        for number, handler in enumerate(self._handlers):
            if isinstance(handler, Loading):
                served = self._served[number]
                try:
                    upstream = await in_daemon_thread(resolve, handler.deployment, served.handler)
                    opened = await in_daemon_thread(_open_handler, served, upstream, Networks())
                    self._handlers[number] = await self._stack.enter_async_context(opened)
                except Exception as error:
                    logger.exception("the model %s cannot be served", handler.deployment.label)
                    handler.failed(error)
                else:
                    handler.done(opened.handler)
        self._route()

    async def loaded(self) -> None:
        """Returns when nothing is loading any more, if it is loading now."""
        if self._loader is not None:
            await asyncio.wait([self._loader])

    def _route(self) -> None:
        """Send each name to its deployments, but to none that is loading, or never will be, if another is open."""
        grouped: dict[str, list[tuple[Served, OpenHandler | Loading]]] = {}
        for each, handler in zip(self._served, self._handlers, strict=True):
            grouped.setdefault(each.deployment.name, []).append((each, handler))
        made = {name: self._candidates(_ready(served) or served) for name, served in grouped.items()}
        self._groups = {name: self._group(name, [each for each, _ in pairs]) for name, pairs in made.items()}
        self._routes = Routes(self._groups.items())
        self._keepers = None
        if self.fallbacks is not None:
            self.fallbacks.find = self._routes.find
        self._checks.watch(
            (candidate, handler)
            for pairs in made.values()
            for candidate, handler in pairs
            if candidate.settings.check_seconds and isinstance(handler, Checkable)
        )
        if self.ready and (warning := ignored(self._unchecked())):
            logger.warning(warning)

    def _candidates(self, served: Iterable[tuple[Served, OpenHandler | Loading]]) -> list[tuple[Candidate, Handler]]:
        """Each with the handler that it asks while its quota lasts."""
        made = []
        for entry, opened in served:
            each = entry.deployment
            handler, health = (opened, None) if isinstance(opened, Loading) else (opened.handler, opened.health)
            upstream = None if isinstance(opened, Loading) else opened.upstream
            native = None if isinstance(upstream, Upstream) else native_upstream(each, entry.handler)
            spoken = spoken_by(each, upstream, native)
            protocols = Protocols(spoken, target_of(each, upstream))
            keeper = handler if keeps(handler) else None
            made.append((Candidate(each, self._within_quota(each, handler), health, protocols, keeper), handler))
        return made

    def _group(self, name: str, candidates: Sequence[Candidate]) -> Group:
        """With what one of the same deployments and settings has learned: whose turn it is, where sessions are."""
        settings, previous = self._settings.get(name, GroupSettings()), self._previous
        before = None if previous is None else previous.group(name, settings, self._sessions)
        kept = before is not None and [c.health for c in before.candidates] == [c.health for c in candidates]
        return Group(
            candidates,
            before.balancer if before is not None and kept else balancer_of(settings, self._sessions),
            before.retries if before is not None else None,
            fallbacks=self.fallbacks,
            missing_usage=self.missing_usage,
        )

    def group(self, name: str, settings: GroupSettings, sessions: Sequence[IdentitySource]) -> Group | None:
        """The deployments of a name, if one of them is chosen in this way."""
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


def _ready(
    group: Iterable[tuple[Served, OpenHandler | Loading]],
) -> list[tuple[Served, OpenHandler | Loading]]:
    return [(served, opened) for served, opened in group if not isinstance(_behind(opened), Loading | Missing)]


def _behind(opened: OpenHandler | Loading) -> Handler:
    return opened.handler if isinstance(opened, OpenHandler) else opened


def _kept(
    handlers: list[OpenHandler], served: Served, upstream: Upstream | LitellmMissing | None, networks: Networks
) -> OpenHandler | None:
    """Takes the one out of `handlers` that serves this deployment already, with the certificates of today."""
    for number, each in enumerate(handlers):
        if (each.served, each.upstream) != (served, upstream):
            continue
        if each.certificates == _network_of(served, networks).certificates:
            return handlers.pop(number)
    return None


def _network_of(served: Served, networks: Networks) -> Network:
    return networks.network(served.deployment.ssl_verify, served.deployment.certificate)


def _open_handler(served: Served, upstream: Upstream | LitellmMissing | None, networks: Networks) -> OpenHandler:
    network = _network_of(served, networks)
    handler = handler_of(served.deployment, upstream, served.handler, network)
    return OpenHandler(served, upstream, handler, network)


def handler_of(
    deployment: Deployment,
    upstream: Upstream | LitellmMissing | None,
    kind: HandlerKind = "litellm",
    network: Network | None = None,
) -> Handler:
    """Each kind is imported only where it is needed: in a thread, as that takes a while, and files are read.

    Raises `UpstreamUnknown` without the extra that brings its packages, and `ValueError` for certificates and headers
    that cannot be used.
    """
    if is_demo(deployment):
        from crplugins.handlers.demo import DemoHandler  # it needs much of what is litellm's

        return DemoHandler(deployment)
    if isinstance(upstream, LitellmMissing):
        return Missing(upstream.advice)
    try:
        if upstream is not None:
            network = (network or deployment.network()).ready(upstream.base_url)
            if may_be_responses_alone(deployment, upstream, kind):
                from crplugins.handlers.any_model import AnyModel

                return AnyModel(deployment, upstream, network)
            from crplugins.handlers.direct import DirectHandler

            return DirectHandler(deployment, upstream, network)
        from crplugins.handlers.litellm.handler import LitellmHandler

        own = native_upstream(deployment, kind)
        if own is None:
            return LitellmHandler(deployment)
        from crplugins.handlers.direct import DirectHandler
        from crplugins.handlers.native import Native, NativeKeeper

        if own.provider == ANTHROPIC:
            return Native(DirectHandler(deployment, own), LitellmHandler(deployment))
        return NativeKeeper(DirectHandler(deployment, own), LitellmHandler(in_responses(deployment)))
    except ModuleNotFoundError as error:
        needs = f"needs {error.name}, which is not installed: {GATEWAY_EXTRA}"
        raise UpstreamUnknown(f"model '{deployment.name}': {needs}") from error
