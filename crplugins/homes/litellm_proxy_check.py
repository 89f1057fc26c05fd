"""Which of our hooks the installed LiteLLM will call, looked at once when the proxy starts."""

import inspect
from collections.abc import Iterator
from typing import Any, Final

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
