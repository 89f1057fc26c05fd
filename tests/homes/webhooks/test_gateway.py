"""Webhooks of a running gateway: thresholds of budgets and the end of keys, once, by whichever process."""

import asyncio
import json
import os
import re
import subprocess
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from crplugins.config import ConfigError, parse_config
from crplugins.core.principal import Budget, Principal
from crplugins.homes.assembly import find
from crplugins.homes.gateway.app import Gateway
from crplugins.homes.webhooks import plugin as webhooks
from crplugins.homes.webhooks.delivery import Receiver
from crplugins.homes.webhooks.plugin import Webhooks
from crplugins.keys.file import FileKeys
from crplugins.keys.opening import open_store
from crplugins.keys.service import KeyService
from crplugins.limits.redis.store import RedisStore
from crplugins.limits.reservations import Reservations
from crplugins.plugins.budgets.watch import BudgetWatch
from crplugins.plugins.budgets.windows import BudgetWindows
from crplugins.testing import FakeProvider
from tests.keys.conftest import what_may_block  # noqa: F401  # a fixture
from tests.ports import free_port
from tests.redis_setup import redis_process  # noqa: F401  # fixture
from tests.warm import warm_crplugins

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PRICES = {"input_cost_per_token": 0.01, "output_cost_per_token": 0.01}
KEY = {"id": "a", "secret": "sk-a-0123456789abcdef", "team": "search", "budget": {"usd": 0.4, "period": "month"}}


def hook(url, **options):
    return {"url": url + "/hooks?token=hidden", "secret": SECRET, "private_addresses": True, **options}


def configured(provider_url, hooks, **words):
    params = {"model": "openai/m", "api_base": provider_url, "api_key": "sk-up"}
    model = {"model_name": "m", "litellm_params": params, "model_info": PRICES, "handler": "direct"}
    return {"model_list": [model], "keys": [KEY], "webhooks": hooks} | words


@pytest.fixture(autouse=True)
def looks_often(monkeypatch):
    monkeypatch.setattr(webhooks, "BUDGET_SECONDS", 0.02)


@asynccontextmanager
async def gateway(serve, *hooks, **words):
    """The app, and `await chat()`, which is the status of a request that costs 0.08 USD."""
    async with FakeProvider() as provider:
        app = Gateway(**configured(provider.base_url, hooks, **words))
        async with serve(app) as app.url, aiohttp.ClientSession() as session:

            async def chat(key=KEY["secret"], max_tokens=3):
                body = {"model": "m", "max_tokens": max_tokens, "messages": [{"role": "user", "content": "hi"}]}
                headers = {"authorization": f"Bearer {key}"}
                async with session.post(f"{app.url}/v1/chat/completions", json=body, headers=headers) as answer:
                    await answer.read()
                    return answer.status

            yield app, chat


async def test_each_threshold_of_a_budget_is_told_once(serve, hearing):
    async with hearing() as (heard, url):
        async with gateway(serve, hook(url, budget_thresholds=[0.5, 0.2])) as (app, chat):
            assert await chat() == 200  # 0.08 of 0.40 USD
            await heard.until(1)
            assert await chat() == 200
            assert await chat() == 200
            await heard.until(2)
            assert [await chat(), await chat()] == [200, 429]  # 0.32 USD, and less is left than a request may cost
            await heard.until(3)
        assert find(Webhooks, app.plugins).deliveries == {
            ("budget.threshold", "delivered"): 2, ("budget.exhausted", "delivered"): 1,
        }  # fmt: skip
        told = [(kind, data["threshold"], data["owner"], data["limit_usd"]) for kind, data in heard.events()]
        assert max(data["spent_usd"] for _, data in heard.events()) <= 0.4
        assert told == [
            ("budget.exhausted", 1.0, "a", 0.4), ("budget.threshold", 0.2, "a", 0.4), ("budget.threshold", 0.5, "a", 0.4),
        ]  # fmt: skip
        assert len(heard.messages) == 3


async def test_the_last_request_of_a_process_is_told_of_at_its_end(serve, hearing, monkeypatch):
    monkeypatch.setattr(webhooks, "BUDGET_SECONDS", 3600)
    async with hearing() as (heard, url):
        async with gateway(serve, hook(url, budget_thresholds=[0.1])) as (_, chat):
            assert await chat() == 200
        assert [kind for kind, _ in heard.events()] == ["budget.threshold"]


