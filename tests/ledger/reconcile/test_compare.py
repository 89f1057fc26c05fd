"""Two books side by side: each difference has its cause, and nothing is lost or counted twice on the way."""

from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crplugins.ledger.reconcile.amounts import MEASURES, NOTHING, BookedAmounts, Entry, ExportGroup
from crplugins.ledger.reconcile.compare import CAUSES, compare, total_of
from crplugins.ledger.reconcile.export import Export
from crplugins.ledger.reconcile.openai import USAGE
from tests.long import times

FIRST = date(2026, 6, 1)
ALL = frozenset(MEASURES)


def day(number):
    return FIRST + timedelta(days=number)


def make_export(amounts, measures=ALL, *, days=3, models=True, tiers=True, rounding=1):
    groups = {ExportGroup(day(number), model, tier): counts for (number, model, tier), counts in amounts.items()}
    roundings = dict.fromkeys(groups, rounding)
    return Export(USAGE, groups, roundings, frozenset(measures), FIRST, day(days - 1), models, tiers, ())


def entry(number, model, tier, amounts, **more):
    return Entry(day(number), (model, ""), tier, **{"late": False, "estimated": False} | more, amounts=amounts)


def only(**amounts):
    return BookedAmounts(**amounts)


def causes(comparison):
    """`{(day, model, tier): {cause: amounts}}` of the rows that differ."""
    return {
        ((row.group.day - FIRST).days, row.group.model, row.group.tier): dict(row.residuals)
        for row in comparison.rows
        if row.residuals
    }


SOME = BookedAmounts(10, 5000, 1000, 200, 900, 4000)
ONE = BookedAmounts(1, 450, 100, 20, 80, 333)


def test_books_that_agree_have_no_residual():
    comparison = compare(make_export({(0, "m", "default"): SOME}), [entry(0, "m", "standard", SOME)], {})
    assert causes(comparison) == {}
    assert comparison.total("here") == comparison.total("there") == SOME


def test_a_request_that_one_side_does_not_have_is_missing_there_or_here():
    export = make_export({(0, "m", "default"): SOME, (1, "m", "default"): SOME})
    entries = [entry(0, "m", "", SOME.plus(ONE)), entry(1, "m", "", SOME.minus(ONE))]
    assert causes(compare(export, entries, {})) == {
        (0, "m", "default"): {"missing_there": ONE},
        (1, "m", "default"): {"missing_here": NOTHING.minus(ONE)},
    }


def test_a_model_that_only_one_side_has_is_missing_on_the_other():
    export = make_export({(0, "theirs", "default"): SOME})
    found = causes(compare(export, [entry(0, "ours", "", ONE)], {}))
    assert found == {
        (0, "ours", "default"): {"missing_there": ONE},
        (0, "theirs", "default"): {"missing_here": NOTHING.minus(SOME)},
    }


def test_a_request_that_ended_at_midnight_may_be_booked_on_the_next_day():
    export = make_export({(0, "m", "default"): SOME.minus(ONE), (1, "m", "default"): SOME.plus(ONE)})
    entries = [
        entry(0, "m", "", SOME.minus(ONE)),
        entry(0, "m", "", ONE, late=True),
        entry(1, "m", "", SOME),
    ]
    assert causes(compare(export, entries, {})) == {
        (0, "m", "default"): {"late": ONE},
        (1, "m", "default"): {"late": NOTHING.minus(ONE)},
    }


def test_one_that_ended_at_noon_is_not_late_but_missing():
    export = make_export({(0, "m", "default"): SOME.minus(ONE), (1, "m", "default"): SOME.plus(ONE)})
    found = causes(compare(export, [entry(0, "m", "", SOME), entry(1, "m", "", SOME)], {}))
    assert found == {
        (0, "m", "default"): {"missing_there": ONE},
        (1, "m", "default"): {"missing_here": NOTHING.minus(ONE)},
    }


def test_tokens_without_a_request_are_not_late():
    export = make_export(
        {(0, "m", "default"): SOME._replace(output_tokens=890), (1, "m", "default"): SOME._replace(output_tokens=910)}
    )
    entries = [entry(0, "m", "", SOME.minus(ONE)), entry(0, "m", "", ONE, late=True), entry(1, "m", "", SOME)]
    assert [list(found) for found in causes(compare(export, entries, {})).values()] == [
        ["unexplained"],
        ["unexplained"],
    ]


