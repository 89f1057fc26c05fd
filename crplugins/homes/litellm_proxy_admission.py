"""Letting a call in: `async_pre_call_hook`, or what is left of it inside the entry."""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final

from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange
from crplugins.core.stream_options import STREAM_OPTIONS
from crplugins.homes.litellm_proxy_boundary import boundary
from crplugins.homes.litellm_proxy_calls import ProxyCall
from crplugins.homes.litellm_proxy_principal import principal_of
from crplugins.homes.litellm_proxy_refusal import Refusal, headers_of
from crplugins.homes.litellm_proxy_request import apply_edits, exchange_of
from crplugins.homes.litellm_proxy_runtime import Runtime

REQUEST_ID: Final[ContextVar[str | None]] = ContextVar("crplugins.litellm_request_id", default=None)
"""The id that an entry which runs no plugins will tell the client."""


async def admit(runtime: Runtime, caller: Any, data: dict[str, Any], *, chat: bool, asks: bool) -> None:
    """Run the plugins on a request, and keep it to be settled. `asks`: its streams tell usage to who asks for it.

    Raises `Refusal`.
    """
    around = boundary()
    if around is not None:
        _check_model(around, data)
        return
    if runtime.calls.has(data):  # a second callback of ours
        return
    try:
        await runtime.opened()
    except GatewayError as error:
        raise Refusal(error) from None
    exchange = exchange_of(data, principal_of(caller), REQUEST_ID.get(), runtime.config.usage.metadata)
    assert exchange.body is not None
    before = exchange.body.copy()
    call = runtime.call(exchange, chat=chat)
    try:
        await call.enter()
    except GatewayError as error:
        raise await _refused(runtime, call, error) from None
    except BaseException:  # the client has left meanwhile
        runtime.calls.settle(call, 499, left=True)
        raise
    apply_edits(data, before, exchange.body)
    if asks and exchange.stream:
        _ask_for_usage(runtime, call, data)
    runtime.calls.add(call, data)


async def _refused(runtime: Runtime, call: ProxyCall, error: GatewayError) -> Refusal:
    try:
        headers = call.headers(error.status)
    except GatewayError as second:  # a plugin failed on the way out too
        error, headers = second, {"x-request-id": call.exchange.id}
    await runtime.calls.end(call, error.status, error)
    return Refusal(error, {**headers, **headers_of(error)})


def _check_model(around: Exchange, data: Mapping[str, Any]) -> None:
    """LiteLLM takes a model from places other than the body, where the plugins have not judged it."""
    judged = around.body.get("model", str) if around.body is not None else None
    if judged is not None and data.get("model") != judged and not _renamed_by_litellm(judged):
        raise Refusal(GatewayError(400, "The model must stand in the request's body.", param="model"))


def _renamed_by_litellm(name: str) -> bool:
    import litellm

    return name in litellm.model_alias_map


def _ask_for_usage(runtime: Runtime, call: ProxyCall, data: dict[str, Any]) -> None:
    """Where LiteLLM has not: it looks before our aliases are resolved, may be told not to, and did not before 1.96."""
    options = data.get(STREAM_OPTIONS)
    if isinstance(options, dict) and options.get("include_usage") is True:
        return
    if runtime.refused.known(str(data.get("model")), call.exchange.clock()):
        call.estimated = True  # what LiteLLM then tells are its own counts
        return
    call.hides_usage = True
    data[STREAM_OPTIONS] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
