"""The same plugin in every home: before vLLM, in the gateway, in LiteLLM's proxy and behind LiteLLM's SDK.

What differs from home to home is who calls the hooks. That `on_finish` runs exactly once must not differ. A home whose
packages are not installed is left out: the rest of the contract runs with the base installation.
"""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, cast

import msgspec

from crplugins.core.errors import GatewayError
from crplugins.core.plugin import Plugin
from crplugins.testing.contract.stage import (
    DOCUMENT,
    FAILURE,
    JSON,
    ScriptedApp,
    Stage,
    answer,
    ended,
    opened,
    request,
    spied,
)
from crplugins.testing.drive import AppEndedError, Drive

KEY: Final = "sk-contract-0123456789"
WHOLE, PLAIN, FAILED, CUT, LEFT, STRANGER = (
    "a whole stream",
    "a plain answer",
    "a failure of the provider",
    "a stream that is cut",
    "a client gone in mid-stream",
    "a request without a good key",
)
ENDINGS: Final = (WHOLE, PLAIN, FAILED, CUT, LEFT, STRANGER)


@dataclass(frozen=True)
class Given:
    """What a plugin is put through: how the request ends, what was asked, and the events of a whole stream."""

    ending: str
    options: Mapping[str, Any]
    stream: Sequence[bytes]

    @property
    def body(self) -> dict[str, Any]:
        body = self.options.get("body")
        return dict(body) if isinstance(body, Mapping) else {"model": "m", "messages": []}

    @property
    def headers(self) -> dict[str, str]:
        secret = "sk-wrong-0123456789" if self.ending == STRANGER else KEY
        return {"authorization": f"Bearer {secret}", **dict(self.options.get("headers") or {})}


Home = Callable[[Plugin, Given], Awaitable[None]]


def _config(plugin: Plugin, **words: Any) -> Any:
    """A configuration with one key and this plugin, outside Auth: a request without a good key reaches it too."""
    from crplugins.config import parse_config

    keys = [{"id": "contract", "secret": KEY}]
    return parse_config({"keys": keys, "plugins": [{"use": plugin, "before": "Auth"}], **words})


async def _ask(app: Any, given: Given) -> None:
    """One request of an ASGI app, to its end."""
    options = request({**given.options, "headers": given.headers})
    async with opened(app), Drive(app, **options) as call:
        if given.ending == LEFT:
            with suppress(
                AppEndedError, TimeoutError
            ):  # a plugin may answer by itself, refuse, or hold everything back
                await call.next_body(within=1.0)
            call.disconnect()
        await ended(call, within=30)


async def before_vllm(plugin: Plugin, given: Given) -> None:
    from crplugins.homes.vllm import Middleware

    messages = {
        PLAIN: answer(DOCUMENT, content_type=JSON),
        FAILED: answer(FAILURE, status=500, content_type=JSON),
        CUT: answer(given.stream[0], whole=False),
        LEFT: answer(given.stream[0], whole=False),
    }
    app = ScriptedApp(messages.get(given.ending, answer(*given.stream)), waits=given.ending == LEFT)
    await _ask(Middleware(cast("Any", app), _config(plugin)), given)


async def in_the_gateway(plugin: Plugin, given: Given) -> None:
    from crplugins.homes.gateway import Gateway
    from crplugins.testing import FakeProvider, Script

    scripts = {
        WHOLE: Script(events=given.stream),
        PLAIN: Script(body=msgspec.json.decode(DOCUMENT, type=dict[str, Any])),
        FAILED: Script.error(500, "Overloaded.", "server_error"),
        CUT: Script(events=given.stream, cut_after=1),
        LEFT: Script(events=given.stream, stall_after=1),
    }
    async with FakeProvider() as provider:
        if given.ending in scripts:
            provider.enqueue(scripts[given.ending])
        served = {"model": "openai/*", "api_base": provider.base_url, "api_key": "sk-upstream"}
        config = _config(plugin, model_list=[{"model_name": "*", "handler": "direct", "litellm_params": served}])
        await _ask(Gateway.from_config(config), given)


def _imported() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """What the hooks are made of. To import it makes the callback that LiteLLM loads, which reads the file of the
    working folder: that may be the example of the package under test, and so another is put in its place."""
    from crplugins.config.load import CONFIG_VARIABLE

    before = os.environ.get(CONFIG_VARIABLE)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "gateway.yaml"
        file.write_text("{}")
        os.environ[CONFIG_VARIABLE] = str(file)
        try:
            from crplugins.homes.litellm_proxy.callback import ProxyCallback
            from crplugins.homes.litellm_proxy.runtime import Runtime
        finally:
            os.environ.pop(CONFIG_VARIABLE)
            os.environ.update({} if before is None else {CONFIG_VARIABLE: before})
    return ProxyCallback, Runtime


async def in_litellms_proxy(plugin: Plugin, given: Given) -> None:
    """The hooks as LiteLLM's proxy calls them, with its own objects."""
    proxy_callback, make_runtime = await asyncio.to_thread(_imported)
    runtime = make_runtime(_config(plugin), entry=False)
    await runtime.opened()
    try:
        if given.ending == STRANGER:
            await _refuse_in_litellms_proxy(runtime, given)
        else:
            await _serve_in_litellms_proxy(proxy_callback(runtime), given)
    finally:
        await runtime.close()


