# ruff: noqa: F811  # fixtures are parameters of the same name
"""Everything goes wrong at once, for as long as one likes: nothing hangs, nothing leaks, and the books stay exact.

Two workers, limits in Redis and a ledger in PostgreSQL, both of which are stopped and started meanwhile; a provider that
fails in every way it can, and clients that leave. Only with SOAK_SECONDS in the environment (60 is the short form, 1200
the long one); SOAK_RATE requests a second, SOAK_SEED. Prints what it has found (`-s`).
"""

import asyncio
import json
import os
import random
import re
import signal
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg
import pytest

from crplugins.testing import ReceivedRequest
from tests.failover.chaos import KEYS, MODELS, PATIENCE, PRICES, TOO_LONG, Chaos, Traffic, secret_of
from tests.integration.metering_books import Row, Scraped
from tests.postgresql_setup import postgres_url  # noqa: F401  # fixture
from tests.redis_setup import fragile_redis  # noqa: F401  # fixture
from tests.warm import INSTALLED

SECONDS: Final = int(os.environ.get("SOAK_SECONDS", "0"))
RATE: Final = float(os.environ.get("SOAK_RATE", "50"))
SEED: Final = int(os.environ.get("SOAK_SEED", "16"))

# litellm makes a coroutine in a thread; a client that leaves in that moment leaves nobody to await it.
_LITELLMS: Final = re.compile(r"coroutine 'OpenAIChatCompletion\.\w+' was never awaited")

pytestmark = pytest.mark.skipif(not SECONDS, reason="takes SOAK_SECONDS, which are not given")


async def test_a_day_of_chaos_leaves_exact_books_and_no_litter(tmp_path, postgres, postgres_url, fragile_redis):
    async with Chaos(SEED) as provider:
        process, url = await started(tmp_path, provider, postgres_url, fragile_redis.url)
        try:
            traffic = Traffic(url, SEED)
            begun = await warmed_up(traffic, provider)
            hurting = asyncio.create_task(hurt(postgres, fragile_redis, SECONDS * 0.9))
            await traffic.run(RATE, SECONDS)
            await hurting
            took = time.monotonic() - begun
            scraped = await calm(url, provider)
            await traffic.run(20, 5, prefix="z")  # it still works
            scraped = await calm(url, provider)
            vitals = vitals_of(tmp_path)
        finally:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(90):
                code = await process.wait()
        rows = await rows_of(postgres_url)
    log = (tmp_path / "stderr").read_text(errors="replace")
    report(traffic, provider, rows, scraped, vitals, took, log)
    wrong = [
        *([f"exit code {code}"] if code else []),
        *(f"failed: {one}" for one in traffic.asked if one.failure),
        *(f"hung: {one}" for one in traffic.hung),
        *reconciled(traffic, provider, rows),
        *totals(rows, scraped),
        *leaks(vitals),
        *(
            line
            for line in log.splitlines()
            if re.search("Traceback|never retrieved|never awaited", line) and not _LITELLMS.search(line)
        ),
    ]
    print("wrong", sorted(Counter(_kind(line)[:40] for line in wrong).items()))
    print("\n".join(wrong[:60]))
    assert wrong == []


async def started(folder: Path, provider: Chaos, ledger: str, store: str) -> tuple[asyncio.subprocess.Process, str]:
    breaks = ("error", "restart", "continue", "restart")
    models = [
        {
            "model_name": f"m{number}",
            "litellm_params": {
                "model": f"openai/m{number}-{which}", "api_base": provider.base_url, "api_key": "sk-upstream-987654321",
                "first_token_timeout": PATIENCE, "stall_timeout": PATIENCE, "timeout": 8,
            },
            "model_info": {**PRICES[which], "supports_assistant_prefill": True},
            "handler": "litellm" if number % 4 == 3 else "direct",
            "on_break": breaks[number % 4],
            "order": {"first": 1, "second": 2}[which] if number % 2 else 1,
        }
        for number in range(MODELS)
        for which in ("first", "second")
    ]  # fmt: skip
    config = {
        "model_list": models,
        "keys": [{"id": key, "secret": secret_of(key), **words} for key, words in KEYS.items()],
        "limits": {"store": store, "on_store_error": "local", "queue": {"seconds": 2, "length": 50}},
        "ledger": {"url": ledger},
        "metrics": {"token": None},
        "fallbacks": [{"m0": ["m1"]}, {"m2": ["m3"]}],
        "plugins": ["tests.failover.vitals.Vitals"],
        "server": {"port": 0},
    }
    (folder / "gateway.yaml").write_text(json.dumps(config))
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "VITALS": str(folder)}
    with (folder / "stderr").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            INSTALLED, "serve", "--workers", "2", cwd=folder, env=environ, stdout=asyncio.subprocess.PIPE, stderr=log
        )
    assert process.stdout is not None
    async with asyncio.timeout(120):
        line = (await process.stdout.readline()).decode()
    found = re.search(r"http://\S+", line)
    assert found, (folder / "stderr").read_text()
    url = found[0].rstrip("/")
    async with aiohttp.ClientSession() as session, asyncio.timeout(120):
        ready = 0
        while ready < 20:  # both workers
            try:
                async with session.get(f"{url}/readyz", headers={"connection": "close"}) as response:
                    ready = ready + 1 if response.status == 200 else 0
            except aiohttp.ClientError:
                ready = 0
            await asyncio.sleep(0.1 if not ready else 0)
    return process, url


