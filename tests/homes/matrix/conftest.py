"""What the tests of every home use."""

import pytest

from tests.homes.matrix.home import Home

pytest.register_assert_rewrite("tests.homes.matrix.rows")


@pytest.fixture(autouse=True)
def blockbuster():
    """Nothing: what a framework does on the event loop is its own affair, but has code of ours further out on its stack."""


@pytest.fixture
def home(started: Home) -> Home:
    started.provider.clear()
    return started