async def _serve_in_litellms_proxy(callback: Any, given: Given) -> None:
    from crplugins.homes.litellm_proxy.failures import ProxyRefusal

    caller = None
    data: dict[str, Any] = {
        **given.body,
        "metadata": {},
        "proxy_server_request": {"headers": given.headers, "body": given.body, "url": "/v1/chat/completions"},
    }
    with suppress(ProxyRefusal):
        data = await callback.async_pre_call_hook(caller, None, data, "acompletion")
        await callback.async_pre_call_deployment_hook({**data, "custom_llm_provider": "openai"}, "acompletion")
        await _answer_in_litellms_proxy(callback, caller, data, given)


async def _refuse_in_litellms_proxy(runtime: Any, given: Given) -> None:
    from crplugins.core.exchange import Exchange, Timings, new_request_id

    headers = [(name.encode(), value.encode()) for name, value in given.headers.items()]
    path = "/v1/chat/completions"
    exchange = Exchange(new_request_id(), "POST", path, headers, "127.0.0.1", lambda: 0.0, Timings(0.0))
    try:
        await runtime.authenticate(exchange)
    except GatewayError as error:
        await runtime.unauthenticated(exchange, error)


async def _answer_in_litellms_proxy(callback: Any, caller: Any, data: dict[str, Any], given: Given) -> None:
    from litellm.types.utils import ModelResponse, ModelResponseStream

    if given.ending == FAILED:
        from litellm.exceptions import InternalServerError

        await callback.async_post_call_failure_hook(data, InternalServerError("Overloaded.", "openai", "m"), caller)
        return
    if given.ending == PLAIN:
        document = ModelResponse(**msgspec.json.decode(DOCUMENT))
        document = await callback.async_post_call_success_hook(data, caller, document)
        await callback.async_post_call_response_headers_hook(data, caller, document)
        return

    async def chunks() -> AsyncIterator[Any]:
        for number, event in enumerate(given.stream):
            if number and given.ending == CUT:
                raise ConnectionResetError("the provider's connection broke")
            text = event.removeprefix(b"data:").strip()
            if text != b"[DONE]":
                yield ModelResponseStream(**msgspec.json.decode(text))

    response = chunks()
    await callback.async_post_call_response_headers_hook(data, caller, response)
    try:
        async for _ in (shown := callback.async_post_call_streaming_iterator_hook(caller, response, data)):
            if given.ending == LEFT:
                await shown.aclose()
                return
    except ConnectionResetError as error:  # nothing had been sent, so LiteLLM answers with an error of its own
        await callback.async_post_call_failure_hook(data, error, caller)


async def behind_litellms_sdk(plugin: Plugin, given: Given) -> None:
    """`UsageCallback` as litellm tells it of a call that is over."""
    from litellm.types.utils import ModelResponse

    from crplugins.homes.litellm_sdk import UsageCallback

    callback = UsageCallback(plugins=[plugin], prices=lambda _model: None)
    now = datetime.now(UTC)
    told: dict[str, Any] = {
        "model": "m",
        "call_type": "acompletion",
        "litellm_call_id": "1",
        "custom_llm_provider": "openai",
    }
    told = {**told, "messages": given.body.get("messages"), "stream": given.ending != PLAIN}
    if given.ending in (FAILED, CUT):
        begun = {"completion_start_time": now} if given.ending == CUT else {}
        await callback.async_log_failure_event(
            {**told, **begun, "exception": ConnectionResetError("broken")}, None, now, now
        )
    else:
        await callback.async_log_success_event(told, ModelResponse(**msgspec.json.decode(DOCUMENT)), now, now)


def with_litellm(home: Home) -> Home:
    """Loads litellm as the handlers do. Its own warnings, and pydantic's of its models, are not the plugin's."""

    async def run(plugin: Plugin, given: Given) -> None:
        from crplugins.handlers.litellm.loading import load_litellm

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load_litellm()
            await home(plugin, given)

    return run


HOMES: Final[Mapping[str, tuple[Home, Sequence[str], Sequence[str]]]] = {
    "before vLLM": (before_vllm, (), ENDINGS),
    "in the gateway": (in_the_gateway, ("httptools", "h11", "sqlalchemy"), ENDINGS),
    "in LiteLLM's proxy": (with_litellm(in_litellms_proxy), ("litellm", "fastapi", "orjson"), ENDINGS),
    "behind LiteLLM's SDK": (with_litellm(behind_litellms_sdk), ("litellm",), (WHOLE, PLAIN, FAILED, CUT)),
}
"""Each home with the packages that it needs and the ways in which a request can end there."""


class Homes(Stage):
    async def test_on_finish_runs_once_in_every_home(self) -> None:
        for name, (home, packages, endings) in HOMES.items():
            if not all(find_spec(package) for package in packages):
                continue
            for ending in endings:
                plugin = self.make_plugin()
                calls = spied(plugin)
                await home(plugin, Given(ending, self.accepted_request(), self.stream()))
                calls.check(f"{name}, {ending}")
