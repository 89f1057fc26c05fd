"""Text of others: what is taken out of it, where it is cut, and that no text takes long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core.redaction import LONGEST_TEXT, cut, one_line, scrub

SECRET = "gateway-secret-77aa"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at http:\\/\\/vllm.internal\\/v1 it failed", "at [redacted] it failed"),
        ("at [fd00::7]:8000, fd00:1:2::7 and LOCALHOST:80", "at [redacted], [redacted] and [redacted]"),
        ("\\nhttp://a.example/ and \\n10.0.0.7", "\\[redacted] and \\n[redacted]"),
        ("host db-1.corp.example:5432", "host [redacted]"),
        ("key: sk-abc12345", "key: [redacted]"),
        ("\u5bc6\u94a5sk-abc12345\u65e0\u6548", "\u5bc6\u94a5[redacted]\u65e0\u6548"),
        ("line\\nsk-abc12345 \\u0020sk-abc12345 %20sk-abc12345", "line\\n[redacted] \\u0020[redacted] %20[redacted]"),
        ("AIzaSyA1234567890abcdefghij and eyJhbGciOi.eyJzdWIi.c2ln", "[redacted] and [redacted]"),
        ('{"api_key": "0123456789abcdef"}', '{"api_key: [redacted]"}'),
        ("Incorrect API key provided: 0123456789abcdef.", "Incorrect API key provided: [redacted]"),
        ("Authorization: Basic dXNlcjpwYXNzd29yZA==", "Authorization: [redacted]"),
        ("Basic usage of a password: required", "Basic usage of a password: required"),
        ("max_tokens:4096, model-2:free, v1.2.3, 12:30:45", "max_tokens:4096, model-2:free, v1.2.3, 12:30:45"),
    ],
)
def test_addresses_and_keys_are_taken_out_and_what_looks_like_them_stays(text: str, expected: str) -> None:
    assert scrub(text) == expected


@pytest.mark.parametrize("placeholder", ["none", "x", "EMPTY", "token", "dummy", "", None, "sk-1234"])
def test_a_placeholder_for_a_key_takes_nothing_out(placeholder: str | None) -> None:
    text = "none of the x token EMPTY texts is dummy"
    assert scrub(text, [placeholder]) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"no {SECRET}.", "no [redacted]."),
        (f"'{SECRET}'", "'[redacted]'"),
        (f"Bearer_{SECRET}", f"Bearer_{SECRET}"),
        (f"x{SECRET}", f"x{SECRET}"),
        (f"{SECRET}b", f"{SECRET}b"),
        (f"\\n{SECRET}", "\\n[redacted]"),
        (f"\u5bc6{SECRET}\u5bc6", "\u5bc6[redacted]\u5bc6"),
    ],
)
def test_a_secret_counts_as_a_whole_word(text: str, expected: str) -> None:
    assert scrub(text, [SECRET]) == expected


def test_a_secret_may_have_any_characters() -> None:
    assert scrub("is /pa$$(w+rd)[/ wrong", ["/pa$$(w+rd)[/"]) == "is [redacted] wrong"


@given(st.integers(0, 60), st.sampled_from([" ", "\u5bc6"]))
def test_the_cut_leaves_no_part_of_a_secret(offset: int, before: str) -> None:
    text = ("word " * LONGEST_TEXT)[: LONGEST_TEXT - offset] + before + SECRET + " and more" * 10
    assert SECRET[:6] not in scrub(text, [SECRET])


def test_a_text_without_spaces_is_cut_too() -> None:
    assert scrub("\u5bc6" * 10_000) == "\u5bc6" * LONGEST_TEXT + "..."
    assert scrub("a" * 10_000) == scrub(" " * 10_000) == "..."
    assert len(cut("word " * 10_000, 100)) <= 103


@pytest.mark.parametrize(
    "character", ["\n", "\r", "\x1b", "\u2028", "\u2029", "\x85", "\x00", "\x9b", "\u202e", "\ud800", "\u200b", "\x7f"]
)
def test_nothing_begins_another_line_of_the_log_or_steers_a_terminal(character: str) -> None:
    line = one_line(f"a{character}b")
    assert line.isprintable()
    assert line.isascii()
    assert line.splitlines() == [line]


@given(st.text())
def test_a_line_is_one_line_and_short(text: str) -> None:
    assert one_line(text, 50).isprintable()
    assert len(one_line(text, 50)) <= 53 * 10
