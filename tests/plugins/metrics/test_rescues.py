"""Streams that another deployment took over, by kind and result; requests that another model answers, by why."""

from typing import Any

import pytest

from crplugins.plugins.metrics.plugin import Metrics
from tests.plugins.metrics.setup import finished, run, samples

NAME = "crplugins_stream_rescues_total"


@pytest.mark.parametrize(
    ("facts", "results"),
    [
        ({"rescues": ("restart",)}, {("restart", "ok"): 1}),
        ({"rescues": ("continue", "continue")}, {("continue", "failed"): 1, ("continue", "ok"): 1}),
        ({"rescues": ("continue",), "error_type": "upstream_stream_broken"}, {("continue", "failed"): 1}),
        ({"rescues": ("restart",), "error_type": "client_disconnected"}, {("restart", "cancelled"): 1}),
        ({}, {}),
    ],
)
def test_only_the_last_of_several_can_have_been_a_success(facts: dict[str, Any], results: dict[Any, int]) -> None:
    metrics = Metrics(["m"])
    run(metrics, finished(**facts))
    counted = {(dict(labels)["kind"], dict(labels)["result"]): n for (_, labels), n in samples(metrics, [NAME]).items()}
    assert counted == results


def test_requests_that_went_to_other_models_are_counted_by_why() -> None:
    metrics = Metrics(["m"])
    run(metrics, finished(fallbacks=("failure", "context_window")))
    run(metrics, finished(fallbacks=("failure",)))
    counted = samples(metrics, ["crplugins_fallbacks_total"])
    assert {(dict(labels)["model"], dict(labels)["reason"]): n for (_, labels), n in counted.items()} == {
        ("m", "failure"): 2, ("m", "context_window"): 1
    }  # fmt: skip
