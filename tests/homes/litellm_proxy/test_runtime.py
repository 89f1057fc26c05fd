"""Which plugins run in the hooks of LiteLLM's proxy."""

import asyncio

import pytest

pytest.importorskip("litellm.proxy._types")

from crplugins.config import parse_config
from crplugins.core.dialects import CHAT, EMBEDDINGS
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, Timings
from crplugins.core.plugin import Plugin
from crplugins.homes.litellm_proxy.runtime import Runtime


class Decides(Plugin):
    async def on_request(self, exchange: Exchange) -> None: ...


class DecidesEverywhere(Decides):
    every_path = True


class Looks(Decides):
    observes = True


def names(runtime: Runtime, *, chat: bool) -> list[str]:
    dialect = CHAT if chat else EMBEDDINGS
    exchange = Exchange("r", "POST", "/v1/embeddings", [], None, lambda: 0.0, Timings(0.0), dialect=dialect)
    return [step.plugin.name for step in runtime.call(exchange).run.pipeline.steps]


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


class Counting(Plugin):
    observes = True

    def __init__(self) -> None:
        self.entered = self.finished = 0

    async def on_request(self, exchange: Exchange) -> None:
        self.entered += 1

    def on_finish(self, exchange: Exchange) -> None:
        assert exchange.outcome is not None
        self.finished += 1


class Blocklist(Plugin):
    async def on_request(self, exchange: Exchange) -> None:
        raise GatewayError(403, "Your address is blocked.")


def in_flight(runtime: Runtime) -> float:
    assert runtime.metrics is not None
    samples = (sample for metric in runtime.metrics.registry.collect() for sample in metric.samples)
    return sum(sample.value for sample in samples if sample.name == "crplugins_requests_in_flight")


@pytest.mark.parametrize(("plugins", "status"), [([], 401), ([{"use": Blocklist, "before": "Auth"}], 403)])
async def test_a_request_without_a_good_key_ends_in_every_plugin_that_it_entered(
    plugins: list[dict[str, object]], status: int
) -> None:
    counting = Counting()
    config = parse_config(
        {
            "keys": [{"id": "k", "secret": "sk-good-0123456789"}],
            "metrics": {"token": None},
            "plugins": [{"use": counting, "before": "Metrics"}, *plugins],
        }
    )
    runtime = Runtime(config, entry=False)
    for _ in range(3):
        headers = [(b"authorization", b"Bearer sk-wrong-0123456789")]
        exchange = Exchange("r", "POST", "/v1/chat/completions", headers, "1.2.3.4", lambda: 0.0, Timings(0.0))
        with pytest.raises(GatewayError) as refused:
            await runtime.authenticate(exchange)
        error, told = await runtime.unauthenticated(exchange, refused.value)
        assert (error.status, exchange.status, told["x-request-id"]) == (status, status, "r")
    assert (counting.entered, counting.finished, in_flight(runtime)) == (3, 3, 0)


async def test_a_client_that_leaves_while_its_key_is_looked_at_ends_too() -> None:
    class Waiting(Plugin):
        async def on_request(self, exchange: Exchange) -> None:
            await asyncio.Event().wait()

    counting = Counting()
    plugins = [{"use": counting, "before": "Auth"}, {"use": Waiting, "before": "Auth"}]
    runtime = Runtime(parse_config({"keys": [{"id": "k", "secret": "sk-k"}], "plugins": plugins}), entry=False)
    exchange = Exchange("r", "POST", "/v1/chat/completions", [], None, lambda: 0.0, Timings(0.0))
    task = asyncio.create_task(runtime.unauthenticated(exchange, GatewayError(401, "no")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (counting.entered, counting.finished) == (1, 1)
    assert (exchange.status, exchange.outcome) == (499, "cancelled")
