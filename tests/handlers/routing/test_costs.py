"""What it costs, when nothing fails, that something may: the page says it in function calls more than without."""

import pytest

from tests.bench.calls import BARE, count
from tests.bench.failover import VARIANTS

pytestmark = pytest.mark.slow


async def test_what_may_fail_costs_as_little_as_the_page_says() -> None:
    counted = {name: await count("direct", BARE, deployments) for name, deployments in VARIANTS.items()}
    one, two = counted["one deployment"], counted["two"]
    assert two.request - one.request <= 24
    assert abs(two.chunk - one.chunk) < 1
    for name, request, chunk in (
        ("deadlines and retries", 0, 0), ("`least-busy`", 6, 0), ("`latency-based-routing`", 30, 0),
        ("`on_break: restart`", 0, 5), ("`on_break: continue`", 0, 13),
    ):  # fmt: skip
        more = counted[f"two, {name}"]
        assert more.request - two.request <= request, name
        assert more.chunk - two.chunk < chunk + 1, name