def test_late_requests_explain_no_more_than_themselves():
    """Two requests are missing on the second day; one of them began late on the first."""
    export = make_export({(0, "m", "default"): SOME.minus(ONE), (1, "m", "default"): SOME.plus(ONE).plus(ONE)})
    entries = [entry(0, "m", "", SOME.minus(ONE)), entry(0, "m", "", ONE, late=True), entry(1, "m", "", SOME)]
    assert causes(compare(export, entries, {}))[1, "m", "default"] == {
        "late": NOTHING.minus(ONE),
        "missing_here": NOTHING.minus(ONE),
    }


def test_what_is_late_at_the_edges_has_its_other_half_out_of_sight():
    export = make_export({(0, "m", "default"): SOME.plus(ONE), (1, "m", "default"): SOME.minus(ONE)}, days=2)
    entries = [
        entry(-1, "m", "", ONE, late=True),
        entry(0, "m", "", SOME),
        entry(1, "m", "", SOME.minus(ONE)),
        entry(1, "m", "", ONE, late=True),
    ]
    comparison = compare(export, entries, {})
    assert causes(comparison) == {
        (0, "m", "default"): {"late": NOTHING.minus(ONE)},
        (1, "m", "default"): {"late": ONE},
    }
    assert comparison.total("here") == SOME.plus(SOME), "the day before is not counted"


def test_the_same_requests_in_another_tier_are_of_the_tier_with_their_other_price():
    dearer = ONE._replace(cost_micro_usd=700)
    export = make_export({(0, "m", "default"): SOME, (0, "m", "priority"): dearer})
    found = causes(compare(export, [entry(0, "m", "default", SOME.plus(ONE))], {}))
    assert found == {
        (0, "m", "default"): {"tier": ONE},
        (0, "m", "priority"): {"tier": NOTHING.minus(dearer)},
    }


def test_tiers_are_put_together_where_the_export_does_not_tell_them():
    export = make_export({(0, "m", ""): SOME.plus(ONE)}, tiers=False)
    entries = [entry(0, "m", "default", SOME), entry(0, "m", "priority", ONE)]
    assert causes(compare(export, entries, {})) == {}


def test_models_are_put_together_where_the_export_does_not_tell_them():
    export = make_export({(0, "", ""): SOME.plus(ONE)}, models=False, tiers=False)
    assert causes(compare(export, [entry(0, "a", "x", SOME), entry(0, "b", "y", ONE)], {})) == {}


def test_another_part_of_the_same_input_was_cached():
    export = make_export({(0, "m", "default"): SOME})
    here = SOME._replace(cached_input_tokens=0, cache_write_input_tokens=1200, cost_micro_usd=5000)
    assert causes(compare(export, [entry(0, "m", "", here)], {})) == {
        (0, "m", "default"): {"cache": BookedAmounts(0, 0, -1000, 1000, 0, 1000)}
    }


@pytest.mark.parametrize("left_out", [1000, 200, 1200])
def test_input_without_its_cached_or_written_part_is_of_the_cache(left_out):
    here = SOME._replace(input_tokens=SOME.input_tokens - left_out)
    found = causes(compare(make_export({(0, "m", "default"): SOME}), [entry(0, "m", "", here)], {}))
    assert found == {(0, "m", "default"): {"cache": BookedAmounts(0, -left_out)}}


def test_the_cached_part_of_a_missing_request_is_missing_with_it():
    found = causes(compare(make_export({(0, "m", "default"): SOME}), [entry(0, "m", "", SOME.minus(ONE))], {}))
    assert found == {(0, "m", "default"): {"missing_here": NOTHING.minus(ONE)}}


