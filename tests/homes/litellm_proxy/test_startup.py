"""What the callback finds out about the installed LiteLLM, without a proxy."""

import asyncio
import os
import warnings
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # no look-up in the network
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("litellm")
    from litellm.integrations.custom_logger import CustomLogger

    from crplugins.homes.litellm_proxy.callback import ProxyCallback

from crplugins.core.dialects import CHAT
from crplugins.core.pipeline import Pipeline, Run
from crplugins.core.plugin import Plugin
from crplugins.homes.litellm_proxy.calls import ProxyCall, ProxyCalls
from crplugins.homes.litellm_proxy.requests import apply_edits, body_of, exchange_of
from crplugins.homes.litellm_proxy.startup import DISPATCHED_BY_CLASS, uncalled_hooks
from tests.proxy_setup import needs_proxy


def test_every_hook_is_called_by_the_installed_release() -> None:
    assert list(uncalled_hooks(ProxyCallback())) == []


def test_an_empty_subclass_keeps_the_hooks_looked_for_in_the_class_itself() -> None:
    class Child(ProxyCallback):
        pass

    assert set(DISPATCHED_BY_CLASS) <= set(vars(Child))
    assert list(uncalled_hooks(Child())) == []


def test_a_hook_that_is_gone_or_is_called_otherwise_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(CustomLogger, "async_log_failure_event")

    async def otherwise(self: Any, user_api_key_dict: Any, response: Any, request_data: Any, more: Any) -> None: ...

    monkeypatch.setattr(CustomLogger, "async_post_call_streaming_iterator_hook", otherwise)
    assert dict(uncalled_hooks(ProxyCallback())) == {
        "async_post_call_streaming_iterator_hook": "it is called with more too",
        "async_log_failure_event": "this LiteLLM does not have it",
    }


@needs_proxy
def test_a_key_of_litellms_is_its_alias_or_the_beginning_of_its_hash() -> None:
    from crplugins.homes.litellm_proxy.requests import principal_of

    hashed = "0123456789ab" + "0" * 52
    assert principal_of(SimpleNamespace(token=hashed, key_alias=None)).key_id == "litellm-0123456789ab"
    assert principal_of(SimpleNamespace(token=hashed, key_alias="batch", team_id="t")).key_id == "batch"
    said = {"low": "low", "prod": "normal", None: "normal"}
    for priority, taken in said.items():
        assert principal_of(SimpleNamespace(token=hashed, metadata={"priority": priority})).priority == taken
    plain = principal_of(SimpleNamespace(token="not-hashed", key_alias=None))
    assert plain.key_id.startswith("litellm-")
    assert "not-hashed" not in plain.key_id
    assert principal_of(SimpleNamespace(token=None, api_key=None, key_alias=None)) is None


def test_edits_of_the_body_reach_litellm_and_its_own_words_do_not_reach_plugins() -> None:
    data: dict[str, Any] = {
        "model": "fast",
        "seed": 1,
        "metadata": {"requester_metadata": {"job": "nightly", "headers": {}}},
        "proxy_server_request": {"body": {"model": "fast", "seed": 1, "litellm_call_id": "x"}, "headers": {"A": "b"}},
    }
    exchange = exchange_of(data, None, None, CHAT)
    assert exchange.header(b"a") == "b"
    body = body_of(data, ["job"], exchange)
    assert list(body) == ["model", "seed", "metadata"]
    assert body.get("metadata") == {"job": "nightly"}
    before = body.copy()
    body.set("model", "gpt")
    body.remove("seed")
    apply_edits(data, before, body)
    assert data["model"] == "gpt"
    assert "seed" not in data
    assert "requester_metadata" in data["metadata"]


async def test_a_call_is_settled_once_and_at_last_by_time() -> None:
    class Counting(Plugin):
        finished = 0

        async def on_request(self, exchange: Any) -> None: ...

        def on_finish(self, exchange: Any) -> None:
            Counting.finished += 1

    pipeline = Pipeline([Counting()], Counter(), 1000)
    calls = ProxyCalls(lifetime=0.05)
    for ends in (True, False):
        data: dict[str, Any] = {"model": "m", "metadata": {}}
        call = ProxyCall(Run(pipeline, exchange_of(data, None, None, CHAT)))
        await call.enter()
        calls.add(call, data)
        assert calls.of(data) is call
        assert calls.of({"litellm_params": {"metadata": data["metadata"]}}) is call
        if ends:
            await calls.end(call, 200)
            calls.settle(call, 500)
            assert (call.exchange.status, Counting.finished) == (200, 1)
    await asyncio.sleep(0.15)
    assert Counting.finished == 2
    assert (call.exchange.status, call.exchange.outcome, len(calls)) == (500, "server_error", 0)
