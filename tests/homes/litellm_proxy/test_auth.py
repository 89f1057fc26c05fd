"""With LiteLLM's own keys: who calls, and how its limits and ours live side by side."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from crplugins.testing import FakeProvider, Script
from tests.proxy_setup import CALLBACK, ENTRY, MASTER_KEY, Proxy, needs_proxy, running_proxy

pytestmark = needs_proxy

HELLO: Any = [{"role": "user", "content": "Say hello to the gateway, please."}]
OURS: dict[str, Any] = {
    "aliases": {"fast": "fake-model"},
    "limits": {"per_key": {"requests_per_day": 40, "max_parallel_requests": 2}},
    "ledger": {"url": "sqlite:///usage.db", "commit_seconds": 0},
    "metrics": {"path": "/crplugins/metrics", "token": None},
    "server": {"max_body_bytes": 100_000},
}
REFUSER = '''
"""A callback of somebody else's, which refuses behind ours, as LiteLLM's own limiter does."""
from fastapi import HTTPException
from litellm.integrations.custom_logger import CustomLogger
from crplugins.homes.litellm_proxy import ProxyCallback

class Refuser(CustomLogger):
    async def async_pre_call_hook(self, user_api_key_dict, cache, data, call_type):
        if data.get("user") == "nobody":
            raise HTTPException(429, detail={"error": "too many"})
        return data

class Child(ProxyCallback):
    """Empty: a subclass must keep the hooks that LiteLLM looks for in the class itself."""

refuser = Refuser()
child = Child()
'''


@pytest.fixture(scope="module", params=["subclass", "entry"])
def proxy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "others.py").write_text(REFUSER)
    ours = "others.child" if request.param == "subclass" else "crplugins.homes.litellm_proxy.callback"
    app = ENTRY if request.param == "entry" else CALLBACK
    with running_proxy(folder, app, ours=OURS, custom_auth=False, callbacks=[ours, "others.refuser"]) as running:
        yield running


@pytest.fixture
async def provider(proxy: Proxy) -> AsyncIterator[FakeProvider]:
    async with FakeProvider(port=proxy.provider_port) as running:
        yield running


async def post(proxy: Proxy, path: str = "/v1/chat/completions", **body: Any) -> httpx.Response:
    payload = {"model": "fake-model", "messages": HELLO, **body}
    async with httpx.AsyncClient(timeout=60) as client:
        return await client.post(proxy.url + path, json=payload, headers={"authorization": f"Bearer {MASTER_KEY}"})


async def test_the_principal_is_litellms_alias_or_the_hash(proxy: Proxy, provider: FakeProvider) -> None:
    answer = await post(proxy, model="fast")
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == "fast"
    assert answer.headers["x-ratelimit-limit-requests"] == "40"
    record = await proxy.record(answer.headers["x-request-id"])
    assert record["key_id"]
    assert MASTER_KEY not in str(record)
    assert (record["status"], record["usage_source"]) == (200, "provider")


async def test_a_refusal_behind_ours_takes_nothing(proxy: Proxy, provider: FakeProvider) -> None:
    before = int((await post(proxy)).headers["x-ratelimit-remaining-requests"])
    refused = await post(proxy, user="nobody")
    assert refused.status_code == 429
    record = await proxy.record(refused.headers["x-request-id"])
    assert (record["status"], record["outcome"]) == (429, "limited")
    after = int((await post(proxy)).headers["x-ratelimit-remaining-requests"])
    assert after == before - 1  # the second, and not the refused one


async def test_slots_are_free_again(proxy: Proxy, provider: FakeProvider) -> None:
    for _ in range(3):
        assert (await post(proxy, user="nobody")).status_code == 429
    provider.script("fake-model", Script(delay=0.4))
    answers = await asyncio.gather(*(post(proxy) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 429, 429]


async def test_a_provider_that_tells_no_usage_is_seen_through(proxy: Proxy, provider: FakeProvider) -> None:
    provider.enqueue(Script(usage="off"))
    answer = await post(proxy, stream=True)
    record = await proxy.record(answer.headers["x-request-id"])
    assert record["usage"]["output_tokens"] > 0
    assert record["usage_source"] == "estimated"


async def test_no_key_is_litellms_to_refuse(proxy: Proxy, provider: FakeProvider) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{proxy.url}/v1/chat/completions", json={"model": "fake-model", "messages": HELLO})
    assert answer.status_code in (401, 500)
    assert provider.received == 0


async def test_other_apis_use_the_same_limits(proxy: Proxy, provider: FakeProvider) -> None:
    before = int((await post(proxy)).headers["x-ratelimit-remaining-requests"])
    seen = len(proxy.records())
    answer = await post(proxy, "/v1/messages", model="adapted", max_tokens=16)
    assert answer.status_code == 200, answer.text
    record = await proxy.next_record(seen)
    assert record["usage"]["output_tokens"] > 0
    after = int((await post(proxy)).headers["x-ratelimit-remaining-requests"])
    assert after == before - 2


async def test_metrics_are_served_without_the_entry(proxy: Proxy, provider: FakeProvider) -> None:
    async with httpx.AsyncClient(follow_redirects=True) as client:
        answer = await client.get(f"{proxy.url}/crplugins/metrics")
    assert answer.status_code == 200
    assert "crplugins_requests_total" in answer.text


async def test_nothing_was_said_to_be_uncalled(proxy: Proxy) -> None:
    log = proxy.log.read_text()
    assert "will not call" not in log
    assert "on_finish failed" not in log
    assert "[Non-Blocking]" not in log, log[:6000]