def test_estimates_may_be_wrong_by_as_much_as_they_are():
    guess = BookedAmounts(1, 400, 0, 0, 100, 300)
    truth = BookedAmounts(1, 450, 90, 0, 180, 500)
    export = make_export({(0, "m", "default"): SOME.plus(truth)})
    entries = [entry(0, "m", "", SOME), entry(0, "m", "", guess, estimated=True)]
    assert causes(compare(export, entries, {})) == {(0, "m", "default"): {
        "cache": BookedAmounts(0, 0, -40), "estimated": BookedAmounts(0, -50, -50, 0, -80, -200)
    }}  # fmt: skip


def test_an_estimate_explains_no_more_than_that():
    export = make_export({(0, "m", "default"): BookedAmounts(1, 400, 0, 0, 900, 300)})
    entries = [entry(0, "m", "", BookedAmounts(1, 400, 0, 0, 100, 300), estimated=True)]
    assert causes(compare(export, entries, {})) == {
        (0, "m", "default"): {
            "estimated": BookedAmounts(0, 0, 0, 0, -100),
            "unexplained": BookedAmounts(0, 0, 0, 0, -700),
        }
    }


def test_an_estimate_does_not_explain_a_request_that_is_missing_here():
    export = make_export({(0, "m", "default"): SOME.plus(ONE).plus(ONE)})
    entries = [entry(0, "m", "", SOME), entry(0, "m", "", ONE, estimated=True)]
    assert causes(compare(export, entries, {})) == {(0, "m", "default"): {"missing_here": NOTHING.minus(ONE)}}


def test_an_estimated_request_that_the_provider_does_not_count_is_explained():
    export = make_export({(0, "m", "default"): SOME})
    entries = [entry(0, "m", "", SOME), entry(0, "m", "", ONE, estimated=True)]
    assert causes(compare(export, entries, {})) == {(0, "m", "default"): {"estimated": ONE}}


def test_the_same_requests_with_other_tokens_are_unexplained():
    here = SOME._replace(output_tokens=899)
    found = causes(compare(make_export({(0, "m", "default"): SOME}), [entry(0, "m", "", here)], {}))
    assert found == {(0, "m", "default"): {"unexplained": BookedAmounts(0, 0, 0, 0, -1)}}


def test_the_same_tokens_at_another_price_are_unexplained():
    here = SOME._replace(cost_micro_usd=4500)
    found = causes(compare(make_export({(0, "m", "default"): SOME}), [entry(0, "m", "", here)], {}))
    assert found == {(0, "m", "default"): {"unexplained": BookedAmounts(0, 0, 0, 0, 0, 500)}}


def test_a_cost_may_be_off_by_the_rounding_of_its_requests_and_lines():
    for off, cause in ((6, "rounding"), (7, "unexplained")):  # half a micro-USD for ten requests, and 1 for the export
        here = SOME._replace(cost_micro_usd=SOME.cost_micro_usd + off)
        found = causes(compare(make_export({(0, "m", "default"): SOME}), [entry(0, "m", "", here)], {}))
        assert list(found[0, "m", "default"]) == [cause]


def test_a_tolerance_is_a_share_of_the_number():
    here = SOME._replace(output_tokens=909)
    export = make_export({(0, "m", "default"): SOME})
    assert list(causes(compare(export, [entry(0, "m", "", here)], {}, 0.01))[0, "m", "default"]) == ["rounding"]
    assert list(causes(compare(export, [entry(0, "m", "", here)], {}, 0.009))[0, "m", "default"]) == ["unexplained"]


def test_what_has_no_price_here_is_told_so():
    export = make_export({(0, "m", ""): BookedAmounts(cost_micro_usd=4000)}, {"cost_micro_usd"}, tiers=False)
    here = SOME._replace(cost_micro_usd=100)
    found = causes(compare(export, [entry(0, "m", "", here, unpriced=9)], {}))
    assert found == {(0, "m", ""): {"unpriced": BookedAmounts(cost_micro_usd=-3900)}}


def test_an_export_without_requests_shows_what_is_missing_by_its_tokens():
    told = ALL - {"requests", "cost_micro_usd"}
    there = SOME._replace(requests=0, cost_micro_usd=0)
    found = causes(compare(make_export({(0, "m", "default"): there}, told), [entry(0, "m", "", SOME.minus(ONE))], {}))
    assert found == {(0, "m", "default"): {"missing_here": BookedAmounts(0, -450, -100, -20, -80)}}