async def warmed_up(traffic: Traffic, provider: Chaos) -> float:
    provider.calm = True
    await traffic.run(20, 5, prefix="w")
    provider.calm = False
    return time.monotonic()


async def hurt(postgres: Any, redis: Any, seconds: float) -> None:
    """Both stores go away and come back, by turns, for a part of the time."""
    dice, until = random.Random(SEED), time.monotonic() + seconds
    turn = 0
    while True:
        await asyncio.sleep(dice.uniform(4, 12))
        if time.monotonic() > until - 8:
            return
        away, turn = dice.uniform(1, 4), turn + 1
        if turn % 3 == 0:
            await asyncio.to_thread(postgres.stop)
            await asyncio.sleep(away)
            await asyncio.to_thread(postgres.start)
        elif turn % 3 == 1:
            redis.kill()
            await asyncio.sleep(away)
            await asyncio.to_thread(redis.start)
        else:
            redis.stop()
            await asyncio.sleep(away)
            redis.cont()


async def calm(url: str, provider: Chaos) -> Scraped:
    """The metrics, when nothing is in flight and all records are written."""
    provider.calm = True
    until = time.monotonic() + 60
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{url}/metrics") as response:
                scraped = Scraped(await response.text())
            waiting = scraped.total("crplugins_requests_in_flight") + scraped.total("crplugins_ledger_spooled_records")
            if not waiting or time.monotonic() > until:
                await asyncio.sleep(3)
                return scraped
            await asyncio.sleep(0.2)


async def rows_of(url: str) -> list[Row]:
    connection = await asyncpg.connect(url)
    try:
        return [dict(row) for row in await connection.fetch("SELECT * FROM usage")]
    finally:
        await connection.close()


def reconciled(traffic: Traffic, provider: Chaos, rows: Sequence[Row]) -> list[str]:
    """What does not agree between the clients, the provider and the ledger."""
    wrong, by_user, by_id = [], Counter(row["user"] for row in rows), {row["request_id"]: row for row in rows}
    found = {row["user"]: row for row in rows}
    for asked in traffic.asked:
        if asked.leaves is not None and asked.status is None and not by_user[asked.marker]:
            continue  # it may have gone before it was read
        if by_user[asked.marker] != 1:
            wrong.append(f"{by_user[asked.marker]} records of {asked}")
            continue
        row = found[asked.marker]
        if asked.request_id is not None and by_id.get(asked.request_id) is not row:
            wrong.append(f"another id: {asked}")
        if asked.status is not None and row["status"] != asked.status:
            wrong.append(f"status {row['status']} of {asked}")
        if asked.whole and row["outcome"] not in ("ok", "cancelled"):
            wrong.append(f"outcome {row['outcome']} {row['error_type']} of {asked}")
        if row["duration_ms"] > TOO_LONG * 1000:
            wrong.append(f"{row['duration_ms']:.0f} ms: {_shown(row)}")
        wrong += _of_the_tokens(row, provider)
    return wrong


def _of_the_tokens(row: Row, provider: Chaos) -> list[str]:
    calls = provider.told.get(row["user"], [])
    # An attempt that failed while it connected, or whose time was over before it arrived, is no call of the provider.
    if row["attempts"] < len(calls):
        return [f"{row['attempts']} attempts, {len(calls)} calls: {_shown(row)}"]
    recorded = (row["input_tokens"], row["output_tokens"], row["cost_micro_usd"])
    if row["usage_source"] == "provider":
        told = [_worth(call) for call in calls if call.usage is not None]
        if recorded not in _sums(told):
            return [f"recorded {recorded}, told {told}: {_shown(row)}"]
    elif row["usage_source"] == "none" and any(recorded):
        return [f"a cost of nothing: {_shown(row)}"]
    return []


