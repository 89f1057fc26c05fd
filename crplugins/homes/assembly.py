"""The plugins in their one order: how each is made, and in which homes it stands.

`PLACES` is the list, outermost first. The request meets the plugins in this order, the answer in reverse. Outside Auth
stand those that see every request, also the one without a good key. Right inside it stands Usage, so that every request
of a key leaves a record. Innermost stand those that deal with the answer as the provider gave it.

Every home takes its slice of the list: `assemble(parts, "gateway")` takes all of it, `make(Auth, parts)` one plugin.
No other file asks whether a plugin is one of ours; a test refuses it.
"""

import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from crplugins.config import Config, arrange_plugins
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

Home = Literal["gateway", "vllm", "own_app", "litellm_entry", "litellm_callback", "litellm_other_apis"]
"""Where plugins run.

`own_app` is the named middlewares. `litellm_entry` stands around LiteLLM's whole proxy, `litellm_callback` in its
hooks. `litellm_other_apis` is what the hooks run for a request that is no chat completion.
"""

P = TypeVar("P", bound=Plugin)

ONLY_THE_GATEWAY: Final = "only crplugins' own gateway chooses between deployments; limits.per_model bounds a model"

logger = logging.getLogger("crplugins.homes")

_AROUND: Final[frozenset[Home]] = frozenset({"gateway", "vllm", "litellm_entry"})
"""Homes in which plugins see bytes. LiteLLM's hooks cannot read on, and ask for usage by themselves."""

_AROUND_ONE_APP: Final[frozenset[Home]] = frozenset({"gateway", "vllm", "own_app"})
"""LiteLLM's proxy binds the ids of responses to its users itself."""

_EVERYWHERE: Final[frozenset[Home]] = _AROUND | {"own_app", "litellm_callback", "litellm_other_apis"}
_NOT_OWN_APP: Final[frozenset[Home]] = _EVERYWHERE - {"own_app"}


def _always(config: Config, home: Home) -> bool:  # noqa: ARG001  # one of the forms of `when`
    return True


def _if_metrics(config: Config, home: Home) -> bool:  # noqa: ARG001
    return config.metrics is not None


def _if_otlp(config: Config, home: Home) -> bool:  # noqa: ARG001
    return config.metrics is not None and config.metrics.otlp is not None


def _if_tracing(config: Config, home: Home) -> bool:  # noqa: ARG001
    return config.tracing


def _if_access_log(config: Config, home: Home) -> bool:
    """A host that has lines of its own for requests need not have ours too, unless somebody asks for them."""
    return config.server.access_log and (home == "gateway" or "access_log" in config.server.model_fields_set)


def _if_admin(config: Config, home: Home) -> bool:  # noqa: ARG001
    return config.admin is not None


def _if_keys(config: Config, home: Home) -> bool:
    """Without `keys` vLLM's own key may do. Elsewhere Auth has its place, and other plugins theirs next to it."""
    return home != "vllm" or "keys" in config.model_fields_set


def _if_guard(config: Config, home: Home) -> bool:
    """Without `guard` vLLM checks requests itself: it takes more than OpenAI does."""
    return home != "vllm" or "guard" in config.model_fields_set


def _if_admission(config: Config, home: Home) -> bool:
    """In the gateway always: it is told when the process is to end, and takes nothing more then."""
    return home == "gateway" or config.server.max_in_flight is not None


def _if_webhooks(config: Config, home: Home) -> bool:  # noqa: ARG001
    return bool(config.webhooks)


def _if_quotas(config: Config, home: Home) -> bool:  # noqa: ARG001
    return any(deployment.is_limited for deployment in config.deployments())


