"""Metrics among other plugins: outermost, in front of an app, opened and closed with it."""

import asyncio
import logging
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.openmetrics.exposition import generate_latest

import crplugins
from crplugins.core.middleware import PluginMiddleware
from crplugins.core.plugin import Plugin
from crplugins.plugins.auth import Auth
from crplugins.plugins.guard import RequestGuard
from crplugins.plugins.metrics import Metrics
from crplugins.testing import Drive, FrozenClock, PluginContract, drive, lifespan
from tests.core.doubles import ASK, CHUNK, DONE, STOP, App
from tests.plugins.metrics_setup import SAMPLED, finished, run, samples, value

KEY = "sk-client-key-0123456789"
BEARER = {"authorization": f"Bearer {KEY}"}


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


class TestMetricsBehindAKey(PluginContract):
    def make_plugin(self) -> Plugin:
        return Metrics(["gpt-*"], key_cap=0, registry=CollectorRegistry())

    def accepted_request(self) -> Mapping[str, Any]:
        return {**super().accepted_request(), "headers": BEARER}


async def test_requests_are_counted_whoever_refuses_them():
    metrics = Metrics(["m"], ["team-a"])
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
    metrics = Metrics(["m"], key_cap=2)
    app = guarded(metrics)
    before = set(samples(metrics))
    for number in range(50):
        await drive(app, body={"model": f"m{number}", "messages": []}, headers={"authorization": f"Bearer s{number}"})
    new = {dict(labels).get("key_id") for _, labels in set(samples(metrics)) - before}
    assert new <= {"none", None}
    await drive(app, body=ASK, headers=BEARER)
    assert counted(metrics)["m", "team-a", "200", ""] == 1


async def test_other_paths_are_not_counted():
    metrics = Metrics(["m"])
    await drive(guarded(metrics), "GET", "/v1/models", headers=BEARER)
    assert counted(metrics) == {}


async def test_a_request_is_in_flight_until_its_last_byte():
    metrics, gate = Metrics(["m"]), asyncio.Event()
    async with Drive(guarded(metrics, App(gate=gate)), body=ASK, headers=BEARER) as call:
        await call.next_body()
        assert value(metrics, "requests_in_flight") == 1
        assert counted(metrics) == {}
        gate.set()
        await call.finish()
    assert value(metrics, "requests_in_flight") == 0


@pytest.mark.parametrize(("after", "code"), [("request", "499"), ("first byte", "200")])
async def test_a_client_that_leaves_is_counted_as_cancelled_with_what_it_saw(after, code):
    metrics, gate = Metrics(["m"]), asyncio.Event()
    app = App(gate=gate) if after == "first byte" else App(sends=[])
    async with Drive(guarded(metrics, app), body=ASK, headers=BEARER) as call:
        if after == "first byte":
            await call.next_body()
        else:
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call.task])
    assert list(counted(metrics)) in ([("m", "team-a", code, "client_disconnected")], [("m", "team-a", "500", "internal")])
    assert value(metrics, "requests_in_flight") == 0
