"""`crplugins keys show`: how the limits and the budget of a key stand."""

# ruff: noqa: F811  # fixtures of another module

import asyncio
import concurrent.futures
import json
import threading

import aiohttp
import pytest

from crplugins.homes.gateway.app import Gateway
from crplugins.limits.limit import Charge, Limit, Reservation
from crplugins.limits.opening import open_limit_store
from tests.cli.test_keys import Command, blockbuster, command, keys, made  # noqa: F401  # fixtures
from tests.conftest import serving

TOKEN = "admin-token-0123456789"

CONFIG = """\
model_list: [{{model_name: m, litellm_params: {{model: openai/m, api_base: "http://127.0.0.1:9/v1"}}}}]
keys: {{file: keys.yaml}}
limits: {{store: "{store}"}}
budgets: {{per_team: {{search: {{usd: 100, period: month}}}}}}
"""
NEW = "keys new --id a --team search --limit requests_per_minute=60 --budget usd=5/month".split()


async def _use_seven(url):
    async with open_limit_store(url) as store:
        limit = Limit("meter", "key/a/requests/60000", 60, 60_000, 60)
        await store.reserve(Reservation("r", (Charge(limit, 7),)))


@pytest.fixture
def used():
    return lambda url: asyncio.run(_use_seven(url))


def test_what_is_used_of_each_limit_is_shown(command, used, tmp_path):
    url = f"sqlite:///{tmp_path}/limits.db"
    (tmp_path / "gateway.yaml").write_text(CONFIG.format(store=url))
    assert command(*NEW)[0] == 0
    used(url)
    shown = json.loads(command("keys", "show", "a", "--json")[1])["standing"]
    [limit] = shown["limits"]
    assert (limit["name"], limit["scope"], limit["owner"], limit["limit"]) == ("requests_per_minute", "key", "a", 60)
    assert 6 <= limit["used"] <= 7  # it drains by one a second
    assert limit["used"] + limit["remaining"] == 60
    assert [(budget["scope"], budget["owner"], budget["limit_usd"]) for budget in shown["budgets"]] == [
        ("key", "a", 5.0),
        ("team", "search", 100.0),
    ]
    table = command("keys", "show", "a")[1]
    assert "requests_per_minute" in table
    assert "budget per month" in table


@pytest.fixture
def gateway(tmp_path):
    """The URL of a gateway in this process, with a key of which a request has been counted in its memory."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    keys = [{"id": "a", "secret": "sk-a", "limits": {"requests_per_day": 5}, "budget": {"usd": 5, "period": "day"}}]
    stop = asyncio.Event()
    started = concurrent.futures.Future()

    async def run():
        async with serving(Gateway(keys=keys, admin={"token": TOKEN})) as url:
            async with aiohttp.ClientSession() as session:
                body = {"model": "demo/echo", "messages": [{"role": "user", "content": "hi"}]}
                headers = {"authorization": "Bearer sk-a"}
                async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as answer:
                    started.set_result((url, answer.status))
            await stop.wait()

    running = asyncio.run_coroutine_threadsafe(run(), loop)
    url, status = started.result(60)
    assert status == 200
    yield url
    loop.call_soon_threadsafe(stop.set)
    running.result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_limits_in_the_memory_of_the_gateway_are_asked_for_there(command, gateway, tmp_path):
    port = gateway.rpartition(":")[2]
    configuration = {
        "keys": [{"id": "a", "secret": "sk-a-0123456789", "limits": {"requests_per_day": 5}}],
        "server": {"port": int(port)},
        "admin": {"token": TOKEN},
    }
    file = tmp_path / "gateway.yaml"
    file.write_text(json.dumps(configuration))
    [limit] = json.loads(command("keys", "show", "a", "--json")[1])["standing"]["limits"]
    assert (limit["name"], limit["used"], limit["remaining"]) == ("requests_per_day", 1, 4)
    file.write_text(json.dumps(configuration | {"server": {"port": 1}}))
    code, out, _ = command("keys", "show", "a")
    assert code == 0
    assert "no gateway answers at http://127.0.0.1:1/admin/limits?key=a" in " ".join(out.split())
    assert "requests_per_day" in command("keys", "show", "a", "--gateway", gateway)[1]
    file.write_text(json.dumps(configuration | {"admin": {"token": TOKEN[::-1]}}))
    assert "answers 401" in " ".join(command("keys", "show", "a")[1].split())


def test_without_an_admin_token_the_way_to_see_limits_in_memory_is_said(command, tmp_path):
    (tmp_path / "gateway.yaml").write_text(CONFIG.format(store="memory"))
    command(*NEW)
    assert json.loads(command("keys", "show", "a", "--json")[1])["standing"] is None
    shown = " ".join(command("keys", "show", "a")[1].split())
    assert "in the memory of the gateway, which is asked if the configuration has admin: {token: ...}" in shown