@dataclass(frozen=True)
class Place:
    """Where one plugin stands, and how it is made.

    Attributes:
        plugins: `module:class` of each that may stand here. Text, because some need a package that may be absent.
        make: makes the first of them.
        homes: those in which it stands.
        when: whether the configuration asks for it in a home.
        anywhere: what it does is the same whatever stands further in, so a named middleware may be added in any order.
        innermost: stands behind one's own plugins too.
    """

    plugins: tuple[str, ...]
    make: Callable[[Parts], Plugin]
    homes: frozenset[Home] = _EVERYWHERE
    when: Callable[[Config, Home], bool] = _always
    anywhere: bool = False
    innermost: bool = False

    def holds(self, plugin: Plugin) -> bool:
        """Whether `plugin` is one that stands here. A class that nobody has imported has no instances."""
        for name in self.plugins:
            module, _, kind = name.partition(":")
            loaded = sys.modules.get(module)
            if loaded is not None and isinstance(plugin, getattr(loaded, kind)):
                return True
        return False


def _tracing(parts: Parts) -> Plugin:  # noqa: ARG001
    from crplugins.plugins.tracing.plugin import Tracing  # raises ImportError without the `otel` extra

    return Tracing()


def _metrics_page(parts: Parts) -> Plugin:
    from crplugins.homes.metrics import MetricsPage  # prometheus_client, needed only here

    assert parts.scraper is not None, "`when` asks for metrics"
    assert parts.config.metrics is not None, "`when` asks for metrics"
    return MetricsPage(parts.scraper, path=parts.config.metrics.path)


def _metrics(parts: Parts) -> Plugin:
    assert parts.metrics is not None, "`when` asks for metrics"
    return parts.metrics


def _activity(parts: Parts) -> Plugin:  # noqa: ARG001
    from crplugins.plugins.activity import Activity

    return Activity()


def _access_log(parts: Parts) -> Plugin:  # noqa: ARG001
    from crplugins.plugins.access_log import AccessLog

    return AccessLog()


def _auth(parts: Parts) -> Auth:
    return Auth(parts.keys, public_paths=parts.public_paths)


def _vllm_routes(parts: Parts) -> Plugin:
    from crplugins.homes.vllm import VllmRoutes

    return VllmRoutes.of(parts.config)


def _litellm_routes(parts: Parts) -> Plugin:
    from crplugins.homes.litellm_proxy.routes import LitellmRoutes

    return LitellmRoutes.of(parts.config, parts.public_paths)


def _usage(parts: Parts) -> Usage:
    prices = parts.prices if parts.prices_records else None
    sinks = [*parts.streams, *parts.sinks]
    return Usage(parts.ledger, sinks=sinks, metadata=parts.config.usage.metadata, prices=prices)


def _admission(parts: Parts) -> Admission:
    return Admission(
        parts.config.server.max_in_flight,
        known=lambda: {key.principal.priority for key in listed_keys(parts.keys)},
    )


def _model_in_path(parts: Parts) -> Plugin:  # noqa: ARG001
    from crplugins.homes.litellm_proxy.entry import ModelInPath

    return ModelInPath()


def _rate_limits(parts: Parts) -> RateLimits:
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


def _budgets(parts: Parts) -> Budgets:
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


def _webhooks(parts: Parts) -> Plugin:
    from crplugins.homes.webhooks.opening import open_webhooks  # the HTTP client, needed only here

    assert parts.budget_watch is not None, "`when` asks for webhooks"
    return open_webhooks(parts.config.webhooks, parts.receivers, parts.budget_watch, parts.reservations, parts.keys)


def _metrics_push(parts: Parts) -> Plugin:
    assert parts.metrics_push is not None, "`when` asks for metrics over OTLP"
    return parts.metrics_push


def _stored_responses(parts: Parts) -> StoredResponses:
    here = HERE if parts.place_of is None else None
    background = here is None and parts.config.responses.max_background > 0
    return StoredResponses(_response_ids(parts), here=here, background=background)


def _response_ids(parts: Parts) -> ResponseIds:
    place_of = parts.place_of or (lambda tag: HERE if tag == HERE.tag else None)
    return ResponseIds(place_of, parts.config.responses.secrets, shared_secret())


def _deployment_quotas(parts: Parts) -> DeploymentQuotas:
    config = parts.config
    return DeploymentQuotas(
        store=parts.reservations,
        shadow=config.limits.shadow,
        estimated_output_tokens=config.limits.estimated_output_tokens,
        missing_usage=config.missing_usage,
    )


