import pytest

from crplugins.core.patterns import NameSet, Pattern, by_precedence


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
