"""Which plugins run in the hooks of LiteLLM's proxy."""

import pytest

pytest.importorskip("litellm.proxy._types")

from crplugins.config import parse_config
from crplugins.core.exchange import Exchange, Timings
from crplugins.core.plugin import Plugin
from crplugins.homes.litellm_proxy.runtime import Runtime


class Decides(Plugin):
    async def on_request(self, exchange: Exchange) -> None: ...


class DecidesEverywhere(Decides):
    chat_only = False


class Looks(Decides):
    observes = True


def names(runtime: Runtime, *, chat: bool) -> list[str]:
    exchange = Exchange("r", "POST", "/v1/embeddings", [], None, lambda: 0.0, Timings(0.0))
    return [step.plugin.name for step in runtime.call(exchange, chat=chat).run.pipeline.steps]


def own(found: list[str]) -> list[str]:
    return [name for name in found if name in ("Decides", "DecidesEverywhere", "Looks")]


def test_other_apis_are_not_shown_to_a_deciding_plugin_for_chats() -> None:
    runtime = Runtime(parse_config({"plugins": [Decides, DecidesEverywhere, Looks]}), entry=False)
    assert own(names(runtime, chat=True)) == ["Decides", "DecidesEverywhere", "Looks"]
    other = names(runtime, chat=False)
    assert own(other) == ["DecidesEverywhere", "Looks"]
    assert "RateLimits" in other
    assert "RequestGuard" not in other


def test_what_has_run_around_the_whole_proxy_does_not_run_again_in_its_hooks() -> None:
    config = parse_config({"keys": [{"id": "k", "secret": "sk-k"}], "plugins": [DecidesEverywhere, Looks]})
    assert own(names(Runtime(config, entry=True), chat=False)) == ["Looks"]
