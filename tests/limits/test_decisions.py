"""What every store of one machine decides, in memory and in a file."""

import pytest

from crplugins.limits.limit import NEVER, Charge, Decision, Level, Limit, LimitReading
from crplugins.limits.memory import MemoryStore
from crplugins.limits.sqlite.store import SqliteStore
from crplugins.limits.store import LEASE_MILLISECONDS
from tests.limits.conftest import DAY, MINUTE, lease, meter, request, window

NOW = 1_767_225_600_000
END = NOW + DAY

# Five refusals that OpenAI's users have published: limit per minute, used, requested, milliseconds to wait.
OPENAI_REFUSALS = [
    (30_000, 14_567, 24_754, 18_642),
    (10_000, 8_554, 3_082, 9_816),
    (30_000, 18_928, 11_159, 174),
    (30_000, 29_937, 385, 644),
    (30_000, 28_039, 3_906, 3_890),
]


@pytest.fixture(params=["memory", "sqlite"])
async def store(request, tmp_path):
    if request.param == "memory":
        async with MemoryStore(clock=lambda: NOW) as store:
            yield store
    else:
        async with SqliteStore(tmp_path / "limits.db", clock=lambda: NOW) as store:
            yield store


async def reserve(store, *charges, now=NOW, **options):
    """The reservation and the decision."""
    reservation = request(*charges)
    return reservation, await store.reserve(reservation, now=now, **options)


async def verdict(store, *charges):
    """Which charge is refused, and how long it has to wait."""
    _, decision = await reserve(store, *charges)
    return decision.refused, decision.wait


async def used(store, *limits, now=NOW):
    return [level.used for level in await store.levels(limits, now=now)]


@pytest.mark.parametrize(("amount", "before", "requested", "wait"), OPENAI_REFUSALS)
async def test_a_refusal_waits_as_long_as_at_openai(store, amount, before, requested, wait):
    limit = meter(amount)
    await reserve(store, Charge(limit, before))
    _, decision = await reserve(store, Charge(limit, requested))
    assert decision.refused == 0
    assert decision.levels[0].used == before
    assert decision.wait == wait
    assert (await reserve(store, Charge(limit, requested), now=NOW + wait - 1))[1].refused == 0
    assert (await reserve(store, Charge(limit, requested), now=NOW + wait))[1].refused is None


async def test_what_is_used_is_gone_when_openai_says_so(store):
    requests, tokens = meter(500), meter(1_500_000, key="key/a/tokens", period=DAY)
    await reserve(store, requests, Charge(tokens, 4_378))
    levels = await store.levels([requests, tokens], now=NOW)
    assert levels[0] == LimitReading(1, 120, 1)
    assert levels[1].reset - 252_172 in (0, 1)  # 4m12.172s; a token is 58 ms


async def test_levels_are_those_before_the_charge(store):
    limits = meter(), window(50, END), lease()
    for number in range(3):
        _, decision = await reserve(store, *limits)
        assert decision.levels == (Level(number, number * 1_200), Level(number, DAY), Level(number, 0))