def test_a_line_of_the_export_can_be_counted_as_a_models():
    """Under the model's exported name or its configured one."""
    costs = {(0, "gpt-5-2025-08-07", ""): only(cost_micro_usd=4000), (0, "Web search", ""): only(cost_micro_usd=500)}
    export = make_export(costs, {"cost_micro_usd"}, tiers=False)
    entries = [entry(0, "gpt-5-2025-08-07", "", SOME._replace(cost_micro_usd=4500))]
    assert len(causes(compare(export, entries, {}))) == 2
    for name in ("gpt-5-2025-08-07", "my-gpt"):
        names = {"Web search": "gpt-5-2025-08-07", "my-gpt": "gpt-5-2025-08-07"}
        entries = [entry(0, name, "", SOME._replace(cost_micro_usd=4500))]
        assert causes(compare(export, entries, names)) == {}


def test_requests_without_tokens_are_counted_apart():
    entries = [entry(0, "m", "", SOME), entry(0, "m", "", NOTHING, uncounted=3)]
    comparison = compare(make_export({(0, "m", "default"): SOME}), entries, {})
    assert comparison.uncounted == 3
    assert causes(comparison) == {}


COUNTS = st.integers(0, 40)
AMOUNTS = st.builds(BookedAmounts, *(st.integers(0, n) for n in (3, 60, 60, 60, 60, 60)))
MODELS = st.sampled_from(["gpt-5", "gpt-5-2025-08-07", "gpt-5-2025-09-09", "claude-opus-5", ""])
TIERS = st.sampled_from(["", "default", "priority", "batch"])


@st.composite
def books(draw):
    told = draw(st.sampled_from([ALL, ALL - {"requests"}, frozenset({"cost_micro_usd"}), ALL - {"cost_micro_usd"}]))
    models, tiers = draw(st.booleans()), draw(st.booleans())
    groups = draw(st.lists(st.tuples(st.integers(0, 2), MODELS, TIERS), unique=True, max_size=8))
    export = make_export(
        {
            (number, model if models else "", tier if tiers else ""): _of(told, draw(AMOUNTS))
            for number, model, tier in groups
        },
        told, models=models, tiers=tiers, rounding=draw(st.integers(0, 5)),
    )  # fmt: skip
    entries = draw(
        st.lists(
            st.builds(
                Entry,
                day=st.integers(-1, 2).map(day),
                names=st.tuples(MODELS, MODELS),
                tier=TIERS,
                late=st.booleans(),
                estimated=st.booleans(),
                amounts=AMOUNTS,
                unpriced=st.integers(0, 2),
            ),
            max_size=10,
        )
    )
    entries = [found for found in entries if found.day >= FIRST or found.late]
    return export, entries


def _of(told, amounts):
    return BookedAmounts(*(count if name in told else 0 for name, count in zip(MEASURES, amounts, strict=True)))


@given(books(), st.sampled_from([0.0, 0.001, 0.5]))
@settings(max_examples=times(400, 20_000))
def test_no_token_is_lost_or_counted_twice(both, tolerance):
    export, entries = both
    comparison = compare(export, entries, {}, tolerance)
    counted = [found for found in entries if found.day >= FIRST]
    assert comparison.total("here") == _of(export.measures, total_of(found.amounts for found in counted))
    assert comparison.total("there") == total_of(export.amounts.values())
    for row in comparison.rows:
        assert total_of(part.amounts for part in row.residuals) == row.here.minus(row.there)
        assert len({part.cause for part in row.residuals}) == len(row.residuals)
        assert all(any(part.amounts) for part in row.residuals)
    found = total_of(amounts for cause in CAUSES for amounts in comparison.of_cause(cause))
    assert found == comparison.total("here").minus(comparison.total("there"))
    assert len({row.group for row in comparison.rows}) == len(comparison.rows)


