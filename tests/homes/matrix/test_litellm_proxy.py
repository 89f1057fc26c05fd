"""Every behaviour in every home that is a LiteLLM proxy, over real sockets, with the same words of configuration and a scripted provider.

Rows are in `rows/`, columns the homes. What a home cannot do stands in `cells.py` with its reason.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.homes.matrix.home import Home, every_request_has_ended
from tests.homes.matrix.litellm_homes import PROXIES, proxy
from tests.homes.matrix.rows import ROWS
from tests.proxy_setup import needs_proxy

pytestmark = [
    pytest.mark.slow,
    needs_proxy,
    pytest.mark.filterwarnings("ignore:::pydantic", "ignore:::litellm", "ignore:Pydantic serializer warnings"),
]


@pytest.fixture(scope="module")
def proxies(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Home]]:
    """Each takes long to start, so all that a test of this run wants start at once."""
    wanted = {item.callspec.params.get("started") for item in request.session.items if hasattr(item, "callspec")}
    names = [name for name in PROXIES if name in wanted]
    with ExitStack() as stack, ThreadPoolExecutor() as threads:
        opened = threads.map(lambda name: stack.enter_context(proxy(name, tmp_path_factory.mktemp(name))), names)
        yield dict(zip(names, opened, strict=True))


@pytest.fixture(scope="module", params=PROXIES)
def started(request: pytest.FixtureRequest, proxies: dict[str, Home]) -> Iterator[Home]:
    home = proxies[request.param]
    yield home
    every_request_has_ended(home)


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.__name__)
def test_that(row, home: Home) -> None:
    row(home)
