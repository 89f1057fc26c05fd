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
    from crplugins.core.plugin import Plugin as Plugin
    from crplugins.core.principal import Principal as Principal
    from crplugins.core.sse import Event as Event
    from crplugins.core.usage import TokenUsage as TokenUsage
    from crplugins.homes.gateway.app import Gateway as Gateway
    from crplugins.homes.middlewares import AuthMiddleware as AuthMiddleware
    from crplugins.homes.middlewares import BudgetMiddleware as BudgetMiddleware
    from crplugins.homes.middlewares import HostPrincipalMiddleware as HostPrincipalMiddleware
    from crplugins.homes.middlewares import MetricsMiddleware as MetricsMiddleware
    from crplugins.homes.middlewares import ModelAliasMiddleware as ModelAliasMiddleware
    from crplugins.homes.middlewares import RateLimitMiddleware as RateLimitMiddleware
    from crplugins.homes.middlewares import StreamUsageMiddleware as StreamUsageMiddleware
    from crplugins.homes.middlewares import UsageMiddleware as UsageMiddleware
    from crplugins.plugins.auth import Auth as Auth
    from crplugins.plugins.guard.plugin import RequestGuard as RequestGuard
    from crplugins.plugins.host_principal import HostPrincipal as HostPrincipal
    from crplugins.plugins.usage import Usage as Usage

__version__ = "0.1.0"

_HOMES = {
    "Auth": "crplugins.plugins.auth",
    "AuthMiddleware": "crplugins.homes.middlewares",
    "Body": "crplugins.core.body",
    "BudgetMiddleware": "crplugins.homes.middlewares",
    "Event": "crplugins.core.sse",
    "Exchange": "crplugins.core.exchange",
    "Gateway": "crplugins.homes.gateway.app",
    "GatewayError": "crplugins.core.errors",
    "HostPrincipal": "crplugins.plugins.host_principal",
    "HostPrincipalMiddleware": "crplugins.homes.middlewares",
    "MetricsMiddleware": "crplugins.homes.middlewares",
    "ModelAliasMiddleware": "crplugins.homes.middlewares",
    "Plugin": "crplugins.core.plugin",
    "PluginMiddleware": "crplugins.asgi.middleware",
    "Principal": "crplugins.core.principal",
    "RateLimitMiddleware": "crplugins.homes.middlewares",
    "Refusal": "crplugins.core.exchange",
    "Reply": "crplugins.core.exchange",
    "RequestGuard": "crplugins.plugins.guard.plugin",
    "Slot": "crplugins.core.exchange",
    "StreamUsageMiddleware": "crplugins.homes.middlewares",
    "TokenUsage": "crplugins.core.usage",
    "Usage": "crplugins.plugins.usage",
    "UsageMiddleware": "crplugins.homes.middlewares",
}

__all__ = [*_HOMES, "__version__"]  # names, all of them text


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'crplugins' has no attribute '{name}'")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
