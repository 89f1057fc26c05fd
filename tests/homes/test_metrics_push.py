"""Metrics over OTLP from a running gateway: the same as a scrape shows, once, whatever becomes of receiver and workers."""

import asyncio
import logging
import os
import signal
import subprocess
import time
from contextlib import AsyncExitStack, suppress
from typing import Any

import aiohttp
import httpx
import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from crplugins import Gateway
from crplugins.config import parse_config
from crplugins.homes import metrics_push
from crplugins.testing import FakeProvider
from tests.grafana.files import tool
from tests.grafana.live_prometheus import LivePrometheus
from tests.homes.test_metrics_workers import reached, started
from tests.otlp_receiver import OtlpReceiver, Series
from tests.ports import free_port

pytestmark = pytest.mark.slow

RECEIVE = "--web.enable-otlp-receiver"
SECRET = "sk-push-of-test"
QUESTION = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}

PRICE = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}

MOVING = ("process_", "python_gc_", "crplugins_otlp_pushes_total")
"""What a push and a scrape cannot see at the same moment."""


@pytest.fixture
def receiver(monkeypatch):
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    with OtlpReceiver() as receiver:
        yield receiver


def words(provider: FakeProvider, **otlp: Any) -> dict[str, Any]:
    params = {"model": "openai/up", "api_base": provider.base_url, "api_key": "sk-up-of-test", "num_retries": 0}
    entry = {"model_name": "m", "litellm_params": params, "handler": "direct", "model_info": PRICE}
    key = {"id": "a", "secret": SECRET, "limits": {"requests_per_minute": 100}, "budget": {"usd": 1, "period": "day"}}
    return {"model_list": [entry], "keys": [key], "metrics": {"token": None, "otlp": otlp or True}}


def client(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {SECRET}"}, timeout=60)


async def scraped(session: httpx.AsyncClient) -> Series:
    from prometheus_client.parser import text_string_to_metric_families

    text = (await session.get("/metrics")).text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def still(series: Series) -> Series:
    return {key: value for key, value in series.items() if not key[0].startswith(MOVING)}


async def until(condition, within: float = 60.0) -> None:
    give_up = time.monotonic() + within
    while not condition():
        assert time.monotonic() < give_up
        await asyncio.sleep(0.02)


async def test_what_is_sent_is_what_a_scrape_shows_over_a_reload_and_at_the_end(serve, receiver):
    async with FakeProvider() as provider:
        before = words(provider, endpoint=receiver.url, interval_seconds=1)
        gateway = Gateway(**before)
        async with serve(gateway) as url, client(url) as session:
            for _ in range(3):
                assert (await session.post("/v1/chat/completions", json=QUESTION)).status_code == 200
            shown = await scraped(session)
            await until(lambda: still(receiver.latest()) == still(shown))
            requests = (
                "crplugins_requests_total",
                (("code", "200"), ("endpoint", "chat"), ("error_type", ""), ("key_id", "a"), ("model", "m")),
            )
            assert receiver.latest()[requests] == 3

            changed = parse_config(
                {**before, "metrics": {"token": None, "otlp": {"endpoint": receiver.url}}, "aliases": {"fast": "m"}}
            )
            await gateway.reload(changed)
            assert (await session.post("/v1/chat/completions", json={**QUESTION, "model": "fast"})).status_code == 200
            shown = await scraped(session)
        assert still(receiver.latest()) == still(shown)  # the interval is a minute now: it was sent at the end
    resources = {tuple(sorted(each.resource.items())) for each in receiver.messages}
    assert len(resources) == 1
    assert len({point.start_time_unix_nano for each in receiver.messages for _, point in each.points()} - {0}) == 1
    assert {each.path for each in receiver.messages} == {"/v1/metrics"}
    assert receiver.latest()["crplugins_otlp_pushes_total", (("outcome", "delivered"),)] > 0


async def test_the_environment_of_opentelemetry_says_where_and_how(serve, receiver, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url + "/base/")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=blue")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.instance.id=one")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "my-gateway")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
    async with FakeProvider() as provider, serve(Gateway(**words(provider))):
        await until(lambda: len(receiver.messages) >= 2)
    first = receiver.messages[0]
    assert first.path == "/base/v1/metrics"
    assert first.headers["x-tenant"] == "blue"
    assert first.headers["content-encoding"] == "gzip"
    assert first.resource["service.name"] == "my-gateway"
    assert first.resource["service.instance.id"] == "one"
    assert first.resource["deployment.environment.name"] == "test"


async def test_without_any_word_of_it_the_service_is_crplugins_and_each_process_an_instance(serve, receiver):
    async with FakeProvider() as provider:
        async with serve(Gateway(**words(provider, endpoint=receiver.url))):
            await until(lambda: receiver.messages)
    assert receiver.last().resource["service.name"] == "crplugins"
    assert len(receiver.last().resource["service.instance.id"]) == 36