def _disconnects(parts: Parts) -> Disconnects:
    usage = parts.config.usage
    return Disconnects(parts.config.on_disconnect, drain_seconds=usage.drain_seconds, drain_tokens=usage.drain_tokens)


def _missing_usage(parts: Parts) -> MissingUsage:
    if parts.config.usage.estimator == "bytes":
        return MissingUsage(parts.config.missing_usage)
    from crplugins.handlers.litellm.estimator import LitellmEstimator

    return MissingUsage(parts.config.missing_usage, estimator=LitellmEstimator())


def _served_models(parts: Parts) -> Plugin:
    from crplugins.homes.litellm_proxy.names import ServedModels

    return ServedModels(parts.prices, own_keys=bool(parts.config.keys))


PLACES: Final[Sequence[Place]] = (
    Place(("crplugins.homes.metrics:MetricsPage",), _metrics_page, frozenset({"vllm", "own_app"}), _if_metrics),
    Place(("crplugins.plugins.tracing.plugin:Tracing",), _tracing, _NOT_OWN_APP, _if_tracing),
    Place(("crplugins.plugins.metrics.plugin:Metrics",), _metrics, _EVERYWHERE, _if_metrics),
    Place(("crplugins.plugins.activity:Activity",), _activity, frozenset({"gateway"}), _if_admin),
    Place(("crplugins.plugins.access_log:AccessLog",), _access_log, _NOT_OWN_APP, _if_access_log),
    Place(("crplugins.plugins.server_timing:ServerTiming",), lambda _parts: ServerTiming(), _AROUND),
    Place(
        ("crplugins.plugins.auth:Auth", "crplugins.plugins.host_principal:HostPrincipal"),
        _auth,
        _AROUND | {"own_app"},
        _if_keys,
    ),
    Place(("crplugins.homes.vllm:VllmRoutes",), _vllm_routes, frozenset({"vllm"})),
    Place(("crplugins.homes.litellm_proxy.routes:LitellmRoutes",), _litellm_routes, frozenset({"litellm_entry"})),
    Place(("crplugins.plugins.usage:Usage",), _usage),
    # Behind Usage, so that what is refused leaves a record; before the body is read, so that it costs no memory.
    Place(("crplugins.plugins.admission:Admission",), _admission, _EVERYWHERE, _if_admission),
    # Behind Usage, because it has the body read: a body that is refused for itself leaves a record too.
    Place(("crplugins.homes.litellm_proxy.entry:ModelInPath",), _model_in_path, frozenset({"litellm_entry"})),
    Place(
        ("crplugins.plugins.guard.plugin:RequestGuard",),
        lambda parts: RequestGuard(strict=parts.config.guard.strict),
        _AROUND | {"litellm_callback"},
        _if_guard,
    ),
    Place(("crplugins.plugins.stored_responses:StoredResponses",), _stored_responses, _AROUND_ONE_APP, anywhere=True),
    Place(
        ("crplugins.plugins.stored_responses:ResponseAccess",),
        lambda parts: ResponseAccess(_response_ids(parts)),
        _AROUND_ONE_APP,
        anywhere=True,
    ),
    Place(
        ("crplugins.plugins.stored_responses:MessageThreads",),
        lambda _parts: MessageThreads(),
        _AROUND_ONE_APP,
        anywhere=True,
    ),
    Place(("crplugins.plugins.aliases.plugin:ModelAliases",), lambda parts: parts.aliases),
    Place(("crplugins.plugins.rate_limits.plugin:RateLimits",), _rate_limits),
    Place(("crplugins.plugins.budgets.plugin:Budgets",), _budgets),
    # Behind Auth and Budgets, so that keys and budgets are open before it and closed behind it.
    Place(
        ("crplugins.homes.webhooks.plugin:Webhooks",),
        _webhooks,
        frozenset({"gateway", "vllm", "litellm_entry", "litellm_callback"}),
        _if_webhooks,
    ),
    # Likewise: how the limits stand is sent once more when the process ends.
    Place(
        ("crplugins.homes.metrics_push:MetricsPush",),
        _metrics_push,
        _EVERYWHERE - {"litellm_other_apis"},
        _if_otlp,
        anywhere=True,
    ),
    Place(
        ("crplugins.plugins.rate_limits.deployments:DeploymentQuotas",),
        _deployment_quotas,
        frozenset({"gateway"}),  # elsewhere another's router chooses the deployment, or there is one alone
        _if_quotas,
    ),
    Place(("crplugins.plugins.disconnects:Disconnects",), _disconnects, _AROUND | {"own_app"}, anywhere=True),
    Place(
        ("crplugins.plugins.stream_usage:StreamUsage",),
        lambda _parts: StreamUsage(),
        _AROUND | {"own_app"},
        anywhere=True,
    ),
    Place(
        ("crplugins.plugins.missing_usage:MissingUsage",),
        _missing_usage,
        _AROUND | {"own_app", "litellm_callback"},
        anywhere=True,
    ),
    Place(
        ("crplugins.homes.litellm_proxy.names:ServedModels",),
        _served_models,
        frozenset({"litellm_entry", "litellm_callback", "litellm_other_apis"}),
        innermost=True,
    ),
)


