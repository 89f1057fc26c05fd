"""The plugins in their one order: in which homes each stands, and when. How one is made stands in `making.py`.

`PLACES` is the list, outermost first. The request meets the plugins in this order, the answer in reverse. Outside Auth
stand those that see every request, also the one without a good key. Right inside it stands Usage, so that every request
of a key leaves a record. Innermost stand those that deal with the answer as the provider gave it.

Every home takes its slice of the list: `assemble(parts, "gateway")` takes all of it, `make(Auth, parts)` one plugin.
No other file asks whether a plugin is one of ours; a test refuses it.
"""

import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal, TypeVar

import msgspec

from crplugins.config import Config, arrange_plugins
from crplugins.core.plugin import Plugin
from crplugins.homes import making
from crplugins.homes.parts import Parts

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
    return config.has_limited_deployment()


class Place(msgspec.Struct, frozen=True):
    """Where one plugin stands, and how it is made.

    Attributes:
        plugins: `module:class` of each that may stand here. Text, because some need a package that may be absent.
        make: makes the first of them.
        homes: those in which it stands.
        when: whether the configuration asks for it in a home.
        anywhere: what it does is the same whatever stands further in, so a named middleware may be added in any order.
        innermost: stands after one's own plugins too.
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


PLACES: Final[Sequence[Place]] = (
    Place(("crplugins.homes.metrics:MetricsPage",), making.metrics_page, frozenset({"vllm", "own_app"}), _if_metrics),
    Place(("crplugins.plugins.tracing.plugin:Tracing",), making.tracing, _NOT_OWN_APP, _if_tracing),
    Place(("crplugins.plugins.metrics.plugin:Metrics",), making.metrics, _EVERYWHERE, _if_metrics),
    Place(("crplugins.plugins.activity:Activity",), making.activity, frozenset({"gateway"}), _if_admin),
    Place(("crplugins.plugins.access_log:AccessLog",), making.access_log, _NOT_OWN_APP, _if_access_log),
    Place(("crplugins.plugins.server_timing:ServerTiming",), making.server_timing, _AROUND),
    Place(
        ("crplugins.plugins.auth:Auth", "crplugins.plugins.host_principal:HostPrincipal"),
        making.auth,
        _AROUND | {"own_app"},
        _if_keys,
    ),
    Place(("crplugins.homes.vllm:VllmRoutes",), making.vllm_routes, frozenset({"vllm"})),
    Place(("crplugins.homes.litellm_proxy.routes:LitellmRoutes",), making.litellm_routes, frozenset({"litellm_entry"})),
    Place(("crplugins.plugins.usage:Usage",), making.usage),
    # Inside Usage, so that what is refused leaves a record; before the body is read, so that it costs no memory.
    Place(("crplugins.plugins.admission:Admission",), making.admission, _EVERYWHERE, _if_admission),
    # Inside Usage, because it has the body read: a body that is refused for itself leaves a record too.
    Place(("crplugins.homes.litellm_proxy.entry:ProxyModelNames",), making.model_names, frozenset({"litellm_entry"})),
    Place(
        ("crplugins.plugins.guard.plugin:RequestGuard",),
        making.guard,
        _AROUND | {"litellm_callback"},
        _if_guard,
    ),
    Place(
        ("crplugins.plugins.stored_responses:StoredResponses",), making.stored_responses, _AROUND_ONE_APP, anywhere=True
    ),
    Place(
        ("crplugins.plugins.stored_responses:ResponseAccess",),
        making.response_access,
        _AROUND_ONE_APP,
        anywhere=True,
    ),
    Place(
        ("crplugins.plugins.stored_responses:MessageThreads",),
        making.message_threads,
        _AROUND_ONE_APP,
        anywhere=True,
    ),
    Place(("crplugins.plugins.aliases.plugin:ModelAliases",), making.aliases),
    Place(("crplugins.plugins.rate_limits.plugin:RateLimits",), making.rate_limits),
    Place(("crplugins.plugins.budgets.plugin:Budgets",), making.budgets),
    # Behind Auth and Budgets, so that keys and budgets are open before it and closed behind it.
    Place(
        ("crplugins.homes.webhooks.plugin:Webhooks",),
        making.webhooks,
        frozenset({"gateway", "vllm", "litellm_entry", "litellm_callback"}),
        _if_webhooks,
    ),
    # Likewise: how the limits stand is sent once more when the process ends.
    Place(
        ("crplugins.homes.metrics_push:MetricsPush",),
        making.metrics_push,
        _EVERYWHERE - {"litellm_other_apis"},
        _if_otlp,
        anywhere=True,
    ),
    Place(
        ("crplugins.plugins.rate_limits.deployments:DeploymentQuotas",),
        making.deployment_quotas,
        frozenset({"gateway"}),  # elsewhere another's router chooses the deployment, or there is one alone
        _if_quotas,
    ),
    Place(("crplugins.plugins.disconnects:Disconnects",), making.disconnects, _AROUND | {"own_app"}, anywhere=True),
    Place(
        ("crplugins.plugins.stream_usage:StreamUsage",),
        making.stream_usage,
        _AROUND | {"own_app"},
        anywhere=True,
    ),
    Place(
        ("crplugins.plugins.missing_usage:MissingUsage",),
        making.missing_usage,
        _AROUND | {"own_app", "litellm_callback"},
        anywhere=True,
    ),
    Place(
        ("crplugins.homes.litellm_proxy.names:ServedModels",),
        making.served_models,
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