async def test_a_budget_of_a_team_and_the_events_that_a_receiver_wants(serve, hearing):
    keys = [{**KEY, "budget": None}]
    budgets = {"per_team": {"search": {"usd": 0.3, "period": "total"}}}
    async with hearing() as (heard, url), hearing() as (others, other_url):
        hooks = [hook(url, budget_thresholds=[0.2]), hook(other_url, events=["key.expired"])]
        async with gateway(serve, *hooks, keys=keys, budgets=budgets) as (_, chat):
            await chat()
            await heard.until(1)
            [(kind, data)] = heard.events()
            assert (kind, data["scope"], data["owner"], data["resets_at"]) == (
                "budget.threshold", "team", "search", None,
            )  # fmt: skip
        assert others.messages == []


@pytest.mark.parametrize("kind", ["inline", "file", "sql"])
async def test_keys_that_end_soon_and_those_that_have_ended_are_told(serve, hearing, tmp_path, kind):
    now = datetime.now(UTC)
    ends = {"soon": timedelta(days=5), "tonight": timedelta(hours=5), "over": timedelta(hours=-1),
            "long ago": timedelta(days=-3), "later": timedelta(days=30)}  # fmt: skip
    keys = [
        {"id": name, "secret": f"sk-{name}-0123456789abcdef", "owner": "ann", "expires": (now + time).isoformat()}
        for name, time in ends.items()
    ]
    keys += [
        {
            "id": "off",
            "secret": "sk-off-0123456789abcdef",
            "disabled": True,
            "expires": (now + ends["soon"]).isoformat(),
        }
    ]
    keys += [{"id": "for ever", "secret": "sk-ever-0123456789abcdef"}]
    source = {"inline": keys, "file": {"file": f"{tmp_path}/keys.yaml"}, "sql": {"sql": f"sqlite:///{tmp_path}/gw.db"}}[
        kind
    ]
    if kind != "inline":
        async with open_store(source) as store:
            service = KeyService(store, now=lambda: now - timedelta(days=10))
            for key in keys:
                await service.take(key)
    async with hearing() as (heard, url), gateway(serve, hook(url), keys=source) as (app, _):
        await heard.until(3)
        await find(Webhooks, app.plugins).look_at_keys()
        told = [(kind, data["key"], data["owner"], data.get("days")) for kind, data in heard.events()]
        assert sorted(told, key=lambda each: each[1]) == [
            ("key.expired", "over", "ann", None), ("key.expiring", "soon", "ann", 7),
            ("key.expiring", "tonight", "ann", 1),
        ]  # fmt: skip


async def scraped(session, app):
    """The metrics as Prometheus reads them."""
    async with session.get(f"{app.url}/metrics") as answer:
        return await answer.text()


async def test_a_dead_receiver_is_counted_and_costs_no_request_anything(serve, hearing):
    dead = hook(f"http://127.0.0.1:{free_port()}", budget_thresholds=[0.01])
    metrics = {"token": None}
    keys = [
        {"id": f"k{number}", "secret": f"sk-{number}-0123456789abcdef", "budget": {"usd": 4, "period": "day"}}
        for number in range(100)
    ]
    async with hearing() as (heard, url):
        hooks = [dead, hook(url, budget_thresholds=[0.01])]
        async with gateway(serve, *hooks, keys=keys, metrics=metrics) as (app, chat):
            statuses = await asyncio.gather(*(chat(key["secret"]) for key in keys for _ in range(2)))
            assert set(statuses) == {200}
            await heard.until(100)
            plugin = find(Webhooks, app.plugins)
            assert plugin.pending >= 100  # of the dead one
            delivered = 'crplugins_webhook_deliveries_total{event="budget.threshold",outcome="delivered"} 100.0'
            async with aiohttp.ClientSession() as session, asyncio.timeout(30):
                while delivered not in (text := await scraped(session, app)):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)  # the answer to the last one is read
            assert "crplugins_webhook_pending_messages 100.0" in text
            assert 'event="budget.threshold",outcome="retried"' in text
        assert len(set(heard.ids)) == len(heard.messages) == 100


async def test_budgets_that_nobody_can_read_for_long_are_remembered_up_to_a_number(monkeypatch):
    """Each user of an identity provider is a key with a budget of its own, and an outage may last for days."""
    monkeypatch.setattr(webhooks, "MOST_WATCHED", 50)
    budgets, watch = BudgetWindows(Budget(1_000_000, "day"), {}, 0.8), BudgetWatch()
    store = Reservations(RedisStore(f"redis://127.0.0.1:{free_port()}"))
    looking = Webhooks([], [], watch, store, FileKeys("keys.yaml"))
    for day in range(10):
        for number in range(20):
            watch.note(budgets.of(Principal(key_id=f"{day}-{number}"), 1_700_000_000_000))
        await looking.look_at_budgets()
    kept = [each.window.owner for each in looking._again.values()]
    assert kept == [f"{day}-{number}" for day in (7, 8, 9) for number in range(20)][-50:]


