"""Hours in which a provider charges less."""

from datetime import UTC, datetime
from typing import Any

import pytest

from crplugins.core.off_peak import OffPeak, read_off_peak

WEEK: dict[str, Any] = {
    "windows": [
        {"hours_utc": ["00:00-01:00", "22:30-02:15"], "weekdays": [1, 2, 3, 4, 5]},
        {"hours_utc": "00:00-00:00", "weekdays": [6, 7]},
    ]
}


def holds(off_peak: OffPeak | None, text: str) -> bool:
    assert off_peak is not None
    return off_peak.holds_at(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("moment", "cheap"),
    [
        ("2027-03-01T00:59", True),  # a Monday
        ("2027-03-01T02:14", True),
        ("2027-03-01T02:15", False),
        ("2027-03-01T22:29", False),
        ("2027-03-01T22:30", True),
        ("2027-03-06T12:00", True),  # a Saturday
        ("2027-03-07T23:59", True),
    ],
)
def test_windows_have_weekdays_and_may_pass_midnight(moment, cheap):
    assert holds(read_off_peak(WEEK), moment) is cheap


def test_hours_without_weekdays_are_those_of_every_day():
    off_peak = read_off_peak({"hours_utc": "16:30-00:30"})
    assert [holds(off_peak, f"2027-03-06T{time}") for time in ("16:29", "16:30", "00:29", "00:30")] == [
        False, True, True, False,
    ]  # fmt: skip


def test_a_weekday_may_begin_in_another_zone():
    off_peak = read_off_peak({**WEEK, "weekday_timezone": "Asia/Shanghai"})
    assert holds(off_peak, "2027-03-05T16:30")  # a Friday in UTC, and Saturday there
    assert not holds(read_off_peak(WEEK), "2027-03-05T16:30")


@pytest.mark.parametrize(
    "block",
    [
        {},
        {"hours_utc": "noon"},
        {"hours_utc": 5, "windows": [7]},
        {"windows": [{"hours_utc": "01:00-02:00", "weekdays": "monday"}]},
    ],
)
def test_what_is_no_window_is_none(block):
    assert read_off_peak(block) is None


def test_a_zone_that_is_not_known_is_utc():
    off_peak = read_off_peak({**WEEK, "weekday_timezone": "Middle/Earth"})
    assert off_peak is not None
    assert off_peak.zone == "UTC"
