"""Metrics among other plugins: outermost, in front of an app, opened and closed with it."""

import asyncio
import logging
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.openmetrics.exposition import generate_latest

import crplugins
from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.installed import installed_version
from crplugins.core.plugin import Plugin
from crplugins.plugins.auth import Auth
from crplugins.plugins.guard.plugin import RequestGuard
from crplugins.plugins.metrics.plugin import Metrics
from crplugins.testing import Drive, FrozenClock, PluginContract, drive, lifespan
from tests.core.doubles import ASK, CHUNK, DONE, STOP, App
from tests.plugins.metrics.setup import SAMPLED, finished, run, samples, value

KEY = "sk-client-key-0123456789"
LITELLM = metadata.version("litellm")
BEARER = {"authorization": f"Bearer {KEY}"}


def made(*names: Any, **options: Any) -> Metrics:
    """Without the metrics of the process, which are read from files and not on an event loop."""
    return Metrics(*names, registry=CollectorRegistry(), **options)


def guarded(metrics: Metrics, app: Any = None, **options: Any) -> PluginMiddleware:
    plugins = [metrics, Auth([{"id": "team-a", "secret": KEY}]), RequestGuard()]
    return PluginMiddleware(app or App(), plugins=plugins, **options)


def counted(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Requests by model, key, code and error type."""
    names = ("model", "key_id", "code", "error_type")
    return {
        tuple(dict(labels)[name] for name in names): number
        for (_, labels), number in samples(metrics, ["crplugins_requests_total"]).items()
        if number
    }


class TestMetrics(PluginContract):
    def make_plugin(self) -> Plugin:
        return Metrics(["gpt-*"], ["team-a"])


class TestMetricsOfPieces(PluginContract):
    def make_plugin(self) -> Plugin:
        return Metrics(inter_chunk=True)


class TestMetricsThatAdmitNoKey(PluginContract):
    def make_plugin(self) -> Plugin:
        return Metrics(key_cap=0)


async def test_requests_are_counted_whoever_refuses_them():
    metrics = made(["m"], ["team-a"])
    app = guarded(metrics)
    await drive(app, body=ASK, headers=BEARER)
    await drive(app, body=ASK)
    await drive(app, body=ASK, headers={"authorization": "Bearer wrong"})
    await drive(app, body={"model": "m"}, headers=BEARER)
    assert counted(metrics) == {
        ("m", "team-a", "200", ""): 1,
        ("other", "none", "401", "unauthenticated"): 2,
        ("m", "team-a", "400", "invalid_request"): 1,
    }
    assert value(metrics, "label_overflow_total", label="model") == 0
    assert value(metrics, "requests_in_flight") == 0


async def test_strangers_cannot_name_series_nor_use_up_the_cap():
    metrics = made(["m"], key_cap=2)
    app = guarded(metrics)
    before = set(samples(metrics))
    for number in range(50):
        await drive(app, body={"model": f"m{number}", "messages": []}, headers={"authorization": f"Bearer s{number}"})
    new = {dict(labels).get("key_id") for _, labels in set(samples(metrics)) - before}
    assert new <= {"none", None}
    await drive(app, body=ASK, headers=BEARER)
    assert counted(metrics)["m", "team-a", "200", ""] == 1


async def test_other_paths_are_not_counted():
    metrics = made(["m"])
    await drive(guarded(metrics), "GET", "/v1/models", headers=BEARER)
    assert counted(metrics) == {}


async def test_a_request_is_in_flight_until_its_last_byte():
    metrics, gate = made(["m"]), asyncio.Event()
    async with Drive(guarded(metrics, App(gate=gate)), body=ASK, headers=BEARER) as call:
        await call.next_body()
        assert value(metrics, "requests_in_flight") == 1
        assert counted(metrics) == {}
        gate.set()
        await call.finish()
    assert value(metrics, "requests_in_flight") == 0


async def test_a_client_that_leaves_is_counted_with_what_it_saw():
    metrics, begun = made(["m"]), asyncio.Event()

    async def silent(scope, receive, send):
        begun.set()
        while (await receive())["type"] != "http.disconnect":
            pass

    async with Drive(guarded(metrics, silent), body=ASK, headers=BEARER) as call:
        await begun.wait()
        call.disconnect()
        await call.finish()
    async with Drive(guarded(metrics, App(gate=asyncio.Event())), body=ASK, headers=BEARER) as call:
        await call.next_body()
        call.cancel()
        await asyncio.wait([call.task])
    left = ("m", "team-a", "499", "client_disconnected"), ("m", "team-a", "200", "client_disconnected")
    assert counted(metrics) == dict.fromkeys(left, 1)
    assert value(metrics, "requests_in_flight") == 0


@pytest.mark.parametrize("broken", ["on_request", "on_finish"])
async def test_a_metric_that_cannot_be_written_breaks_no_request(broken, monkeypatch, caplog):
    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    metrics = made(["m"])
    monkeypatch.setattr(metrics, {"on_request": "_enter", "on_finish": "_overhead"}[broken], fail)
    app = guarded(metrics)
    metrics.observe_faults(app.faults)
    answer = await drive(app, body=ASK, headers=BEARER)
    assert (answer.status, answer.body) == (200, CHUNK + STOP + DONE)
    assert value(metrics, "hook_errors_total", plugin="Metrics", hook=broken) == 1


async def test_a_fault_of_any_plugin_shows_at_the_next_scrape():
    class Buggy(Plugin):
        observes = True

        def on_finish(self, exchange):
            raise LookupError("bug")

    metrics = made()
    apps = [PluginMiddleware(App(), plugins=[metrics, Buggy()]) for _ in range(2)]
    for app in apps:
        metrics.observe_faults(app.faults)
        await drive(app, body=ASK)
    assert value(metrics, "hook_errors_total", plugin="Buggy", hook="on_finish") == 2


def test_the_backlog_of_the_ledger_is_read_when_a_scrape_comes():
    @dataclass
    class State:
        pending: int = 0
        spooled: int = 0
        dropped: int = 0

    metrics, state = Metrics(), State()
    metrics.observe_ledger(state)
    state.pending, state.spooled, state.dropped = 3, 2, 1
    names = ("ledger_pending_records", "ledger_spooled_records", "ledger_dropped_records_total")
    assert [value(metrics, name) for name in names] == [3, 2, 1]


async def test_the_time_between_pieces_is_observed_where_it_is_asked_for():
    clock, gate = FrozenClock(), asyncio.Event()
    metrics = made(["m"], inter_chunk=True)
    app = App(CHUNK, CHUNK, STOP, DONE, gate=gate)
    async with Drive(guarded(metrics, app, clock=clock), body=ASK, headers=BEARER) as call:
        await call.next_body()
        clock.advance(0.25)
        gate.set()
        await call.finish()
    assert value(metrics, "inter_chunk_seconds_count", model="m") == 1
    assert value(metrics, "inter_chunk_seconds_sum", model="m") == 0.25


def test_events_are_not_looked_at_unless_pieces_are_observed():
    assert not Metrics().reads_events
    assert value(Metrics(["m"]), "inter_chunk_seconds_count", model="m") is None


def test_timings_carry_the_trace_of_a_sampled_request():
    metrics = Metrics(["m"])
    run(metrics, finished(headers=[(b"traceparent", SAMPLED)]))
    lines = generate_latest(metrics.exposed()).decode().splitlines()
    marked = [line for line in lines if "4bf92f3577b34da6a3ce929d0e0e4736" in line]
    assert sorted({line.partition("{")[0] for line in marked}) == [
        "crplugins_request_duration_seconds_bucket",
        "crplugins_time_to_first_token_seconds_bucket",
    ]
    assert len(marked) == 2


async def test_the_build_is_exported_and_the_worst_case_logged_at_the_start(caplog):
    caplog.set_level(logging.INFO, "crplugins.metrics")
    metrics = made(["m"], ["team-a"], key_cap=10)
    async with lifespan(guarded(metrics)):
        version = {"version": crplugins.__version__, "python": platform.python_version(), "litellm": LITELLM}
        assert value(metrics, "build_info", **version) == 1
    (told,) = [record.getMessage() for record in caplog.records]
    assert told == f"at most {metrics.worst_case_series()} series: 2 models, up to 10 keys"


async def test_a_gateway_without_litellm_says_so(monkeypatch):
    installed = metadata.distribution

    def missing(name: str) -> metadata.Distribution:
        if name == "litellm":
            raise metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    installed_version.cache_clear()
    async with (metrics := made()):
        version = {"version": crplugins.__version__, "python": platform.python_version(), "litellm": ""}
        assert value(metrics, "build_info", **version) == 1
    installed_version.cache_clear()


def test_two_gateways_in_a_process_count_apart():
    first, second = Metrics(["m"]), Metrics(["m"])
    run(first, finished())
    assert (len(counted(first)), len(counted(second))) == (1, 0)


def test_a_registry_of_ones_own_has_ones_own_metrics_too():
    registry = CollectorRegistry()
    Counter("mine", "Mine.", registry=registry).inc()
    metrics = Metrics(["m"], registry=registry)
    names = {name for name, _ in samples(metrics)}
    assert "mine_total" in names
    assert "process_cpu_seconds_total" not in names
    with pytest.raises(ValueError, match="Duplicated"):
        Metrics(registry=registry)


def test_a_registry_that_is_not_given_knows_the_process():
    names = {name for name, _ in samples(Metrics())}
    assert names >= {"process_cpu_seconds_total", "python_info", "python_gc_collections_total"}


def test_moments_of_creation_are_left_out_and_no_global_switch_is_flipped():
    mine = CollectorRegistry()
    Counter("mine", "Mine.", registry=mine).inc()
    assert not [name for name, _ in samples(Metrics(["m"])) if name.endswith("_created")]
    assert mine.get_sample_value("mine_created")


def test_importing_the_package_imports_no_prometheus_client():
    check = "import crplugins, sys; assert 'prometheus_client' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)


def test_the_plugin_imports_no_litellm():
    check = "import crplugins.plugins.metrics.plugin, sys; assert 'litellm' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)
