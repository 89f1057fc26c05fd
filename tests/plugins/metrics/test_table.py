"""The table of metrics is what is registered, and what promtool accepts."""

import shutil
import subprocess
from typing import ClassVar

import pytest
from prometheus_client import generate_latest

from crplugins.core.exchange import Attempt
from crplugins.core.outcome import ERROR_TYPES
from crplugins.limits.applicant import Wait
from crplugins.plugins.metrics import table as metrics_table
from crplugins.plugins.metrics.deployments import DeploymentStatus
from crplugins.plugins.metrics.plugin import Metrics
from crplugins.plugins.metrics.table import TABLE, Spec
from crplugins.plugins.rate_limits.request import WAITS
from tests.plugins.metrics.setup import finished, run, samples


class Ledger:
    pending = spooled = dropped = 1


class Broker(Ledger):
    kind = "kafka"
    published = 1


class Room:
    max_in_flight = 10
    shed: ClassVar = {"low": 1}


class Webhooks:
    deliveries: ClassVar = {("budget.threshold", "delivered"): 1}
    pending = 1


class Loaded:
    successful = True
    succeeded_at = 1.0


@pytest.fixture
def full() -> Metrics:
    """Every metric with a sample, opt-in ones included."""
    metrics = Metrics(["m", "gpt-*"], ["team-a"], inter_chunk=True)
    metrics.observe_faults({("Auth", "on_request"): 1})
    metrics.observe_ledger(Ledger())
    metrics.observe_sink(Broker())
    metrics.observe_admission(Room())
    metrics.observe_loads(Loaded())
    metrics.observe_webhooks(Webhooks())
    metrics.observe_deployments(lambda: [DeploymentStatus("m", "openai/m", "healthy", 0, 1)], 1)
    metrics._describe_build()
    metrics.note_push(delivered=True)
    run(metrics, finished())
    run(metrics, finished(usage_source="cache", rescues=("restart",), fallbacks=("failure",)))
    run(metrics, finished(slots={WAITS: [Wait(1.5, 3, "key", "admitted")]}))
    metrics.observe_queues({"key": 1})
    broken = finished()
    broken.attempts[0].left_out = 1
    run(metrics, broken)
    return metrics


def test_every_metric_of_the_module_stands_in_the_table():
    specs = [value for value in vars(metrics_table).values() if isinstance(value, Spec)]
    assert list(TABLE) == specs
    assert len({spec.name for spec in TABLE}) == len(TABLE)


def test_the_table_is_what_is_registered(full):
    """Name, type, help, labels and bounds, as a scrape shows them."""
    shown = {}
    for family in full.exposed().collect():
        if not family.name.startswith("crplugins_"):
            continue
        labels = {tuple(name for name in sample.labels if name != "le") for sample in family.samples}
        bounds = dict.fromkeys(float(sample.labels["le"]) for sample in family.samples if "le" in sample.labels)
        shown[family.name] = (family.type, family.documentation, labels, tuple(bounds))
    expected = {
        spec.name.removesuffix("_total"): (
            spec.kind,
            spec.help,
            {spec.labels},
            (*spec.buckets, float("inf")) if spec.buckets else (),
        )
        for spec in TABLE
    }
    assert shown == expected


def test_names_and_bounds_follow_the_rules():
    for spec in TABLE:
        assert spec.name.startswith("crplugins_")
        assert spec.name.endswith("_total") == (spec.kind == "counter")
        assert (spec.kind == "histogram") == bool(spec.buckets)
        assert list(spec.buckets) == sorted(set(spec.buckets))
        assert spec.kind != "histogram" or "key_id" not in spec.labels
        assert spec.help.endswith(".")


def test_promtool_has_nothing_to_say(full):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on PATH")
    page = generate_latest(full.exposed())
    done = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_the_worst_case_is_never_passed():
    metrics = Metrics(["m", "gpt-*"], ["a"], key_cap=3, inter_chunk=True)
    metrics.observe_ledger(Ledger())
    metrics.observe_sink(Broker())
    metrics.observe_admission(Room())
    metrics.observe_loads(Loaded())
    metrics.observe_webhooks(Webhooks())
    metrics.observe_deployments(lambda: [DeploymentStatus("m", "openai/m", "healthy", 0, 1)], 1)
    metrics._describe_build()
    for model in ("m", "gpt-4", "else"):
        for key_id in ("a", "b", "c", "d", None):
            for number, error_type in enumerate([*ERROR_TYPES] * 5):
                attempt = Attempt(f"p{number}", ("initial", "retry", "fallback")[number % 3], 1.0, 2.0, error_type)
                facts = {"status": 200 + number, "error_type": error_type, "attempts": [attempt], "price": None}
                run(metrics, finished(model, key_id, stream=number % 2 == 0, usage_source="estimated", **facts))
    there = [name for name, _ in samples(metrics) if name.startswith("crplugins_")]
    assert 0.1 * metrics.worst_case_series() < len(there) <= metrics.worst_case_series()
