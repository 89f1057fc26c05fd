"""How each plugin is made from the parts of its home. What needs a package that may be absent is imported here alone.

`assembly.py` has their order.
"""

from crplugins.core.plugin import Plugin
from crplugins.core.processes import shared_secret
from crplugins.core.response_ids import HERE, ResponseIds
from crplugins.homes.parts import Parts
from crplugins.keys.source import listed_keys
from crplugins.plugins.admission import Admission
from crplugins.plugins.auth import Auth
from crplugins.plugins.budgets.plugin import Budgets
from crplugins.plugins.disconnects import Disconnects
from crplugins.plugins.guard.plugin import RequestGuard
from crplugins.plugins.missing_usage import MissingUsage
from crplugins.plugins.rate_limits.deployments import DeploymentQuotas
from crplugins.plugins.rate_limits.plugin import RateLimits
from crplugins.plugins.server_timing import ServerTiming
from crplugins.plugins.stored_responses import MessageThreads, ResponseAccess, StoredResponses
from crplugins.plugins.stream_usage import StreamUsage
from crplugins.plugins.usage import Usage


def tracing(parts: Parts) -> Plugin:  # noqa: ARG001
    from crplugins.plugins.tracing.plugin import Tracing  # raises ImportError without the `otel` extra

    return Tracing()


def metrics_page(parts: Parts) -> Plugin:
    from crplugins.homes.metrics import MetricsPage  # needed only here

    assert parts.scraper is not None, "`when` asks for metrics"
    assert parts.config.metrics is not None, "`when` asks for metrics"
    return MetricsPage(parts.scraper, path=parts.config.metrics.path)


def metrics(parts: Parts) -> Plugin:
    assert parts.metrics is not None, "`when` asks for metrics"
    return parts.metrics


def activity(parts: Parts) -> Plugin:  # noqa: ARG001
    from crplugins.plugins.activity import Activity

    return Activity()


def access_log(parts: Parts) -> Plugin:  # noqa: ARG001
    from crplugins.plugins.access_log import AccessLog

    return AccessLog()


def auth(parts: Parts) -> Auth:
    return Auth(parts.keys, public_paths=parts.public_paths)


def vllm_routes(parts: Parts) -> Plugin:
    from crplugins.homes.vllm import VllmRoutes

    return VllmRoutes.of(parts.config)


def litellm_routes(parts: Parts) -> Plugin:
    from crplugins.homes.litellm_proxy.routes import LitellmRoutes

    return LitellmRoutes.of(parts.config, parts.public_paths)


def usage(parts: Parts) -> Usage:
    prices = parts.prices if parts.prices_records else None
    sinks = [*parts.streams, *parts.sinks]
    return Usage(parts.ledger, sinks=sinks, metadata=parts.config.usage.metadata, prices=prices)


def admission(parts: Parts) -> Admission:
    return Admission(
        parts.config.server.max_in_flight,
        known=lambda: {key.principal.priority for key in listed_keys(parts.keys)},
    )


def model_names(parts: Parts) -> Plugin:  # noqa: ARG001
    from crplugins.homes.litellm_proxy.entry import ModelNames

    return ModelNames()


def rate_limits(parts: Parts) -> RateLimits:
    config = parts.config
    return RateLimits(
        config.limits.rules(),
        store=parts.reservations,
        trusted_proxies=config.limits.trusted_proxies,
        identities=parts.identities,
        estimated_output_tokens=config.limits.estimated_output_tokens,
        max_debt=config.limits.max_debt,
        missing_usage=config.missing_usage,
    )


def budgets(parts: Parts) -> Budgets:
    config = parts.config
    return Budgets(
        config.budgets.key(),
        config.budgets.teams(),
        per_user=config.budgets.user(),
        per_session=config.budgets.session(),
        identities=parts.identities,
        prices=parts.prices,
        serves=parts.serves,
        unknown_price="refuse" if config.budgets.refuses_unknown_price else "allow",
        warnings=lambda: parts.unpriced_warnings(parts.models),
        spent=parts.spent_before,
        warn_at=config.budgets.warn_at,
        shadow=config.budgets.shadow,
        store=parts.reservations,
        estimated_output_tokens=config.limits.estimated_output_tokens,
        missing_usage=config.missing_usage,
        watch=parts.budget_watch,
    )


def webhooks(parts: Parts) -> Plugin:
    from crplugins.homes.webhooks.opening import open_webhooks  # the HTTP client, needed only here

    assert parts.budget_watch is not None, "`when` asks for webhooks"
    return open_webhooks(parts.config.webhooks, parts.receivers, parts.budget_watch, parts.reservations, parts.keys)


def metrics_push(parts: Parts) -> Plugin:
    assert parts.metrics_push is not None, "`when` asks for metrics over OTLP"
    return parts.metrics_push


def stored_responses(parts: Parts) -> StoredResponses:
    here = HERE if parts.place_of is None else None
    background = here is None and parts.config.responses.max_background > 0
    return StoredResponses(_response_ids(parts), here=here, background=background)


def _response_ids(parts: Parts) -> ResponseIds:
    place_of = parts.place_of or (lambda tag: HERE if tag == HERE.tag else None)
    return ResponseIds(place_of, parts.config.responses.secrets, shared_secret())


def deployment_quotas(parts: Parts) -> DeploymentQuotas:
    config = parts.config
    return DeploymentQuotas(
        store=parts.reservations,
        shadow=config.limits.shadow,
        estimated_output_tokens=config.limits.estimated_output_tokens,
        missing_usage=config.missing_usage,
    )


def disconnects(parts: Parts) -> Disconnects:
    usage = parts.config.usage
    return Disconnects(parts.config.on_disconnect, drain_seconds=usage.drain_seconds, drain_tokens=usage.drain_tokens)


def missing_usage(parts: Parts) -> MissingUsage:
    if parts.config.usage.estimator == "bytes":
        return MissingUsage(parts.config.missing_usage)
    from crplugins.handlers.litellm.estimator import LitellmEstimator

    return MissingUsage(parts.config.missing_usage, estimator=LitellmEstimator())


def served_models(parts: Parts) -> Plugin:
    from crplugins.homes.litellm_proxy.names import ServedModels

    return ServedModels(parts.prices, own_keys=bool(parts.config.keys))


def server_timing(parts: Parts) -> Plugin:  # noqa: ARG001
    return ServerTiming()


def guard(parts: Parts) -> RequestGuard:
    return RequestGuard(strict=parts.config.guard.strict)


def response_access(parts: Parts) -> ResponseAccess:
    return ResponseAccess(_response_ids(parts))


def message_threads(parts: Parts) -> MessageThreads:  # noqa: ARG001
    return MessageThreads()


def aliases(parts: Parts) -> Plugin:
    return parts.aliases


def stream_usage(parts: Parts) -> StreamUsage:  # noqa: ARG001
    return StreamUsage()
