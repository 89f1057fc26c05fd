"""Real clients over the streams of every family of providers, through both handlers."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.clients.compare import ask, gateway, routes
from tests.clients.gaps import gaps_of
from tests.clients.installed import CLIENTS, Client, NotInstalled
from tests.clients.page import PAGE, with_table

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:::litellm", "ignore:::pydantic")]
in_one_loop = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url() -> AsyncIterator[str]:
    async with gateway() as address:
        yield address


@in_one_loop
@pytest.mark.parametrize("client", [pytest.param(each, id=f"{each.name}-{each.version}") for each in CLIENTS])
async def test_a_client_reads_what_the_families_send(url: str, client: Client) -> None:
    try:
        client.require()
    except NotInstalled as missing:
        pytest.skip(str(missing))
    wrong = await ask(client, url)
    for family, handler in routes():
        known = dict(gaps_of(client, family, handler))
        assert wrong[family, handler].keys() == known.keys(), (family, handler, wrong[family, handler])


def test_the_page_says_what_is_known_of_each_client() -> None:
    assert PAGE.read_text() == with_table(PAGE.read_text()), "python -m tests.clients --write"
