"""Estimates held against the counts of providers: the figures on the page about plugins.

`python -m tests.bench.estimates` prints them.
"""

import statistics

from crplugins.core.said import UNITS, weight
from tests.bench.estimates import TEXTS, points, quantile


def test_estimates_of_recorded_answers_are_near_wherever_they_are_cut(cassettes) -> None:
    errors = [point.error for point in points(cassettes.values())]
    once = [point.error_by_bytes for point in points(cassettes.values())]
    assert len(errors) >= 60
    assert statistics.median(errors) <= 0.12 < statistics.median(once)
    assert quantile(errors, 0.95) <= 0.8 < quantile(once, 0.95) / 4


def test_answers_of_some_length_are_nearer(cassettes) -> None:
    errors = [point.error for point in points(cassettes.values()) if point.truth >= 40]
    assert statistics.median(errors) <= 0.06
    assert quantile(errors, 0.95) <= 0.4


def test_no_language_is_estimated_at_less_than_two_thirds_or_more_than_four_thirds_of_its_tokens() -> None:
    for name, (text, tokens, _) in TEXTS.items():
        assert 2 / 3 <= weight(text) / UNITS / tokens <= 4 / 3, name
