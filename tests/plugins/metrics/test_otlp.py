"""What a scrape shows and what is sent over OTLP are the same series with the same values."""

import re

import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import CollectorRegistry, Enum, Histogram, Info, Summary
from prometheus_client.core import SummaryMetricFamily

from crplugins.plugins.metrics.limits import LIMITS_TABLE
from crplugins.plugins.metrics.otlp import MetricsSource, messages, unit_of
from crplugins.plugins.metrics.plugin import Metrics
from crplugins.plugins.metrics.table import TABLE
from tests.otlp_receiver import Received, Series
from tests.plugins.metrics.setup import SAMPLED, finished, run, samples

SOURCE = MetricsSource(Resource({"service.name": "gateway"}), InstrumentationScope("crplugins", "1"), 10)

WITHOUT_UNIT = {
    "crplugins_build_info", "crplugins_key_info", "crplugins_limit_store_outage", "crplugins_config_last_reload_successful",
}  # fmt: skip
"""Information and flags."""


def sent(families, size=2_000) -> list[Received]:
    return [Received("", {}, encode_metrics(message)) for message in messages(families, SOURCE, 20, size)]


def together(received: list[Received]) -> Series:
    found: Series = {}
    for each in received:
        series = each.series()
        assert not found.keys() & series.keys(), "sent twice"
        found |= series
    return found


@pytest.fixture
def metrics() -> Metrics:
    metrics = Metrics(["m", "gpt-*"], ["team-a"], registry=CollectorRegistry())
    for model in ("m", "gpt-4", "else"):
        for facts in ({}, {"stream": False, "status": 429, "error_type": "rate_limited"}, {"usage_source": "cache"}):
            run(metrics, finished(model, headers=[(b"traceparent", SAMPLED)], **facts))
    metrics.note_push(delivered=False)
    return metrics


@pytest.mark.parametrize("size", [1, 7, 2_000])
def test_all_series_are_sent_once_in_messages_of_a_bounded_size(metrics, size):
    received = sent(metrics.exposed().collect(), size)
    assert together(received) == samples(metrics)
    assert all(1 <= len([*each.points()]) <= size for each in received)
    assert len(received) == -(-sum(len([*each.points()]) for each in received) // size)


def test_counters_and_histograms_are_cumulative_since_the_start(metrics):
    (received,) = sent(metrics.exposed().collect())
    kinds = {}
    for metric, point in received.points():
        kinds[metric.name] = kind = metric.WhichOneof("data")
        assert point.time_unix_nano == 20
        if kind != "gauge":
            assert point.start_time_unix_nano == 10
            assert getattr(metric, kind).aggregation_temporality == 2
        if kind == "sum":
            assert metric.sum.is_monotonic
        if kind == "histogram":
            assert not point.HasField("min")
            assert not point.HasField("max")
    types = {"counter": "sum", "gauge": "gauge", "histogram": "histogram"}
    assert kinds.items() <= {spec.name: types[spec.kind] for spec in TABLE}.items()


def test_an_exemplar_leads_to_its_trace(metrics):
    (received,) = sent(metrics.exposed().collect())
    found = {
        (exemplar.trace_id.hex(), exemplar.span_id, round(exemplar.as_double, 3))
        for metric, point in received.points()
        if metric.name == "crplugins_time_to_first_token_seconds"
        for exemplar in point.exemplars
    }
    assert found == {("4bf92f3577b34da6a3ce929d0e0e4736", bytes(8), 0.3)}


def test_every_metric_has_its_unit_in_its_name():
    units = {spec.name: unit_of(spec.name) for spec in (*TABLE, *LIMITS_TABLE)}
    assert {name for name, unit in units.items() if not unit} == WITHOUT_UNIT
    for name, unit in units.items():
        assert re.fullmatch(r"s|By|1|\{[A-Za-z]+\}|", unit)
        assert (unit == "1") == name.endswith("_ratio")
        assert (unit == "s") == name.endswith("_seconds")
    assert units["crplugins_cost_usd_total"] == "{USD}"
    assert units["crplugins_request_input_tokens"] == "{token}"
    assert units["crplugins_requests_in_flight"] == "{request}"


def test_metrics_of_others_in_the_same_registry_are_sent_too():
    registry = CollectorRegistry()
    Info("app", "Of the app.", registry=registry).info({"version": "1"})
    Enum("state", "Of the app.", states=["up", "down"], registry=registry).state("down")
    Summary("work_seconds", "Of the app.", ["kind"], registry=registry).labels("a").observe(2)
    Histogram("size_bytes", "Of the app.", registry=registry, buckets=(1, 2)).observe(1.5)
    metrics = Metrics(registry=registry)
    shown = samples(metrics)
    received = sent(metrics.exposed().collect())
    assert together(received) == shown
    kinds = {metric.name: (metric.WhichOneof("data"), metric.unit) for each in received for metric in each.metrics()}
    assert kinds["app_info"] == ("gauge", "")
    assert kinds["state"] == ("gauge", "")
    assert kinds["work_seconds_count"] == ("sum", "s")
    assert kinds["size_bytes"] == ("histogram", "By")


def test_the_quantiles_of_a_summary_are_gauges():
    family = SummaryMetricFamily("work_seconds", "Of the app.", count_value=3, sum_value=6)
    family.add_sample("work_seconds", {"quantile": "0.5"}, 2.0)
    (received,) = sent([family])
    assert [(metric.name, metric.WhichOneof("data")) for metric in received.metrics()] == [
        ("work_seconds_count", "sum"),
        ("work_seconds_sum", "sum"),
        ("work_seconds", "gauge"),
    ]