@given(books())
@settings(max_examples=times(200, 10_000))
def test_what_moves_between_days_or_tiers_comes_in_where_it_went_out(both):
    export, entries = both
    comparison = compare(export, entries, {})
    moved: dict[tuple[object, ...], BookedAmounts] = {}
    for row in comparison.rows:
        tier = dict(row.residuals).get("tier", NOTHING)
        key = (row.group.day, row.group.model)
        moved[key] = moved.get(key, NOTHING).plus(tier)
    costs = {"cost_micro_usd"}  # a tier has its own price
    assert all(
        count == 0
        for amounts in moved.values()
        for name, count in zip(MEASURES, amounts, strict=True)
        if name not in costs
    )


@given(books())
@settings(max_examples=times(100, 5_000))
def test_a_book_agrees_with_itself(both):
    _, entries = both
    entries = [found for found in entries if found.day >= FIRST and any(found.names)]
    amounts = {}
    for found in entries:
        key = ((found.day - FIRST).days, found.names[0] or found.names[1], found.tier)
        amounts[key] = amounts.get(key, NOTHING).plus(found.amounts)
    merged = {}
    for (number, model, tier), counts in amounts.items():
        key = (number, model, {"": "default"}.get(tier, tier))
        merged[key] = merged.get(key, NOTHING).plus(counts)
    comparison = compare(make_export(merged), entries, {})
    assert causes(comparison) == {}


def estimate(one):
    """Seven output tokens where the provider counts more; beyond twice of it nothing is explained."""
    off = one.output_tokens - 7
    expected = {"estimated": only(output_tokens=-min(off, 7))}
    return expected | ({"unexplained": only(output_tokens=7 - off)} if off > 7 else {})


DEVIATIONS = {
    "none": lambda one: ([], [], {}),
    "missing_here": lambda one: ([(0, "default", one)], [], {(0, "default"): {"missing_here": NOTHING.minus(one)}}),
    "missing_there": lambda one: ([], [(one, {})], {(0, "default"): {"missing_there": one}}),
    "tier": lambda one: (
        [(0, "flex", one)], [(one, {})],
        {(0, "default"): {"tier": one}, (0, "flex"): {"tier": NOTHING.minus(one)}},
    ),
    "cache": lambda one: (
        [(0, "default", one)], [(one._replace(cached_input_tokens=0), {})],
        {(0, "default"): {"cache": only(cached_input_tokens=-one.cached_input_tokens)}},
    ),
    "late": lambda one: (
        [(1, "default", one)], [(one, {"late": True})],
        {(0, "default"): {"late": one}, (1, "default"): {"late": NOTHING.minus(one)}},
    ),
    "estimated": lambda one: (
        [(0, "default", one)], [(one._replace(output_tokens=7), {"estimated": True})], {(0, "default"): estimate(one)}
    ),
    "rounding": lambda one: (
        [(0, "default", only(cost_micro_usd=3))], [], {(0, "default"): {"rounding": only(cost_micro_usd=-3)}}
    ),
    "unexplained": lambda one: (
        [(0, "default", only(output_tokens=one.output_tokens))], [],
        {(0, "default"): {"unexplained": only(output_tokens=-one.output_tokens)}},
    ),
}  # fmt: skip
"""What one request adds there (days later, tier, amounts) and here, and what is to be found."""

USED = st.builds(BookedAmounts, st.just(1), *(st.integers(n, n + 500) for n in (600, 100, 50, 10, 1000)))


@given(st.lists(st.tuples(st.sampled_from(sorted(DEVIATIONS)), st.integers(0, 1), USED), min_size=1, max_size=12))
@settings(max_examples=times(150, 5_000))
def test_known_deviations_are_found_and_no_other(made):
    """Each model has ten ordinary requests on each of three days, and one deviation on one of them."""
    there, entries, expected = {}, [], {}
    for number, (deviation, begin, one) in enumerate(made):
        model = f"model-{number}"
        added, kept, found = DEVIATIONS[deviation](one)
        for every in range(3):
            there[every, model, "default"] = SOME
            entries.append(entry(every, model, "", SOME))
        for later, tier, amounts in added:
            key = (begin + later, model, tier)
            there[key] = there.get(key, NOTHING).plus(amounts)
        entries += [entry(begin, model, "", amounts, **more) for amounts, more in kept]
        expected |= {(begin + later, model, tier): causes_ for (later, tier), causes_ in found.items()}
    assert causes(compare(make_export(there), entries, {})) == expected
