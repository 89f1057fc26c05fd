"""A day of LiteLLM's real proxy with its cache on, fallbacks and retries, after which the books must agree.

`PROXY_CACHE_REQUESTS` says how many requests. What the provider told, the ledger's rows, the sums of `crplugins usage`
and the counters of Prometheus are four records of the same day, in tokens and in millionths of a US dollar.
"""

import asyncio
import json
import os
import random
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest

from crplugins.testing import ReceivedRequest, Script
from tests.integration.metering_books import Row, Scraped, read_table, summed
from tests.proxy_provider import EveryEndpoint
from tests.proxy_setup import CALLBACK, ENTRY, Proxy, needs_proxy, running_proxy
from tests.warm import warm_crplugins

pytestmark = needs_proxy

REQUESTS: Final = int(os.environ.get("PROXY_CACHE_REQUESTS", "60"))
ROUNDS: Final = 3
"""All but the first repeat its requests, word by word."""

KEYS: Final = {key: f"sk-{key}-0123456789" for key in ("one", "two", "three")}
OURS: Final[Mapping[str, Any]] = {
    "keys": [{"id": key, "secret": secret} for key, secret in KEYS.items()],
    "ledger": {"url": "sqlite:///usage.db", "commit_seconds": 0},
    "metrics": {"path": "/crplugins/metrics", "token": None},
}
SERVED: Final[Mapping[str, Any]] = {
    "cheap": {"model": "openai/m-cheap"},
    "dear": {"model": "hosted_vllm/m-dear", "input_cost_per_token": 7e-5, "output_cost_per_token": 3e-4},
    "failing": {"model": "openai/m-down"},
    "mixed": [
        {"model": "openai/m-down", "weight": 1},
        {"model": "openai/m-spare", "weight": 2, "input_cost_per_token": 5e-6, "output_cost_per_token": 9e-6},
    ],
}
PRICES: Final = {"m-cheap": (1, 2), "m-dear": (70, 300), "m-spare": (5, 9)}
"""Micro-USD for each token of input and output, by the provider's name of the model."""


@dataclass
class Day:
    """What is left of it: the provider's log, the ledger's rows, what `crplugins usage` says, and the metrics."""

    told: Sequence[ReceivedRequest]
    rows: Sequence[Row]
    usage: Sequence[Row]
    scraped: Scraped

    def paid(self) -> list[Row]:
        return [row for row in self.rows if row["usage_source"] != "cache"]

    def cached(self) -> list[Row]:
        return [row for row in self.rows if row["usage_source"] == "cache"]