async def test_a_request_that_is_too_large_is_no_end_of_a_budget(serve, hearing):
    async with hearing() as (heard, url):
        async with gateway(serve, hook(url, budget_thresholds=[0.3])) as (_, chat):
            assert await chat() == 200
            assert [await chat(max_tokens=1000), await chat()] == [429, 200]
            await heard.until(1)
        assert [kind for kind, _ in heard.events()] == ["budget.threshold"]


async def test_a_receiver_that_cannot_be_is_an_error_of_the_configuration():
    for wrong, said in (
        ({"url": "ftp://hooks.example.com"}, "must be an http:// or https:// URL"),
        ({"url": "https://user:pass@hooks.example.com/"}, "without a user"),
        ({"url": "https://h/", "secret": "short"}, "must have 16 characters"),
        ({"url": "https://h/", "secret": SECRET, "events": ["budget"]}, "events"),
        ({"url": "https://h/", "secret": SECRET, "budget_thresholds": [1.5]}, "budget_thresholds"),
        ({"url": "https://h/", "secret": SECRET, "events": []}, "events"),
    ):
        with pytest.raises(ConfigError, match=said) as error:
            Gateway(webhooks=[wrong])
        assert "pass@" not in str(error.value)


@pytest.mark.parametrize("store", ["memory", "redis"])
async def test_of_several_worker_processes_one_tells(hearing, tmp_path, request, store):
    """With `memory` the workers of one command share a file, as with every limit."""
    store = request.getfixturevalue("redis_process").url if store == "redis" else store
    port = free_port()
    async with hearing() as (heard, url), FakeProvider(port=port):
        words = configured(f"http://127.0.0.1:{port}/v1", [hook(url, budget_thresholds=[0.001])])
        words["keys"] = [{**KEY, "budget": {"usd": 40, "period": "month"}}]
        words["limits"] = {"store": store}
        (tmp_path / "gateway.yaml").write_text(json.dumps(words))
        command = warm_crplugins("serve", "--port", 0, "--workers", 3)
        process = await asyncio.to_thread(
            lambda: subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        )
        with process:
            try:
                line = await asyncio.to_thread(os.read, process.stdout.fileno(), 65536)
                base = re.search(r"http://\S+", line.decode())[0]
                connector = aiohttp.TCPConnector(limit=0, force_close=True)  # a connection each, for all workers
                headers = {"authorization": f"Bearer {KEY['secret']}"}
                async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

                    async def chat():
                        body = {"model": "m", "max_tokens": 3, "messages": [{"role": "user", "content": "hi"}]}
                        async with session.post(f"{base}/v1/chat/completions", json=body) as answer:
                            await answer.read()
                            return answer.status

                    assert set(await asyncio.gather(*(chat() for _ in range(60)))) == {200}
                await heard.until(1)
            finally:
                process.terminate()
                await asyncio.to_thread(process.wait)
        assert [kind for kind, _ in heard.events()] == ["budget.threshold"]


async def test_what_a_receiver_is_to_be_told_and_has_been_told_outlives_a_reload(serve, hearing, monkeypatch):
    """It is down at the reload, and nobody asks for the key that has spent its budget any more."""
    waits = asyncio.Event()

    async def pause(_receiver, _seconds):
        await waits.wait()

    monkeypatch.setattr(Receiver, "_pause", pause)
    async with hearing(204, 503, 204) as (heard, url), FakeProvider() as provider:
        words = configured(provider.base_url, [hook(url, budget_thresholds=[0.2, 0.3])])
        app = Gateway(**words)
        async with serve(app) as address, aiohttp.ClientSession() as session:

            async def chat():
                body = {"model": "m", "max_tokens": 3, "messages": [{"role": "user", "content": "hi"}]}
                headers = {"authorization": f"Bearer {KEY['secret']}"}
                async with session.post(f"{address}/v1/chat/completions", json=body, headers=headers) as answer:
                    return answer.status

            assert await chat() == 200
            await heard.until(1)
            assert await chat() == 200
            await heard.until(2)
            for number in range(3):
                await app.reload(parse_config({**words, "aliases": {f"other-{number}": "m"}}))
            waits.set()
            await heard.until(3)
    told = find(Webhooks, app.plugins).deliveries
    assert told == {("budget.threshold", "delivered"): 2, ("budget.threshold", "retried"): 1}
    assert len(set(heard.ids)) == 2
    assert heard.ids[1] == heard.ids[2]
