"""What happens when the proxy starts: the plugins open, LiteLLM is looked at, Prometheus finds its page."""

import asyncio
import logging
import sys
from typing import Any, Final

from crplugins.core.errors import GatewayError
from crplugins.homes.litellm_proxy_check import uncalled_hooks, unregistered_hooks
from crplugins.homes.litellm_proxy_names import router
from crplugins.homes.litellm_proxy_runtime import Runtime, runtime

PATIENCE: Final = 30.0
"""Seconds that LiteLLM has to read the rest of its configuration."""

_LITELLM_METRICS: Final = "/metrics"

logger = logging.getLogger("crplugins.litellm")


async def start(callback: Any) -> None:
    """Runs beside the proxy's own start, which imports the callback in its middle."""
    await _has_started(callback)
    if not _is_registered(callback) and any(_is_registered(other) for other in _others(callback)):
        return  # a subclass of it is used, or it was merely imported
    here = runtime()
    for hook, reason in [*uncalled_hooks(callback), *unregistered_hooks(callback)]:
        logger.error("LiteLLM will not call %s: %s", hook, reason)
    _check_auth(here)
    if not here.guarded:
        _serve_metrics(here)
    try:
        await here.opened()
    except GatewayError:  # said by whoever failed; requests are refused
        return
    logger.info("the plugins run %s LiteLLM's proxy", "around" if here.guarded else "in the hooks of")


async def _has_started(callback: Any) -> None:
    """Until the proxy has its router and its list of callbacks."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while router() is None or not any(_is_registered(one) for one in (callback, *_others(callback))):
        if asyncio.get_running_loop().time() > deadline:
            return
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.05)


def _is_registered(callback: Any) -> bool:
    return any(callback is registered for registered in _callbacks())


def _others(callback: Any) -> list[Any]:
    """Callbacks of ours that LiteLLM has besides."""
    ours = next(kind for kind in type(callback).__mro__ if kind.__name__ == "ProxyCallback")
    return [other for other in _callbacks() if isinstance(other, ours) and other is not callback]


def _callbacks() -> list[Any]:
    return list(sys.modules["litellm"].callbacks)


def _check_auth(here: Runtime) -> None:
    custom = getattr(sys.modules.get("litellm.proxy.proxy_server"), "user_custom_auth", None)
    if here.has_keys and custom is None:
        logger.error("the configuration has `keys`, but general_settings.custom_auth is not set: LiteLLM refuses them")
    if not here.has_keys and getattr(custom, "__module__", "").startswith("crplugins."):
        logger.error("general_settings.custom_auth needs `keys` in the configuration: every request is refused")


def _serve_metrics(here: Runtime) -> None:
    """As a route of the proxy's own app; middleware can no longer be added, routes can."""
    from litellm.proxy import proxy_server
    from starlette.routing import Route

    page = here.metrics_app()
    if page is None or here.config.metrics is None:
        return
    path = here.config.metrics.path
    proxy_server.app.router.routes.insert(0, Route(path, endpoint=page, include_in_schema=False))
    import litellm

    if path.startswith(_LITELLM_METRICS) and litellm.require_auth_for_metrics_endpoint is not False:
        logger.warning(
            "LiteLLM guards %s with its own keys: set metrics.path to another one, or "
            "litellm_settings.require_auth_for_metrics_endpoint: false",
            path,
        )
