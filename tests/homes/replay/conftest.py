"""A real gateway that refuses, and what another configuration makes of its traffic."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from crplugins.config import parse_config
from crplugins.homes.replay.plan import replay
from crplugins.keys.inline import InlineKeys
from crplugins.ledger.database import LedgerDatabase
from crplugins.ledger.ledger import spool_path
from crplugins.ledger.reader import LedgerReader
from crplugins.testing import FakeProvider, Script
from tests.postgresql_setup import (  # noqa: F401  # fixtures
    allow_drivers_to_block,
    database_url,
    postgres_url,
    sqlite_url,
)


@pytest.fixture(autouse=True)
def what_may_block(blockbuster):
    allow_drivers_to_block(blockbuster)


@pytest.fixture
async def provider():
    async with FakeProvider() as provider:
        provider.script("slow", Script(text="word " * 30, frame_delay=0.005, delay=0.03))
        provider.script("silent", Script(usage="off"))
        provider.script("broken", Script(status=500))
        yield provider


def refusing(provider, ledger_url):
    """The words of a configuration in which everything refuses that a replay decides anew."""

    def model(name):
        upstream = {
            "model": f"openai/{name}",
            "api_base": provider.base_url,
            "api_key": "sk-upstream",
            "num_retries": 0,
        }
        price = {"input_cost_per_token": 2e-6, "output_cost_per_token": 8e-6}
        return {"model_name": name, "litellm_params": upstream, "model_info": price}

    def burst(name, amount, burst):
        return {name: amount, "burst": {name: burst}}

    return {
        "model_list": [model("m"), model("slow"), model("silent"), model("broken")],
        "aliases": {"fast": "m"},
        "keys": [
            {"id": "requests", "secret": "sk-1", "limits": burst("requests_per_minute", 120, 6)},
            {"id": "tokens", "secret": "sk-2", "limits": burst("tokens_per_minute", 6000, 900)},
            {"id": "poor", "secret": "sk-3", "budget": {"usd": 0.01, "period": "day"}},
            {"id": "narrow", "secret": "sk-4", "limits": {"max_parallel_requests": 1}},
            {"id": "listed", "secret": "sk-5", "models": ["fast", "m"], "team": "search"},
        ],
        "limits": {
            "per_team": {"search": burst("requests_per_minute", 200, 5)},
            "per_model": {"slow": {"max_parallel_requests": 3}},
        },
        "ledger": {"url": ledger_url, "commit_seconds": 0},
    }


async def drive(url, each, seed):
    """So many requests by two clients of each key: plain and streamed, short and long, to models of all kinds."""
    rng = random.Random(seed)
    async with aiohttp.ClientSession() as session:

        async def ask(secret):
            body = {
                "model": rng.choice(["m", "m", "fast", "slow", "silent", "broken", "nobody"]),
                "messages": [{"role": "user", "content": "x" * rng.choice([5, 400, 1500])}],
                "stream": rng.random() < 0.5,
                "n": rng.choice([1, 1, 1, 2]),
            }
            if rng.random() < 0.7:
                body["max_tokens"] = rng.choice([300, 600])  # more than any answer has: growth is not replayed
            headers = {"authorization": f"Bearer {secret}"}
            async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as response:
                await response.read()

        async def client(secret):
            for _ in range(each):
                await ask(secret)
                await asyncio.sleep(rng.random() * 0.05)

        await asyncio.gather(*(client(f"sk-{number}") for number in range(1, 6) for _ in range(2)))


async def replayed(words, ledger_url, since=None, until=None):
    """The report as JSON, the shadows, and the fate of each request by its id."""
    keys = InlineKeys(words["keys"]).keys if words.get("keys") else ()
    until = until or datetime.now(UTC) + timedelta(seconds=5)
    fates = {}
    database = LedgerDatabase(ledger_url, migrate=False)
    reader = LedgerReader(database, spool_path(database))
    try:
        report, shadowed = await replay(
            reader,
            parse_config(words),
            keys,
            since or until - timedelta(hours=1),
            until,
            lambda fate: fates.update({fate.past.request_id: fate}),
            strangers=not keys,
        )
    finally:
        await database.close()
    return report.to_dict(), shadowed, fates