def plan() -> list[tuple[str, dict[str, Any]]]:
    """Path and body of the requests of a round."""
    dice = random.Random(20260614)
    planned = []
    for number in range(REQUESTS // ROUNDS):
        model, stream = list(SERVED)[number % len(SERVED)], dice.random() < 0.5
        text = f"Story {number}: " + "and then " * dice.randrange(40)
        if number % 5 == 4:
            planned.append(("/v1/completions", {"model": model, "prompt": text}))
        else:
            said = [{"role": "user", "content": text}]
            planned.append(("/v1/chat/completions", {"model": model, "messages": said, "stream": stream}))
    return planned


@pytest.fixture(scope="module", params=["callback", "entry"])
def day(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Day:
    folder = tmp_path_factory.mktemp(request.param)
    app = CALLBACK if request.param == "callback" else ENTRY
    more: dict[str, Any] = {"cache": True, "fallbacks": {"failing": ["dear"]}, "retries": 7}
    with running_proxy(folder, app, ours=OURS, served=SERVED, journal=False, **more) as proxy:
        told, scraped = asyncio.run(live(proxy))
    words = ["usage", "--by", "key,model", "--json", "--config", "crplugins.yaml"]
    done = subprocess.run(warm_crplugins(*words), cwd=folder, capture_output=True, text=True, check=True)
    return Day(told, read_table(folder / "usage.db", "usage"), json.loads(done.stdout), scraped)


async def live(proxy: Proxy) -> tuple[Sequence[ReceivedRequest], Scraped]:
    async with (
        EveryEndpoint(port=proxy.provider_port, keep_requests=20 * REQUESTS) as provider,
        httpx.AsyncClient(base_url=proxy.url, timeout=90, follow_redirects=True) as client,
    ):
        provider.script("m-down", Script.error(500, "out of order", "server_error"))
        slots = asyncio.Semaphore(6)

        async def send(number: int, path: str, body: dict[str, Any]) -> None:
            secret = list(KEYS.values())[number % len(KEYS)]
            async with slots:
                answer = await client.post(path, json=body, headers={"authorization": f"Bearer {secret}"})
            assert answer.status_code == 200, answer.text

        for turn in range(ROUNDS):
            await asyncio.gather(*(send(number + turn, *one) for number, one in enumerate(plan())))
        for _ in range(600):
            scraped = Scraped((await client.get("/crplugins/metrics")).text)
            if scraped.total("crplugins_requests_total") == ROUNDS * len(plan()):
                break
            await asyncio.sleep(0.1)
        return list(provider.requests), scraped


def test_what_the_provider_told_stands_in_the_ledger_to_the_token_and_the_millionth(day: Day) -> None:
    told: Counter[tuple[str, str]] = Counter()
    for request in day.told:
        if request.usage is not None and request.model in PRICES:
            (sent, got), (price_in, price_out) = request.usage, PRICES[request.model]
            told[request.model, "input_tokens"] += sent
            told[request.model, "output_tokens"] += got
            told[request.model, "cost_micro_usd"] += sent * price_in + got * price_out
    assert {row["usage_source"] for row in day.paid()} == {"provider"}
    for measure in ("input_tokens", "output_tokens", "cost_micro_usd"):
        booked = summed(day.paid(), measure, "served_model")
        assert {model: n for (model,), n in booked.items()} == {m: n for (m, of), n in told.items() if of == measure}


def test_ledger_command_and_prometheus_agree(day: Day) -> None:
    for measure in ("input_tokens", "output_tokens"):
        seen = day.scraped.by(f"crplugins_{measure}_total", "model", "key_id")
        assert seen == summed(day.paid(), measure, "requested_model", "key_id")
        assert summed(day.usage, measure, "requested_model", "key_id") == seen
    spent = summed(day.paid(), "cost_micro_usd", "requested_model", "key_id")
    seen = day.scraped.by("crplugins_cost_usd_total", "model", "key_id")
    assert {labels: round(usd * 1e6) for labels, usd in seen.items()} == spent
    assert sum(round(line["cost_usd"] * 1e6) for line in day.usage) == sum(spent.values())


def test_answers_from_the_cache_are_apart_and_free(day: Day) -> None:
    assert {row["cost_micro_usd"] for row in day.cached()} == {0}
    seen = day.scraped.by("crplugins_cache_answers_total", "model", "key_id")
    assert seen == summed(day.cached(), "count", "requested_model", "key_id")
    for measure in ("input_tokens", "output_tokens"):
        seen = day.scraped.by(f"crplugins_cache_answer_{measure}_total", "model", "key_id")
        assert seen == summed(day.cached(), measure, "requested_model", "key_id")


def test_every_call_of_the_provider_is_an_attempt_and_every_request_a_record(day: Day) -> None:
    assert len(day.rows) == ROUNDS * len(plan()) == day.scraped.total("crplugins_requests_total")
    chat = sum(row["attempts"] for row in day.rows)
    assert chat == len(day.told)
    assert {row["outcome"] for row in day.rows} == {"ok"}


def test_the_day_had_what_it_is_about(day: Day) -> None:
    """Otherwise the tests above prove little."""
    kinds = Counter((row["requested_model"], row["served_model"], row["usage_source"]) for row in day.rows)
    print(
        len(day.rows), "requests,", len(day.told), "calls,", sum(row["cost_micro_usd"] for row in day.rows), "micro-USD"
    )
    print(sorted(kinds.items()))
    assert ("failing", "m-dear", "provider") in kinds
    assert ("mixed", "m-spare", "provider") in kinds
    assert {("cheap", "m-cheap", "cache"), ("failing", "m-dear", "cache")} <= set(kinds)
