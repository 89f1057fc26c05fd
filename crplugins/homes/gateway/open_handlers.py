"""OpenHandler: the handler of a deployment, and how one is made or taken over from the configuration before."""

from collections.abc import Mapping
from typing import Final

import msgspec

from crplugins.core.network import Network, Networks
from crplugins.core.shared import Shared
from crplugins.handlers.demo_models import is_demo
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.handler import Handler
from crplugins.handlers.loading import Missing
from crplugins.handlers.routing.health import Health
from crplugins.handlers.upstream import (
    ANTHROPIC,
    GATEWAY_EXTRA,
    HandlerKind,
    LitellmMissing,
    Upstream,
    UpstreamUnknown,
    in_responses,
    may_be_responses_alone,
    native_upstream,
)


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


def kept_handler(
    handlers: Mapping[str, list[OpenHandler]],
    served: Served,
    upstream: Upstream | LitellmMissing | None,
    networks: Networks,
) -> OpenHandler | None:
    """Takes the one out of `handlers` that serves this deployment already, with the certificates of today.

    `handlers` are those of the configuration before, by model name.
    """
    of_name = handlers.get(served.deployment.name, [])
    for number, each in enumerate(of_name):
        if (each.served, each.upstream) != (served, upstream):
            continue
        if each.certificates == _network_of(served, networks).certificates:
            return of_name.pop(number)
    return None


def _network_of(served: Served, networks: Networks) -> Network:
    return networks.network(served.deployment.ssl_verify, served.deployment.certificate)


def open_handler(served: Served, upstream: Upstream | LitellmMissing | None, networks: Networks) -> OpenHandler:
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
            if network is not None:
                network.ready(upstream.base_url)
            if may_be_responses_alone(deployment, upstream, kind):
                from crplugins.handlers.any_model import AnyModel

                return AnyModel(deployment, upstream, network)
            from crplugins.handlers.direct import DirectHandler

            return DirectHandler(deployment, upstream, network)
        from crplugins.handlers.litellm.handler import LitellmHandler

        if network is not None:
            network.ready()
        own = native_upstream(deployment, kind)
        if own is None:
            return LitellmHandler(deployment, network)
        from crplugins.handlers.direct import DirectHandler
        from crplugins.handlers.native import Native, NativeKeeper

        if own.provider == ANTHROPIC:
            return Native(DirectHandler(deployment, own, network), LitellmHandler(deployment, network))
        return NativeKeeper(DirectHandler(deployment, own, network), LitellmHandler(in_responses(deployment), network))
    except ModuleNotFoundError as error:
        needs = f"needs {error.name}, which is not installed: {GATEWAY_EXTRA}"
        raise UpstreamUnknown(f"model '{deployment.name}': {needs}") from error
