"""The table of what goes wrong, played with the litellm handler: through `acompletion`, and on its short road.

The short road is taken in a long run alone: `tests/handlers/litellm/test_roads.py` holds both against each other.
"""

import asyncio
from collections.abc import Sequence

import pytest

from tests.failover.roads import Road, all_take
from tests.failover.scenarios import Case, cases
from tests.failover.stage import Stage, complaints
from tests.long import LONG

pytestmark = pytest.mark.slow

ROADS: Sequence[Road] = ("long", "short") if LONG else ("long",)
PLAYED = [(road, case) for road in ROADS for case in cases()]


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> dict[Road, Stage]:
    found: dict[Road, Stage] = {}
    for road in ROADS:
        found[road] = Stage("litellm", [case for its, case in PLAYED if its == road])
        with pytest.MonkeyPatch.context() as patched:
            all_take(road, patched)
            asyncio.run(found[road].live(tmp_path_factory.mktemp(road)))
    return found


@pytest.mark.parametrize(("road", "case"), PLAYED, ids=str)
def test_it_ends_as_the_table_says(stages: dict[Road, Stage], road: Road, case: Case) -> None:
    assert complaints(stages[road].played[case.name], stages[road].scraped) == []


@pytest.mark.parametrize("road", ROADS)
def test_nothing_is_in_flight_or_lost_and_every_request_has_one_record(stages: dict[Road, Stage], road: Road) -> None:
    assert stages[road].loose_ends() == []


@pytest.mark.parametrize("road", ROADS)
def test_the_books_agree_in_sum(stages: dict[Road, Stage], road: Road) -> None:
    recorded, counted = stages[road].sums()
    assert recorded == counted
