"""All that is behind the admin token, as routes. A gateway without `admin` in its configuration does not load it."""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.routing import Route

from crplugins.config import Config
from crplugins.config.schema import Admin
from crplugins.homes import caller_limits
from crplugins.homes.gateway import admin, operations
from crplugins.homes.gateway.admin_limits_api import AdminLimitsApi
from crplugins.homes.gateway.limits_api import LimitsOf
from crplugins.homes.gateway.reload_api import RELOAD_PATH, ReloadApi
from crplugins.homes.gateway.reloading import Reloaded
from crplugins.homes.gateway.worker_states import WorkerStates
from crplugins.keys.gathered import GatheredKeys
from crplugins.keys.service import KeyService
from crplugins.keys.source import KeySource

PUBLIC_PATHS: Final = (*admin.PUBLIC_PATHS, *operations.PUBLIC_PATHS, caller_limits.ADMIN_PATH, RELOAD_PATH)
"""Paths that need no key of a client."""


def admin_routes(
    config: Config,
    section: Admin,
    keys: KeySource,
    workers: WorkerStates,
    limits_of: LimitsOf,
    reload: Callable[[str], Awaitable[Reloaded]],
) -> list[Route]:
    """Keys and their audit log, what operators look at while the gateway runs, and the reload of its configuration."""
    service, tokens = KeyService(GatheredKeys(keys)), section.by_name
    return [
        *admin.AdminApi(service, tokens).routes(),
        *operations.OperationsApi(config, workers, service, limits_of, tokens).routes(),
        *AdminLimitsApi(limits_of, service, tokens).routes(),
        *ReloadApi(reload, tokens).routes(),
    ]
