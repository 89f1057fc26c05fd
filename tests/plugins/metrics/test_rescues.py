"""Streams that another deployment took over, by kind and result."""

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
