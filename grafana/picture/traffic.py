"""A gateway with some hours' worth of life in a few minutes, and the Prometheus that watches it.

`python -m grafana.picture.traffic FOLDER MINUTES` prints the address of Prometheus when the time is over, and keeps it
there until Ctrl-C.
"""

import asyncio
import json
import math
import random
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import aiohttp

from crplugins.testing import FakeProvider, Script
from tests.grafana.live_gateway import PATH, LiveGateway, secret
from tests.grafana.live_prometheus import LivePrometheus

GATEWAY_PORT: Final = 4099
PROMETHEUS_PORT: Final = 9099
PRICES: Final = {"gpt-4o-mini": 4e-6, "claude-sonnet": 3e-5, "llama-3.3-70b": 8e-6}
KEYS: Final = ("search-prod", "support-bot", "batch-jobs", "notebooks")
BUSY: Final = {"search-prod": 6, "support-bot": 4, "batch-jobs": 2, "notebooks": 1}
LIMITS: Final = {
    "search-prod": {"requests_per_minute": 400, "tokens_per_minute": 500_000, "max_parallel_requests": 60},
    "support-bot": {"requests_per_minute": 300, "tokens_per_minute": 250_000},
    "batch-jobs": {"requests_per_minute": 110, "burst": {"requests_per_minute": 20}, "queue": {"seconds": 2}},
    "notebooks": {"requests_per_minute": 120, "tokens_per_minute": 40_000},
}
"""The third is at its limit when it is busy, and waits for it."""


def configuration(provider: FakeProvider) -> dict[str, Any]:
    models = [
        {
            "model_name": name,
            "litellm_params": {"model": f"openai/{name}", "api_base": provider.base_url, "api_key": "sk-upstream"},
            "handler": "direct",
            "on_break": "restart",
            "model_info": {"input_cost_per_token": price, "output_cost_per_token": price * 4},
        }
        for name, price in PRICES.items()
    ]
    keys = [
        {
            "id": key,
            "secret": secret(key),
            "team": key.partition("-")[0],
            "limits": LIMITS[key],
            "budget": {"usd": usd, "period": "day"},
        }
        for key, usd in zip(KEYS, (160, 100, 48, 32), strict=True)
    ]
    return {
        "model_list": models,
        "keys": keys,
        "fallbacks": [{"claude-sonnet": ["gpt-4o-mini"]}],
        "ledger": {"url": "sqlite:///usage.db"},
        "metrics": {"token": None},
        "server": {"port": GATEWAY_PORT},
    }


def script(model: str, luck: random.Random, moment: float) -> Script:
    """An answer of its own for each request; the second model has a bad minute in the middle."""
    if luck.random() < (0.35 if model == "claude-sonnet" and 0.45 < moment < 0.55 else 0.004):
        return Script(status=luck.choice((500, 503, 429)))
    words = round(luck.lognormvariate(3.4, 0.5))
    prompt = round(luck.lognormvariate(6.4, 0.9))
    slow = {"gpt-4o-mini": 0.25, "claude-sonnet": 0.6, "llama-3.3-70b": 0.12}[model]
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": words,
        "total_tokens": prompt + words,
        "prompt_tokens_details": {"cached_tokens": round(prompt * luck.uniform(0.2, 0.6))},
    }
    return Script(
        text=" ".join(["word"] * words),
        usage_object=usage,
        first_byte_delay=luck.lognormvariate(math.log(slow), 0.4),
        frame_delay=slow / 25,
        cut_after=5 if luck.random() < 0.01 else None,
    )


async def ask(session: aiohttp.ClientSession, url: str, model: str, key: str, *, stream: bool) -> None:
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hi"}]}
    try:
        async with session.post(url + PATH, json=body, headers={"authorization": f"Bearer {secret(key)}"}) as response:
            await response.read()
    except (aiohttp.ClientError, TimeoutError):
        pass


async def load(provider: FakeProvider, url: str, seconds: float) -> None:
    luck, tasks, loop = random.Random(7), set[asyncio.Task[None]](), asyncio.get_running_loop()  # noqa: S311
    began = loop.time()
    async with aiohttp.ClientSession() as session:
        while (moment := (loop.time() - began) / seconds) < 1:
            model = luck.choices(list(PRICES), (5, 3, 4))[0]
            provider.script(model, script(model, luck, moment))
            key = luck.choices(list(BUSY), list(BUSY.values()))[0]
            task = asyncio.create_task(ask(session, url, model, key, stream=luck.random() < 0.8))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            rate = 8 + 5 * math.sin(moment * 9) + luck.uniform(-2, 2)
            await asyncio.sleep(1 / max(rate, 1))


async def main(folder: Path, minutes: float) -> None:
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(FakeProvider())
        gateway = LiveGateway(folder, provider, GATEWAY_PORT)
        _write(folder / "gateway.yaml", configuration(provider))
        await gateway.start()
        stack.push_async_callback(gateway.stop)
        target = gateway.url.removeprefix("http://")
        prometheus = await stack.enter_async_context(LivePrometheus(folder, target, PROMETHEUS_PORT))
        await load(provider, gateway.url, minutes * 60)
        sys.stdout.write(f"{prometheus.url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def _write(file: Path, configuration: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(configuration), encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2])))