def _worth(call: ReceivedRequest) -> tuple[int, int, int]:
    assert call.usage is not None
    assert call.model is not None
    prompt, completion = call.usage
    prices = PRICES[call.model.rpartition("-")[2]]
    usd = prompt * prices["input_cost_per_token"] + completion * prices["output_cost_per_token"]
    return prompt, completion, round(usd * 1e6)


def _sums(told: Sequence[tuple[int, int, int]]) -> set[tuple[int, ...]]:
    """With and without each answer but the last: one that was told when its time was over was not heard."""
    found = {told[-1]} if told else set()
    for one in told[:-1]:
        found |= {tuple(a + b for a, b in zip(one, other, strict=True)) for other in found}
    return found


def _shown(row: Row) -> str:
    names = ("user", "key_id", "requested_model", "served_model", "stream", "status", "error_type", "usage_source")
    return " ".join(str(row[name]) for name in names)


def totals(rows: Sequence[Row], scraped: Scraped) -> list[str]:
    """Where the ledger and Prometheus differ."""
    pairs = {
        name: (sum(row[name] for row in rows), scraped.total(f"crplugins_{name}_total"))
        for name in ("input_tokens", "output_tokens")
    }
    pairs["micro-USD"] = (
        sum(row["cost_micro_usd"] or 0 for row in rows), round(scraped.total("crplugins_cost_usd_total") * 1e6)
    )  # fmt: skip
    pairs["requests"] = (len(rows), scraped.total("crplugins_requests_total"))
    for gauge in ("requests_in_flight", "ledger_dropped_records_total", "hook_errors_total"):
        pairs[gauge] = (0, scraped.total(f"crplugins_{gauge}"))
    return [f"{name}: {one} recorded, {other} counted" for name, (one, other) in pairs.items() if one != other]


def vitals_of(folder: Path) -> Mapping[str, list[dict[str, Any]]]:
    return {
        file.stem: [json.loads(line) for line in file.read_text().splitlines()]
        for file in folder.glob("vitals-*.jsonl")
    }


def leaks(vitals: Mapping[str, list[dict[str, Any]]]) -> list[str]:
    """Tasks and files at the end, in calm, are few; memory does not grow between the second quarter and the last."""
    wrong = [] if len(vitals) == 2 else [f"{len(vitals)} workers"]
    for name, lines in vitals.items():
        last, quarter = lines[-1], len(lines) // 4
        second = statistics.median(line["kb"] for line in lines[quarter : 2 * quarter])
        fourth = statistics.median(line["kb"] for line in lines[-quarter:])
        if last["tasks"] > 20 or last["fds"] > 150:
            wrong.append(f"{name} has at the end {last}")
        if fourth - second > 0.1 * second + 8_000:
            wrong.append(f"{name} grew from {second} to {fourth} KB")
    return wrong


def report(
    traffic: Traffic, provider: Chaos, rows: Sequence[Row], scraped: Scraped, vitals: Any, took: float, log: str
) -> None:
    print(f"\n{len(traffic.asked)} requests in {took:.0f} s, {provider.received} calls, {len(rows)} records")
    print("statuses", sorted(Counter(str(one.status) for one in traffic.asked).items()))
    print("whole", sum(one.whole for one in traffic.asked), "hung", len(traffic.hung))
    for name in ("outcome", "error_type", "usage_source", "attempts"):
        print(name, sorted(Counter(str(row[name]) for row in rows).items()))
    slowest = sorted((row["duration_ms"] for row in rows), reverse=True)[:5]
    print("slowest in the gateway, ms", [round(milliseconds) for milliseconds in slowest])
    for name, lines in vitals.items():
        shown = [lines[number * (len(lines) - 1) // 8] for number in range(9)]
        for field in ("tasks", "fds", "kb"):
            print(name, field, [line[field] for line in shown], "most", max(line[field] for line in lines))
        print(name, "loop late by at most", max(line["late"] for line in lines))
    print("log lines", len(log.splitlines()), sorted(Counter(_kind(line) for line in log.splitlines()).most_common(12)))


def _kind(line: str) -> str:
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]+|\d+|m\S*", "#", line)[:90]