async def test_the_metrics_have_the_resource_of_the_spans_of_the_process(serve, receiver, monkeypatch):
    spans = TracerProvider(resource=Resource({"service.name": "of the spans", "service.instance.id": "two"}))
    monkeypatch.setattr(metrics_push.trace, "get_tracer_provider", lambda: spans)
    async with FakeProvider() as provider, serve(Gateway(**words(provider, endpoint=receiver.url))):
        await until(lambda: receiver.messages)
    assert receiver.last().resource == {"service.name": "of the spans", "service.instance.id": "two"}


async def test_a_receiver_that_is_away_is_one_line_of_the_log_and_a_counter(serve, receiver, caplog):
    receiver.status = 401
    async with FakeProvider() as provider:
        gateway = Gateway(**words(provider, endpoint=receiver.url.replace("//", "//user:hidden@"), interval_seconds=1))
        async with serve(gateway) as url, client(url) as session:
            await until(lambda: receiver.requests >= 3)
            assert (await session.post("/v1/chat/completions", json=QUESTION)).status_code == 200
            receiver.status = 200
            await until(lambda: any("again" in each for each in caplog.messages))
            assert (await scraped(session))["crplugins_otlp_pushes_total", (("outcome", "failed"),)] >= 2
    lines = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING and "metri" in each.name]
    host = receiver.url.removeprefix("http://")
    away, back = lines
    assert away.startswith(f"metrics cannot be pushed to {host}, and are tried again every 1 s: ")
    assert "Unauthorized" in away
    assert back == f"metrics can be pushed to {host} again"
    assert "hidden" not in caplog.text


async def test_a_receiver_that_never_answers_holds_up_neither_requests_nor_the_end(serve, receiver, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")
    receiver.hold.set()
    async with FakeProvider() as provider:
        async with serve(Gateway(**words(provider, endpoint=receiver.url))) as url, client(url) as session:
            await until(lambda: receiver.requests)
            for _ in range(20):
                assert (await session.post("/v1/chat/completions", json=QUESTION)).status_code == 200
    assert receiver.hold.is_set()
    assert not receiver.messages


async def totals(session: aiohttp.ClientSession, url: str) -> float:
    async with session.get(f"{url}/metrics", params={"name[]": "crplugins_requests_total"}) as response:
        return sum(float(line.rpartition(" ")[2]) for line in (await response.text()).splitlines() if line[0] != "#")


def pushed(receiver: OtlpReceiver) -> float:
    return sum(value for (name, _), value in receiver.latest().items() if name == "crplugins_requests_total")


async def test_several_workers_are_one_instance_whose_sum_is_sent_once_also_when_one_is_killed(receiver, tmp_path):
    with started(tmp_path / "log", f"otlp={receiver.url}") as process:
        async with AsyncExitStack() as stack:
            server = await reached(process, stack)
            for _ in range(20):
                await server.ask()
            await until(lambda: pushed(receiver) == server.asked and len(receiver.messages) > 2)
            assert len({each.peer for each in receiver.messages}) == 1
            assert await totals(server.session, server.url) == server.asked
            before = set(server.workers)
            for victim in sorted(before):  # whichever of them had its turn
                os.kill(victim, signal.SIGKILL)
                known = len(server.workers)
                while len(server.workers) == known:  # another takes its place
                    with suppress(aiohttp.ClientConnectionError):
                        await server.ask()
                receiver.messages = receiver.messages[-1:]
                await until(lambda: pushed(receiver) == server.asked and len(receiver.messages) > 2)
        count = server.asked
    assert pushed(receiver) == count
    assert len({each.resource["service.instance.id"] for each in receiver.messages}) == 1
    assert len({point.start_time_unix_nano for each in receiver.messages for _, point in each.points()} - {0}) == 1


async def test_a_real_prometheus_keeps_what_is_pushed_under_the_names_that_it_scrapes(serve, receiver, tmp_path):
    program = tool("prometheus")
    told = await asyncio.to_thread(subprocess.run, [program, "--help"], capture_output=True, text=True, timeout=60)
    if RECEIVE not in told.stdout + told.stderr:
        pytest.skip("this Prometheus has no receiver of OTLP; those from 3.0 on have one")
    async with FakeProvider() as provider, LivePrometheus(tmp_path, "127.0.0.1:9", free_port(), RECEIVE) as prometheus:
        otlp = {"endpoint": f"{prometheus.url}/api/v1/otlp", "interval_seconds": 1}
        async with serve(Gateway(**words(provider, **otlp))) as url, client(url) as session:
            assert (await session.post("/v1/chat/completions", json=QUESTION)).status_code == 200
            shown = {name for name, _ in still(await scraped(session))}
        kept = {name for name in await prometheus.label_values("__name__") if name.startswith("crplugins_")}
    assert kept - {"crplugins_otlp_pushes_total"} == {name for name in shown if name.startswith("crplugins_")}
