"""The table of what goes wrong, played with the direct handler."""

import asyncio

import pytest

from tests.failover.scenarios import Case, cases
from tests.failover.stage import Stage, complaints

CASES = cases()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    played = Stage("direct", CASES)
    asyncio.run(played.live(tmp_path_factory.mktemp("failover")))
    return played


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_ends_as_the_table_says(stage: Stage, case: Case) -> None:
    assert complaints(stage.played[case.name], stage.scraped) == []


def test_nothing_is_in_flight_or_lost_and_every_request_has_one_record(stage: Stage) -> None:
    assert stage.loose_ends() == []


def test_the_books_agree_in_sum(stage: Stage) -> None:
    recorded, counted = stage.sums()
    assert recorded == counted
