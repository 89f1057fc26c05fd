"""A gateway with several priced deployments of one model name, and everything that counts what they use."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from crplugins import Budgets, RateLimits, TokenUsage, UsageRecord
from crplugins.homes.gateway.app import Gateway
from crplugins.metering.record import record_of
from crplugins.plugins.rate_limits.deployments import DeploymentQuotas
from crplugins.plugins.rate_limits.rules import limits_of_deployment
from crplugins.testing import FakeProvider
from tests.core.doubles import Watcher
from tests.gateway_setup import CLIENT_KEY, UPSTREAM_KEY, Setup

MICRO_USD = [(1, 2), (30, 70), (500, 900)]
"""What a token of the prompt and one of the answer cost at each deployment."""

TOKENS_PER_DAY = 10_000
BUDGET_USD = 5


@dataclass
class Books:
    gateway: Setup
    providers: Sequence[FakeProvider]
    watcher: Watcher
    app: Gateway

    @property
    def calls(self) -> list[int]:
        return [len(provider.requests) for provider in self.providers]

    @property
    def record(self) -> UsageRecord:
        return record_of(self.watcher.exchange)

    @property
    def attempts(self) -> list[tuple[str, str]]:
        return [(attempt.kind, attempt.error_type) for attempt in self.watcher.exchange.attempts]

    async def over(self) -> None:
        """Returns when the last request is over."""
        async with asyncio.timeout(60):
            while self.watcher.log[-1:] != ["w.on_finish"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def agree(self, *parts: TokenUsage, source: str = "provider") -> None:
        """What each deployment has used stands everywhere as one sum: record, cost, Prometheus, limit and budget.

        For the first request of a gateway.
        """
        await self.over()
        record, whole = self.record, sum(parts, TokenUsage())
        cost = sum(
            part.input_tokens * input_price + part.output_tokens * output_price
            for part, (input_price, output_price) in zip(parts, MICRO_USD, strict=False)
        )
        assert (record.usage, record.usage_source, record.cost_micro_usd) == (whole, source, cost)
        assert self.watcher.exchange.usage == whole
        counted = await self.counted()
        assert counted["crplugins_input_tokens_total"] == whole.input_tokens
        assert counted["crplugins_output_tokens_total"] == whole.output_tokens
        assert round(counted["crplugins_cost_usd_total"] * 1e6) == cost
        await self._settled(whole.input_tokens + whole.output_tokens, cost)

    async def _settled(self, tokens: int, cost: int) -> None:
        limits = next(plugin for plugin in self.app.plugins if isinstance(plugin, RateLimits))
        budgets = next(plugin for plugin in self.app.plugins if isinstance(plugin, Budgets))
        principal = self.watcher.exchange.principal
        assert principal is not None
        (level,) = await limits.levels_of(principal)
        assert tokens - 3 <= level.used <= tokens  # it drains by a token in 9 seconds
        (state,) = await budgets.states_of(principal)
        assert state.spent == cost

    async def quota_used(self, number: int) -> int:
        """Tokens of the quota of one deployment."""
        quotas = next(plugin for plugin in self.app.plugins if isinstance(plugin, DeploymentQuotas))
        deployment = self.app.config.deployments()[number]
        (limit,) = limits_of_deployment(deployment.quota, deployment.account, shadow=False).all
        (reading,) = await quotas.reservations.levels([limit.limit])
        return reading.used

    async def counted(self) -> dict[str, float]:
        """All series of Prometheus, added up by name."""
        async with self.gateway.session.get(self.gateway.url + "/metrics") as response:
            text = await response.text()
        sums: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                sums[sample.name] = sums.get(sample.name, 0) + sample.value
        return sums


@asynccontextmanager
async def books(
    serve: Any,
    handlers: Sequence[str],
    *,
    params: Any = (),
    info: Any = (),
    infos: Sequence[Any] = (),
    provider_name: str = "openai",
    **words: Any,
) -> AsyncIterator[Books]:
    """A deployment of the model `m` for each of `handlers`, asked in this order.

    `params` are `litellm_params` and `info` is `model_info` of all; `infos` are more of it for each.
    """
    watcher = Watcher()
    async with AsyncExitStack() as stack:
        providers = [await stack.enter_async_context(FakeProvider()) for _ in handlers]
        models = [
            {
                "model_name": "m",
                "litellm_params": {
                    "model": f"{provider_name}/model-{number}",
                    "api_base": provider.base_url,
                    "api_key": UPSTREAM_KEY,
                    **dict(params),
                },
                "model_info": {
                    "input_cost_per_token": MICRO_USD[number][0] * 1e-6,
                    "output_cost_per_token": MICRO_USD[number][1] * 1e-6,
                    **dict(info),
                    **dict(infos[number] if infos else ()),
                },
                "handler": handler,
            }
            for number, (provider, handler) in enumerate(zip(providers, handlers, strict=True))
        ]
        key = {
            "id": "k",
            "secret": CLIENT_KEY,
            "limits": {"tokens_per_day": TOKENS_PER_DAY},
            "budget": {"usd": BUDGET_USD, "period": "month"},
        }
        app = Gateway(model_list=models, keys=[key], plugins=[watcher], metrics={"token": None}, **words)
        url = await stack.enter_async_context(serve(app))
        await app.loaded()
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield Books(Setup(providers[0], url, session), providers, watcher, app)


def usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def chunk(text: str | None = None, *, finish: str | None = None, usage: Any = None, **delta: Any) -> bytes:
    """An event of a stream; without text or finish reason the one that has usage alone."""
    if text is not None:
        delta["content"] = text
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}] if delta or finish else []
    head = {"id": "chatcmpl-x", "object": "chat.completion.chunk", "created": 1, "model": "x"}
    return b"data: " + json.dumps({**head, "choices": choices, "usage": usage}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def events_in(body: str) -> list[dict[str, Any]]:
    """The JSON events of a stream that ends with [DONE], once."""
    lines = [line[6:] for line in body.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    assert lines.count("[DONE]") == 1
    return [json.loads(line) for line in lines[:-1]]


def told(body: str) -> dict[str, Any] | None:
    """The usage that a client is told, on one event of a stream at most."""
    found = [event["usage"] for event in events_in(body) if event.get("usage") is not None]
    assert len(found) <= 1
    return found[0] if found else None
