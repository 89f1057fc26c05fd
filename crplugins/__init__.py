"""Composable ASGI middleware and hooks for an OpenAI-compatible chat completions gateway.

Importing this costs a millisecond: each public name is loaded when it is first used, so that a plugin in somebody
else's app never pays for the gateway's dependencies.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crplugins.asgi.middleware import PluginMiddleware as PluginMiddleware
    from crplugins.core.body import Body as Body
    from crplugins.core.errors import GatewayError as GatewayError
    from crplugins.core.exchange import Exchange as Exchange
    from crplugins.core.exchange import Refusal as Refusal
    from crplugins.core.exchange import Reply as Reply
    from crplugins.core.exchange import Slot as Slot
    from crplugins.core.hold_back import HoldBack as HoldBack
    from crplugins.core.identity import Identities as Identities
    from crplugins.core.identity import IdentityRules as IdentityRules
    from crplugins.core.identity import IdentitySource as IdentitySource
    from crplugins.core.plugin import Plugin as Plugin
    from crplugins.core.principal import Budget as Budget
    from crplugins.core.principal import Limits as Limits
    from crplugins.core.principal import Principal as Principal
    from crplugins.core.sse import Event as Event
    from crplugins.core.usage import TokenUsage as TokenUsage
    from crplugins.homes.gateway import Gateway as Gateway
    from crplugins.homes.middlewares import AdmissionMiddleware as AdmissionMiddleware
    from crplugins.homes.middlewares import AuthMiddleware as AuthMiddleware
    from crplugins.homes.middlewares import BudgetMiddleware as BudgetMiddleware
    from crplugins.homes.middlewares import HostPrincipalMiddleware as HostPrincipalMiddleware
    from crplugins.homes.middlewares import MetricsMiddleware as MetricsMiddleware
    from crplugins.homes.middlewares import ModelAliasMiddleware as ModelAliasMiddleware
    from crplugins.homes.middlewares import RateLimitMiddleware as RateLimitMiddleware
    from crplugins.homes.middlewares import StreamUsageMiddleware as StreamUsageMiddleware
    from crplugins.homes.middlewares import UsageMiddleware as UsageMiddleware
    from crplugins.keys.file import FileKeys as FileKeys
    from crplugins.keys.inline import InlineKeys as InlineKeys
    from crplugins.keys.jwt import JwtKeys as JwtKeys
    from crplugins.keys.sql import SqlKeys as SqlKeys
    from crplugins.ledger.ledger import Ledger as Ledger
    from crplugins.limits.memory import MemoryStore as MemoryStore
    from crplugins.limits.redis.store import RedisStore as RedisStore
    from crplugins.limits.sqlite.store import SqliteStore as SqliteStore
    from crplugins.metering.record import UsageRecord as UsageRecord
    from crplugins.plugins.access_log import AccessLog as AccessLog
    from crplugins.plugins.activity import Activity as Activity
    from crplugins.plugins.admission import Admission as Admission
    from crplugins.plugins.aliases.plugin import ModelAliases as ModelAliases
    from crplugins.plugins.auth import Auth as Auth
    from crplugins.plugins.budgets.plugin import Budgets as Budgets
    from crplugins.plugins.disconnects import Disconnects as Disconnects
    from crplugins.plugins.guard.plugin import RequestGuard as RequestGuard
    from crplugins.plugins.host_principal import HostPrincipal as HostPrincipal
    from crplugins.plugins.metrics.plugin import Metrics as Metrics
    from crplugins.plugins.missing_usage import MissingUsage as MissingUsage
    from crplugins.plugins.rate_limits.plugin import RateLimits as RateLimits
    from crplugins.plugins.rate_limits.rules import LimitRules as LimitRules
    from crplugins.plugins.rate_limits.rules import SessionLimits as SessionLimits
    from crplugins.plugins.server_timing import ServerTiming as ServerTiming
    from crplugins.plugins.stream_usage import StreamUsage as StreamUsage
    from crplugins.plugins.tracing.plugin import Tracing as Tracing
    from crplugins.plugins.usage import Usage as Usage

__version__ = "0.1.0"

_HOMES = {
    "AccessLog": "crplugins.plugins.access_log",
    "Activity": "crplugins.plugins.activity",
    "Admission": "crplugins.plugins.admission",
    "AdmissionMiddleware": "crplugins.homes.middlewares",
    "Auth": "crplugins.plugins.auth",
    "AuthMiddleware": "crplugins.homes.middlewares",
    "Body": "crplugins.core.body",
    "Budget": "crplugins.core.principal",
    "BudgetMiddleware": "crplugins.homes.middlewares",
    "Budgets": "crplugins.plugins.budgets.plugin",
    "Disconnects": "crplugins.plugins.disconnects",
    "Event": "crplugins.core.sse",
    "Exchange": "crplugins.core.exchange",
    "FileKeys": "crplugins.keys.file",
    "Gateway": "crplugins.homes.gateway",
    "GatewayError": "crplugins.core.errors",
    "HoldBack": "crplugins.core.hold_back",
    "HostPrincipal": "crplugins.plugins.host_principal",
    "HostPrincipalMiddleware": "crplugins.homes.middlewares",
    "Identities": "crplugins.core.identity",
    "IdentityRules": "crplugins.core.identity",
    "IdentitySource": "crplugins.core.identity",
    "InlineKeys": "crplugins.keys.inline",
    "JwtKeys": "crplugins.keys.jwt",
    "Ledger": "crplugins.ledger.ledger",
    "LimitRules": "crplugins.plugins.rate_limits.rules",
    "Limits": "crplugins.core.principal",
    "MemoryStore": "crplugins.limits.memory",
    "Metrics": "crplugins.plugins.metrics.plugin",
    "MetricsMiddleware": "crplugins.homes.middlewares",
    "MissingUsage": "crplugins.plugins.missing_usage",
    "ModelAliasMiddleware": "crplugins.homes.middlewares",
    "ModelAliases": "crplugins.plugins.aliases.plugin",
    "Plugin": "crplugins.core.plugin",
    "PluginMiddleware": "crplugins.asgi.middleware",
    "Principal": "crplugins.core.principal",
    "RateLimitMiddleware": "crplugins.homes.middlewares",
    "RateLimits": "crplugins.plugins.rate_limits.plugin",
    "RedisStore": "crplugins.limits.redis.store",
    "Refusal": "crplugins.core.exchange",
    "Reply": "crplugins.core.exchange",
    "RequestGuard": "crplugins.plugins.guard.plugin",
    "ServerTiming": "crplugins.plugins.server_timing",
    "SessionLimits": "crplugins.plugins.rate_limits.rules",
    "Slot": "crplugins.core.exchange",
    "SqlKeys": "crplugins.keys.sql",
    "SqliteStore": "crplugins.limits.sqlite.store",
    "StreamUsage": "crplugins.plugins.stream_usage",
    "StreamUsageMiddleware": "crplugins.homes.middlewares",
    "TokenUsage": "crplugins.core.usage",
    "Tracing": "crplugins.plugins.tracing.plugin",
    "Usage": "crplugins.plugins.usage",
    "UsageMiddleware": "crplugins.homes.middlewares",
    "UsageRecord": "crplugins.metering.record",
}

_EXTRAS = {
    "Gateway": "gateway",
    "JwtKeys": "jwt",
    "Ledger": "sql",
    "RedisStore": "redis",
    "SqlKeys": "sql",
    "Tracing": "otel",
}
"""Names that need more than the base installation, and the extra that brings it."""


def __getattr__(name: str) -> object:
    if name == "__all__":
        return _installed()
    if name not in _HOMES:
        raise AttributeError(f"module 'crplugins' has no attribute '{name}'")
    try:
        value: object = getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(name)
        if extra is None or (error.name or "").startswith("crplugins"):
            raise
        raise ImportError(f"crplugins.{name} needs {error.name}: pip install 'crplugins[{extra}]'") from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*_HOMES, "__version__"]


def _installed() -> list[str]:
    """What a star import brings. A name whose extra is not installed fails who asks for it, and nobody else."""
    return [name for name in __dir__() if name not in _EXTRAS or _is_there(name)]


def _is_there(name: str) -> bool:
    try:
        __getattr__(name)
    except ImportError:
        return False
    return True
