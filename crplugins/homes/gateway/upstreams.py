"""Upstreams: the handlers of a gateway, opened with it and closed with it."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from crplugins.handlers.deployment import Deployment, Routes
from crplugins.handlers.direct import DirectHandler
from crplugins.handlers.failover import Failover
from crplugins.handlers.handler import Handler
from crplugins.handlers.quota import WithinQuota
from crplugins.handlers.upstream import HandlerKind, Upstream, resolve
from crplugins.homes.price_list import PriceList
from crplugins.plugins.rate_limits.deployments import DeploymentQuotas
from crplugins.plugins.rate_limits.rules import NO_LIMITS


@dataclass(frozen=True, slots=True)
class Served:
    """A deployment and the handler asked for it."""

    deployment: Deployment
    handler: HandlerKind = "auto"


class Upstreams:
    """The handlers of a gateway, a resource of its PluginMiddleware.

    Attributes:
        quotas: makes the quotas of deployments, where there are any. To be set before this is entered.
    """

    def __init__(self, served: Sequence[Served]) -> None:
        self.quotas: DeploymentQuotas | None = None
        self._served = served
        self._resolved: list[tuple[Deployment, Upstream | None]] | None = None
        self._stack = AsyncExitStack()
        self._routes: Routes[Handler] | None = None
        self.price: Final = PriceList([s.deployment for s in served])

    @property
    def ready(self) -> bool:
        return self._routes is not None

    @property
    def served(self) -> list[str]:
        """The model names and patterns that are served, in the order of the configuration."""
        return list(dict.fromkeys(s.deployment.name for s in self._served))

    def find(self, model: str) -> Handler | None:
        return None if self._routes is None else self._routes.find(model)

    def resolve(self) -> None:
        """Decide each deployment's handler. Blocks: litellm may have to be imported.

        Raises `UpstreamUnknown`.
        """
        if self._resolved is None:
            self._resolved = [(s.deployment, resolve(s.deployment, s.handler)) for s in self._served]
            self.price.read()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.resolve)
        handlers = [(deployment, _handler(deployment, upstream)) for deployment, upstream in self._resolved or ()]
        for _, handler in handlers:
            await self._stack.enter_async_context(handler)
        self._routes = Routes(_by_name((each.name, self._within_quota(each, handler)) for each, handler in handlers))
        return self

    def _within_quota(self, deployment: Deployment, handler: Handler) -> Handler:
        if self.quotas is None or deployment.quota == NO_LIMITS:
            return handler
        return WithinQuota(handler, self.quotas.quota(deployment.account, deployment.quota))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._routes = None
        await self._stack.aclose()


def _by_name(handlers: Iterable[tuple[str, Handler]]) -> Iterator[tuple[str, Handler]]:
    """Each name with its handler, or with all of its handlers as one."""
    grouped: dict[str, list[Handler]] = {}
    for name, handler in handlers:
        grouped.setdefault(name, []).append(handler)
    for name, group in grouped.items():
        yield name, group[0] if len(group) == 1 else Failover(name, group)


def _handler(deployment: Deployment, upstream: Upstream | None) -> Handler:
    if upstream is not None:
        return DirectHandler(deployment, upstream)
    from crplugins.handlers.litellm.handler import LitellmHandler  # litellm is loaded only where it is needed

    return LitellmHandler(deployment)
