"""Paths as a configuration names them."""

import pytest

from crplugins.core.patterns import PathSet


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("/ping", True),
        ("/ping/", False),
        ("/metrics", False),
        ("/metrics/", True),
        ("/metrics/a/b", True),
        ("/", False),
    ],
)
def test_a_path_is_named_itself_or_by_what_it_is_below(path, inside):
    assert (path in PathSet(["/ping", "/metrics/*"])) is inside


def test_none_is_in_an_empty_one():
    assert "/" not in PathSet([])
