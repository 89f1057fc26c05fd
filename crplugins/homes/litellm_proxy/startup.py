"""What happens when the proxy starts: the plugins open, LiteLLM is looked at, Prometheus finds its page."""

import asyncio
import inspect
import logging
import sys
from collections.abc import Iterator
from typing import Any, Final

from crplugins.core.errors import GatewayError
from crplugins.homes.litellm_proxy.names import router
from crplugins.homes.litellm_proxy.runtime import Runtime, runtime

DISPATCHED_BY_CLASS: Final = (
    "async_pre_call_hook",
    "async_post_call_streaming_iterator_hook",
    "async_post_call_response_headers_hook",
)
"""LiteLLM calls these only where they stand in the callback's own class, so a subclass has to have them again."""

HOOKS: Final = (
    *DISPATCHED_BY_CLASS,
    "async_pre_call_deployment_hook",
    "async_post_call_success_hook",
    "async_post_call_failure_hook",
    "async_log_success_event",
    "async_log_failure_event",
)

_CAPABILITIES: Final = {
    "async_pre_call_hook": "has_pre_call_override",
    "async_post_call_streaming_iterator_hook": "has_iterator_override",
    "async_post_call_response_headers_hook": "has_post_call_response_headers",
}

logger = logging.getLogger("crplugins.litellm")


PATIENCE: Final = 30.0
"""Seconds that LiteLLM has to read the rest of its configuration."""


_LITELLM_METRICS: Final = "/metrics"


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
        _close_at_shutdown(here)
    try:
        await here.opened()
    except GatewayError:  # said by whoever failed; requests are refused
        return
    for warning in await asyncio.to_thread(here.unpriced_warnings):
        logger.warning("%s", warning)
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

    page = here.metrics_app(here.faults)
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


def _close_at_shutdown(here: Runtime) -> None:
    """Before LiteLLM's own shutdown, which tells no callback.

    The server ends the process after it, and the last second's records would wait in a journal on a disk that may be
    gone at the next start.
    """
    from litellm.proxy import proxy_server

    theirs = getattr(proxy_server, "proxy_shutdown_event", None)
    if theirs is None:
        logger.error("LiteLLM has no shutdown of its own any more: records of its last second wait for the next start")
        return

    async def close_and_shut_down(*given: Any, **named: Any) -> None:
        await here.close()
        await theirs(*given, **named)

    proxy_server.proxy_shutdown_event = close_and_shut_down


def uncalled_hooks(callback: Any) -> Iterator[tuple[str, str]]:
    """Hook and reason of each one that LiteLLM will not call, or not as it is declared."""
    from litellm.integrations.custom_logger import CustomLogger

    for name in HOOKS:
        theirs = getattr(CustomLogger, name, None)
        if theirs is None:
            yield name, "this LiteLLM does not have it"
        elif name in DISPATCHED_BY_CLASS and name not in vars(type(callback)):
            yield name, f"{type(callback).__name__} does not define it itself"
        elif missing := _parameters(theirs) - _parameters(getattr(callback, name)) - {"self"}:
            yield name, f"it is called with {', '.join(sorted(missing))} too"


def unregistered_hooks(callback: Any) -> Iterator[tuple[str, str]]:
    """What the running proxy does not know of."""
    import litellm

    if callback not in litellm.callbacks:
        yield "callback", "it is not among litellm_settings.callbacks"
        return
    from litellm.proxy.utils import ProxyLogging

    look: Any = getattr(ProxyLogging, "callback_capabilities", None)
    if look is None:
        return
    found = look()
    for hook, flag in _CAPABILITIES.items():
        if getattr(found, flag, True) is False:
            yield hook, "the proxy does not see it"


def _parameters(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters)
