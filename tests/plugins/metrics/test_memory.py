"""MemoryFamily: what a scrape shows of it is what prometheus_client shows of its own metric."""

import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from crplugins.plugins.metrics.memory import Distribution, MemoryFamily, Value
from crplugins.plugins.metrics.plugin import Metrics
from crplugins.plugins.metrics.table import DURATION_BUCKETS, Spec
from tests.steps import lines_of

COUNTER = Spec("c_total", "counter", ("model", "code"), "C.")
GAUGE = Spec("g", "gauge", (), "G.")
HISTOGRAM = Spec("h_seconds", "histogram", ("model",), "H.", DURATION_BUCKETS)
AMOUNTS = st.lists(st.one_of(st.floats(0, allow_nan=False), st.sampled_from(DURATION_BUCKETS)))


def shown(registry, encode):
    lines = encode(registry).decode().split("\n")
    return [line for line in lines if "_created" not in line]


@given(AMOUNTS, st.text('ab"\\\n\r', max_size=5))
def test_a_scrape_reads_as_prometheus_clients_own(amounts, label):
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    counter = Counter(COUNTER.name, COUNTER.help, COUNTER.labels, registry=theirs), MemoryFamily(COUNTER, Value)
    gauge = Gauge(GAUGE.name, GAUGE.help, registry=theirs), MemoryFamily(GAUGE, Value)
    histogram = (
        Histogram(HISTOGRAM.name, HISTOGRAM.help, HISTOGRAM.labels, registry=theirs, buckets=DURATION_BUCKETS),
        MemoryFamily(HISTOGRAM, lambda: Distribution(DURATION_BUCKETS)),
    )
    for family in (counter, gauge, histogram):
        ours.register(family[1])
    for amount in amounts:
        for number in (0, 1):
            counter[number].labels(label, "200").inc(amount)
            counter[number].labels("m", label).inc()
            histogram[number].labels(label).observe(amount)
            level = gauge[number].labels() if number else gauge[number]
            level.inc()
            level.dec(amount)
    for encode in (generate_latest, generate_openmetrics):
        if amounts:
            assert shown(theirs, encode) == shown(ours, encode)


def test_an_exemplar_stands_in_its_bucket():
    ours, family = CollectorRegistry(), MemoryFamily(HISTOGRAM, lambda: Distribution(DURATION_BUCKETS))
    ours.register(family)
    family.labels("m").observe(0.3, {"trace_id": "abc"})
    lines = [line for line in shown(ours, generate_openmetrics) if "trace_id" in line]
    assert len(lines) == 1
    assert lines[0].startswith('h_seconds_bucket{le="0.5",model="m"} 1.0 # {trace_id="abc"} 0.3')


def test_a_registry_has_a_name_once_and_a_series_all_of_its_labels():
    registry = CollectorRegistry()
    registry.register(MemoryFamily(COUNTER, Value))
    with pytest.raises(ValueError, match="Duplicated"):
        registry.register(MemoryFamily(COUNTER, Value))
    with pytest.raises(ValueError, match="model, code"):
        MemoryFamily(COUNTER, Value).labels("m")


def test_no_write_of_several_threads_is_lost():
    value, distribution = Value(), Distribution(DURATION_BUCKETS)

    def write():
        for _ in range(20_000):
            value.inc(2.0)
            distribution.observe(0.3)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert (value.value, sum(distribution.counts)) == (160_000, 80_000)


def test_a_model_more_costs_little_to_make():
    few, many = (lines_of(lambda models=models: Metrics([f"m{n}" for n in range(models)])) for models in (600, 1_600))
    assert (many - few) / 1_000 < 200