def limits_deployments(config: Config) -> bool:
    """Whether there are limits of deployments, which only a home can keep that sends requests to them itself."""
    return bool(config.limits.per_deployment.model_fields_set)


_SOMEWHERE_ELSE: Final[Sequence[tuple[str, Callable[[Config], bool], frozenset[Home], str]]] = (
    ("limits.per_deployment", limits_deployments, frozenset({"gateway"}), ONLY_THE_GATEWAY),
    (
        "admin",
        lambda config: config.admin is not None,
        frozenset({"gateway"}),
        "only crplugins' own gateway serves the admin API",
    ),
    (
        "server.endpoints",
        lambda config: bool(config.server.endpoints),
        frozenset({"gateway"}),
        "the app inside has the endpoints that it has; a key opens no other paths than those that ask a model",
    ),
    (
        "prices",
        lambda config: config.prices is not None,
        frozenset({"gateway", "vllm"}),
        "LiteLLM has a table of its own, and what its `model_list` says",
    ),
)
"""Settings that do nothing in some homes: which, whether one is given, where it counts, and why not elsewhere."""


def assemble(parts: Parts, home: Home) -> list[Plugin]:
    """All plugins of a home, outermost first: ours, and those of `config.plugins` at their places.

    Raises `ConfigError` for one's own plugin that cannot be made or placed, ImportError for a missing extra.
    """
    for setting, is_given, homes, why in _SOMEWHERE_ELSE:
        if home not in homes and is_given(parts.config):
            logger.warning("%s is ignored: %s", setting, why)
    here = [place for place in PLACES if home in place.homes and place.when(parts.config, home)]
    ours = [place.make(parts) for place in here if not place.innermost]
    arranged = arrange_plugins(parts.config, ours, parts.own_plugin)
    return [*arranged, *(place.make(parts) for place in here if place.innermost)]


def make(kind: type[P], parts: Parts) -> P:
    """The one plugin of this kind, as the configuration has it."""
    name = f"{kind.__module__}:{kind.__qualname__}"
    made = next(place.make(parts) for place in PLACES if name in place.plugins)
    assert isinstance(made, kind), "each place makes the first of its plugins"
    return made


def place_of(plugin: Plugin) -> int | None:
    """The index of a plugin's place, outermost first; None for one's own plugins."""
    return next((index for index, place in enumerate(PLACES) if place.holds(plugin)), None)


def stands_in(plugin: Plugin, home: Home) -> bool:
    """Whether a plugin runs in this home. One's own plugins do in every one."""
    place = place_of(plugin)
    return place is None or home in PLACES[place].homes


def find(kind: type[P], plugins: Iterable[Plugin]) -> P | None:
    """The first plugin of this kind."""
    return next((plugin for plugin in plugins if isinstance(plugin, kind)), None)


def reads_chunks(plugin: Plugin) -> bool:
    """Whether each chunk of a stream must be shown to it."""
    kind = type(plugin)
    overrides = kind.on_event is not Plugin.on_event or kind.on_end is not Plugin.on_end
    return plugin.reads_chunks and overrides and (plugin.reads_events or plugin.rewrites_events)
