"""One house for each file."""

from collections.abc import Iterator

import pytest

from tests.attacks.house import DOORS, Door, House, house


@pytest.fixture(autouse=True)
def blockbuster():
    """Nothing: what a framework does on the event loop is its own affair."""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("house")) as opened:
        yield opened


@pytest.fixture
def home(opened: House) -> House:
    """The house, whose provider answers well again."""
    opened.provider.answer = None
    opened.provider.asked.clear()
    return opened


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest, home: House) -> Door:
    return home.doors[request.param]
