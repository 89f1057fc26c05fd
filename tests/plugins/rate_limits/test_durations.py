"""Durations in Go's form."""

import pytest

from crplugins.plugins.rate_limits.responses import format_duration


@pytest.mark.parametrize(
    ("milliseconds", "formatted"),
    [
        (0, "0s"),
        (2, "2ms"),
        (120, "120ms"),
        (999, "999ms"),
        (1000, "1s"),
        (3890, "3.89s"),
        (18642, "18.642s"),
        (59_999, "59.999s"),
        (60_000, "1m0s"),
        (360_000, "6m0s"),
        (252_172, "4m12.172s"),
        (60_001, "1m0.001s"),
        (86_400_000, "1440m0s"),
    ],
)
def test_as_openai_writes_them(milliseconds: int, formatted: str) -> None:
    assert format_duration(milliseconds) == formatted