@pytest.mark.parametrize("limit", [meter(50, period=DAY), window(50, END), lease(50)], ids=lambda limit: limit.kind)
async def test_a_limit_of_50_admits_50(store, limit):
    decisions = [(await reserve(store, limit))[1] for _ in range(60)]
    assert [decision.refused for decision in decisions] == [None] * 50 + [0] * 10
    waits = {"meter": DAY // 50, "window": DAY, "lease": 1_000}
    assert {decision.wait for decision in decisions[50:]} == {waits[limit.kind]}


@pytest.mark.parametrize("last", [meter(1), window(1, END), lease(1)], ids=lambda limit: limit.kind)
async def test_a_refused_request_spends_nothing(store, last):
    others = meter(100, key="m"), window(100, END, key="w"), lease(100, key="l")
    await reserve(store, last)
    _, decision = await reserve(store, *others, last)
    assert decision.refused == 3
    assert await used(store, *others, last) == [0, 0, 0, 1]


async def test_the_longest_wait_decides_and_one_that_never_ends_above_all(store):
    short, long, never = meter(60, key="s"), window(1, END), meter(5, key="n")
    await reserve(store, Charge(short, 60), long)
    assert await verdict(store, short, long) == (1, DAY)
    assert await verdict(store, long, short) == (0, DAY)
    assert await verdict(store, Charge(never, 6), short, long) == (0, NEVER)
    assert await verdict(store, long, Charge(never, 6), short) == (1, NEVER)


async def test_more_than_the_limit_is_never_admitted(store):
    for limit in meter(100), window(100, END):
        _, decision = await reserve(store, Charge(limit, 101))
        assert (decision.refused, decision.wait) == (0, NEVER)
        assert decision.levels[0].used == 0


async def test_more_than_the_burst_needs_an_empty_meter(store):
    limit = meter(100, burst=25)
    assert (await reserve(store, Charge(limit, 100)))[1].refused is None
    assert await verdict(store, Charge(limit, 30)) == (0, MINUTE)
    assert await verdict(store, Charge(limit, 25)) == (0, MINUTE)
    assert await verdict(store, Charge(limit, 20)) == (0, MINUTE * 95 // 100)
    assert (await reserve(store, Charge(limit, 30), now=NOW + MINUTE))[1].refused is None


@pytest.mark.parametrize("limit", [meter(2), window(2, END)], ids=lambda limit: limit.kind)
async def test_a_charge_of_0_is_refused_when_nothing_remains(store, limit):
    await reserve(store, limit)
    assert (await reserve(store, Charge(limit, 0)))[1].refused is None
    await reserve(store, limit)
    _, decision = await reserve(store, Charge(limit, 0))
    assert decision.refused == 0
    assert decision.wait == (1 if limit.kind == "meter" else DAY)
    assert await used(store, limit) == [2]


async def test_use_of_a_meter_goes_away_all_the_time(store):
    limit = meter(60)
    await reserve(store, Charge(limit, 60))
    assert await used(store, limit, now=NOW + 999) == [59]
    assert await used(store, limit, now=NOW + 1_000) == [59]
    assert await used(store, limit, now=NOW + 30_000) == [30]
    assert await used(store, limit, now=NOW + MINUTE) == [0]


async def test_a_clock_that_goes_back_gives_nothing(store):
    limit = meter(60)
    await reserve(store, Charge(limit, 60))
    assert await used(store, limit, now=NOW - MINUTE) == [60]
    assert (await reserve(store, limit, now=NOW - MINUTE))[1].refused == 0


@pytest.mark.parametrize("back", [MINUTE, DAY, 365 * DAY])
async def test_nobody_waits_until_a_clock_that_went_back_is_as_late_again(store, back):
    limit = meter(60)
    await reserve(store, Charge(limit, 60))
    _, decision = await reserve(store, limit, now=NOW - back)
    assert decision.wait == 1_000
    assert (await reserve(store, limit, now=NOW - back + 999))[1].refused == 0
    assert (await reserve(store, limit, now=NOW - back + 1_000))[1].refused is None


async def test_the_lease_of_somebody_who_died_before_the_clock_went_back_ends(store):
    await reserve(store, lease(1))
    assert (await reserve(store, lease(1), now=NOW - DAY))[1].refused == 0
    assert (await reserve(store, lease(1), now=NOW - DAY + LEASE_MILLISECONDS - 1))[1].refused == 0
    assert (await reserve(store, lease(1), now=NOW - DAY + LEASE_MILLISECONDS))[1].refused is None


async def test_a_request_that_runs_while_the_clock_goes_back_holds_its_lease_and_is_settled(store):
    limits = lease(1), meter(100)
    reservation, _ = await reserve(store, limits[0], Charge(limits[1], 40))
    assert (await reserve(store, lease(1), now=NOW - DAY))[1].refused == 0
    await store.renew([reservation], lease=LEASE_MILLISECONDS, now=NOW - DAY + 20_000)
    assert (await reserve(store, lease(1), now=NOW - DAY + LEASE_MILLISECONDS))[1].refused == 0
    assert await store.settle(reservation, [1, 10], now=NOW - DAY + LEASE_MILLISECONDS)
    assert await used(store, *limits, now=NOW - DAY + LEASE_MILLISECONDS) == [0, 10]


async def test_settling_replaces_what_was_reserved_and_frees_the_lease(store):
    limits = meter(100), window(100, END), lease(1)
    reservation, _ = await reserve(store, *[Charge(limit, 1 if limit.kind == "lease" else 40) for limit in limits])
    assert await used(store, *limits) == [40, 40, 1]
    assert await store.settle(reservation, [10, 70, 1], now=NOW)
    assert await used(store, *limits) == [10, 70, 0]


async def test_settling_twice_is_settling_once(store):
    limits = meter(100), window(100, END)
    reservation, _ = await reserve(store, *[Charge(limit, 40) for limit in limits])
    assert await store.settle(reservation, [30, 30], now=NOW)
    assert not await store.settle(reservation, [0, 0], now=NOW)
    assert await used(store, *limits) == [30, 30]


async def test_what_was_refused_cannot_be_settled(store):
    limit = meter(1)
    await reserve(store, limit)
    reservation, decision = await reserve(store, limit)
    assert decision.refused == 0
    assert not await store.settle(reservation, [0], now=NOW)
    assert await used(store, limit) == [1]


async def test_a_full_refund_leaves_no_trace(store):
    limits = meter(100), window(100, END), lease(1)
    await reserve(store, *[Charge(limit, 7) for limit in limits[:2]])
    reservation, _ = await reserve(store, *limits)
    assert await store.settle(reservation, [0, 0, 0], now=NOW)
    assert await used(store, *limits) == [7, 7, 0]


async def test_a_refund_of_what_has_gone_away_already_gives_no_credit(store):
    limit = meter(100)
    reservation, _ = await reserve(store, Charge(limit, 100))
    assert await store.settle(reservation, [0], now=NOW + 30_000)
    assert await used(store, limit, now=NOW + 30_000) == [0]
    _, decision = await reserve(store, Charge(limit, 100), now=NOW + 30_000)
    assert decision.refused is None
    assert (await reserve(store, limit, now=NOW + 30_000))[1].refused == 0


async def test_use_above_what_was_reserved_is_debt_up_to_a_bound(store):
    limit = meter(100)
    reservation, _ = await reserve(store, Charge(limit, 10))
    assert await store.settle(reservation, [5_000], now=NOW)
    assert await used(store, limit) == [5_000]
    assert await verdict(store, limit) == (0, MINUTE * 4_901 // 100)
    reservation, _ = await reserve(store, Charge(meter(100, key="other"), 10))
    assert await store.settle(reservation, [9_000], now=NOW)
    assert await used(store, meter(100, key="other")) == [6_100]  # an hour's worth and the limit itself


@pytest.mark.parametrize(("debt", "left"), [(0, 100), (0.25, 125), (2.5, 350)])
async def test_the_bound_of_debt_is_a_share_of_the_limit(store, debt, left):
    limit = meter(100)
    reservation, _ = await reserve(store, Charge(limit, 10))
    assert await store.settle(reservation, [5_000], debt=debt, now=NOW)
    assert await used(store, limit) == [left]


async def test_a_limit_of_debt_forgives_no_debt_that_exists_already(store):
    limit = meter(100)
    first, second = [(await reserve(store, Charge(limit, 10)))[0] for _ in range(2)]
    assert await store.settle(first, [500], debt=3.0, now=NOW)
    assert await store.settle(second, [500], debt=0.0, now=NOW)
    assert await used(store, limit) == [400]


async def test_a_window_forgives_nothing(store):
    limit = window(100, END)
    reservation, _ = await reserve(store, Charge(limit, 10))
    assert await store.settle(reservation, [5_000], now=NOW)
    assert await used(store, limit) == [5_000]


async def test_a_late_settlement_is_for_its_own_window(store):
    limit, next_ = window(100, END), window(100, END + DAY)
    reservation, _ = await reserve(store, Charge(limit, 40), now=END - 1)
    await reserve(store, Charge(next_, 5), now=END)
    assert await store.settle(reservation, [10], now=END + 10)
    assert await used(store, limit, next_, now=END + 10) == [10, 5]


async def test_an_expired_reservation_cannot_be_settled(store):
    limits = meter(100, period=DAY), lease(1)
    reservation, _ = await reserve(store, Charge(limits[0], 40), limits[1], lease=5_000)
    assert await used(store, limits[1], now=NOW + 4_999) == [1]
    assert await used(store, limits[1], now=NOW + 5_000) == [0]
    assert not await store.settle(reservation, [0, 0], now=NOW + 5_000)
    assert await used(store, limits[0]) == [40]


async def test_one_that_lives_still_can_be_settled_at_its_last_moment(store):
    reservation, _ = await reserve(store, lease(1), lease=5_000)
    assert await store.settle(reservation, [0], now=NOW + 4_999)


async def test_a_renewed_reservation_lives_on(store):
    limits = meter(100), lease(1)
    reservation, _ = await reserve(store, *limits, lease=5_000)
    await store.renew([reservation], lease=5_000, now=NOW + 4_000)
    assert (await reserve(store, *limits, now=NOW + 8_999))[1].refused == 1
    assert await store.settle(reservation, [1, 1], now=NOW + 8_999)


async def test_one_without_a_lease_is_renewed_too(store):
    reservation, _ = await reserve(store, meter(100), lease=5_000)
    await store.renew([reservation], lease=5_000, now=NOW + 4_000)
    assert await store.settle(reservation, [1], now=NOW + 8_999)


async def test_renewing_does_not_revive_what_has_expired(store):
    limit = lease(1)
    reservation, _ = await reserve(store, limit, lease=5_000)
    await store.renew([reservation], lease=5_000, now=NOW + 5_000)
    assert await used(store, limit, now=NOW + 5_001) == [0]
    assert not await store.settle(reservation, [1], now=NOW + 5_001)


async def test_hundreds_are_renewed_at_once(store):
    limit = lease(500)
    held = [(await reserve(store, limit, lease=5_000))[0] for _ in range(450)]
    await store.renew(held[:430], lease=60_000, now=NOW + 4_000)
    assert await used(store, limit, now=NOW + 10_000) == [430]
    await store.renew([], lease=60_000, now=NOW)


async def test_each_lease_expires_at_its_own_time(store):
    limit = lease(3)
    for life in (30_000, 10_000, 20_000):
        await reserve(store, limit, lease=life)
    assert [(await used(store, limit, now=NOW + at))[0] for at in (0, 10_000, 20_000, 30_000)] == [3, 2, 1, 0]


async def test_a_limit_that_changes_keeps_what_is_used(store):
    await reserve(store, Charge(meter(100), 80), Charge(window(100, END), 80), lease(4))
    assert await used(store, meter(1_000), window(1_000, END), lease(9)) == [80, 80, 1]
    assert await used(store, meter(10), window(10, END), lease(1)) == [80, 80, 1]
    assert (await reserve(store, Charge(meter(1_000), 920)))[1].refused is None
    assert await verdict(store, Charge(window(10, END), 0)) == (0, DAY)
    assert await verdict(store, lease(1)) == (0, 1_000)


async def test_a_lower_limit_drains_what_is_used_more_slowly(store):
    await reserve(store, Charge(meter(100), 80))
    assert await used(store, meter(60), now=NOW + 30_000) == [50]


async def test_a_seed_raises_a_window_and_never_lowers_it(store):
    limit = window(100, END)
    await store.seed(limit, 60)
    assert await used(store, limit) == [60]
    await store.seed(limit, 40)
    assert await used(store, limit) == [60]
    assert (await reserve(store, Charge(limit, 41)))[1].refused == 0


async def test_settling_what_was_reserved_before_a_seed_counts_on(store):
    limit = window(100, END)
    reservation, _ = await reserve(store, Charge(limit, 10))
    await store.seed(limit, 60)
    assert await store.settle(reservation, [15], now=NOW)
    assert await used(store, limit) == [65]


async def test_nothing_reserved_is_admitted_and_settled_once(store):
    reservation, decision = await reserve(store)
    assert decision == Decision(None, 0, ())
    assert await store.settle(reservation, [], now=NOW)
    assert not await store.settle(reservation, [], now=NOW)


async def test_as_many_costs_as_charges(store):
    reservation, _ = await reserve(store, meter(), lease())
    with pytest.raises(ValueError, match="1 costs for 2 charges"):
        await store.settle(reservation, [1], now=NOW)


async def test_amounts_of_any_size_are_exact(store):
    limit = Limit("window", f"budget/{END}", 9_000_000_000_000_000, END)
    await reserve(store, Charge(limit, 8_999_999_999_999_999))
    assert (await reserve(store, Charge(limit, 2)))[1].refused == 0
    assert (await reserve(store, Charge(limit, 1)))[1].refused is None
    assert await used(store, limit) == [9_000_000_000_000_000]


async def test_the_clock_of_the_store_is_used_where_none_is_given(store):
    limit = window(10, END)
    assert (await store.reserve(request(limit))).levels == (Level(0, DAY),)
    assert await store.levels([limit]) == (LimitReading(1, DAY, 1),)


async def test_a_reservation_that_goes_on_is_charged_more_or_less_and_settled_from_there(store):
    tokens, budget, parallel = meter(1_000), window(500, END), lease(1)
    reservation, _ = await reserve(store, Charge(tokens, 100), Charge(budget, 10), parallel)
    for costs in ([300, 30, 1], [900, 90, 1], [5_000, 2_000, 1]):
        assert await store.adjust(reservation, costs, now=NOW)
        reservation = reservation.costing(costs)
        assert await used(store, tokens, budget, parallel) == costs
    assert (await reserve(store, Charge(tokens, 1)))[1].refused == 0
    assert await store.settle(reservation, [400, 40, 1], now=NOW)
    assert await used(store, tokens, budget, parallel) == [400, 40, 0]


async def test_what_was_settled_or_has_expired_is_not_adjusted(store):
    limit = meter(1_000)
    reservation, _ = await reserve(store, Charge(limit, 100))
    assert await store.settle(reservation, [50], now=NOW)
    assert not await store.adjust(reservation, [900], now=NOW)
    expired, _ = await reserve(store, Charge(limit, 0))
    assert not await store.adjust(expired, [900], now=NOW + LEASE_MILLISECONDS)
    assert await used(store, limit) == [50]
