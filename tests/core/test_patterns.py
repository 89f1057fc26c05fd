import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core.patterns import MeetingTable, NameSet, Pattern, PatternTable, by_precedence
from tests.steps import lines_of


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("gpt-4", "gpt-4", True),
        ("gpt-4", "gpt-4o", False),
        ("gpt-3.5*", "gpt-3.5-turbo", True),
        ("gpt-3.5*", "gpt-3.5", True),
        ("gpt-3.5*", "gpt-345", False),
        ("*-mini", "gpt-4o-mini", True),
        ("gpt*mini", "gptmini", True),
        ("ab*ba", "aba", False),
        ("*", "", True),
    ],
)
def test_a_star_stands_for_any_text_also_none_and_no_character_is_used_twice(pattern, name, fits):
    assert Pattern.of(pattern).matches(name) is fits


@pytest.mark.parametrize(
    ("source", "name", "target", "filled"),
    [
        ("old/*", "old/x", "new/*", "new/x"),
        ("*-old", "m-old", "*", "m"),
        ("gpt*mini", "gptmini", "a*b", "ab"),
        ("gpt*", "gpt-4", "claude", "claude"),
        ("x", "x", "y", "y"),
    ],
)
def test_a_target_is_filled_with_what_the_star_stood_for(source, name, target, filled):
    assert Pattern.of(target).filled_from(Pattern.of(source), name) == filled


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("a*", "ab*", True),
        ("a*", "b*", False),
        ("a*z", "*yz", True),
        ("a*z", "*y", False),
        ("a*", "abc", True),
        ("abc", "abc", True),
        ("abc", "abd", False),
        ("*", "x", True),
    ],
)
def test_two_patterns_meet_if_some_name_fits_both(one, other, meet):
    assert Pattern.of(one).meets(Pattern.of(other)) is Pattern.of(other).meets(Pattern.of(one)) is meet


@pytest.mark.parametrize(
    ("wide", "narrow", "covers"),
    [
        ("*", "gpt*", True),
        ("gpt*", "*", False),
        ("a*", "ab*c", True),
        ("a*c", "abc", True),
        ("abc", "a*", False),
        ("a", "a", True),
    ],
)
def test_a_pattern_covers_another_if_all_its_names_fit(wide, narrow, covers):
    assert Pattern.of(wide).covers(Pattern.of(narrow)) is covers


def test_longer_patterns_come_first_and_of_equal_ones_the_longer_beginning():
    ordered = by_precedence(Pattern.of(text) for text in ("*", "*b", "a*", "gpt-*"))
    assert [pattern.text for pattern in ordered] == ["gpt-*", "a*", "*b", "*"]


def test_a_name_set_holds_names_and_patterns():
    names = NameSet(["fast", "gpt-*"])
    assert [name in names for name in ("fast", "gpt-4", "faster", "claude")] == [True, True, False, False]


PATTERNS = st.builds(lambda before, after: f"{before}*{after}", st.text("ab", max_size=3), st.text("ab", max_size=3))


@given(st.lists(PATTERNS, max_size=12), st.text("ab", max_size=6))
def test_a_table_finds_the_first_pattern_that_matches(texts, name):
    patterns = [Pattern.of(text) for text in texts]
    first = next((pattern for pattern in patterns if pattern.matches(name)), None)
    assert PatternTable((pattern, pattern) for pattern in patterns).find(name) == first


@given(st.lists(PATTERNS | st.text("ab", max_size=4), max_size=12), PATTERNS)
def test_a_table_finds_all_that_meet_a_pattern_in_their_order(texts, text):
    patterns, asked = [Pattern.of(each) for each in texts], Pattern.of(text)
    table = MeetingTable((pattern, pattern) for pattern in patterns)
    assert table.meeting(asked) == [pattern for pattern in patterns if pattern.meets(asked)]


@pytest.mark.parametrize("form", ["vendor-{}/*", "*-{}", "a{}*z{}"])
def test_a_name_is_found_among_thousands_of_patterns_with_the_work_of_a_few(form):
    def table(size):
        texts = ["gpt-*", *(form.format(number, number) for number in range(1000, 1000 + size))]
        return PatternTable((Pattern.of(text), text) for text in texts)

    few, many = table(10), table(3000)
    for name in ("gpt-4o", "nobody's", form.replace("*", "x").format(1005, 1005)):
        assert few.find(name) == many.find(name)
        assert lines_of(lambda name=name: many.find(name)) == lines_of(lambda name=name: few.find(name))
