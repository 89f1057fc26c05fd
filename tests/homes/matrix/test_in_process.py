"""Every behaviour in every home that runs in this process, over real sockets, with the same words of configuration and a scripted provider.

Rows are in `rows/`, columns the homes. What a home cannot do stands in `cells.py` with its reason.
"""

from collections.abc import Iterator

import pytest

from tests.homes.matrix.home import Home, every_request_has_ended
from tests.homes.matrix.hosts import APPS
from tests.homes.matrix.in_process import STARTED, in_process
from tests.homes.matrix.litellm_homes import SDK, sdk
from tests.homes.matrix.rows import ROWS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:::pydantic", "ignore:::litellm", "ignore:Pydantic serializer warnings"),
]


@pytest.fixture(scope="module", params=[*STARTED, SDK])
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    name = request.param
    if name in APPS:
        pytest.importorskip(name)
    folder = tmp_path_factory.mktemp("home")
    with sdk(folder) if name == SDK else in_process(name, folder) as home:
        yield home
        every_request_has_ended(home)


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.__name__)
def test_that(row, home: Home) -> None:
    row(home)
