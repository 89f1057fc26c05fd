import pytest

from crplugins.testing import FrozenClock


def test_time_stands_still_until_it_is_advanced() -> None:
    clock = FrozenClock(time=100.0, monotonic=5.0)
    assert (clock(), clock.monotonic(), clock.time()) == (5.0, 5.0, 100.0)
    assert clock.advance(2.5) == 7.5
    assert (clock(), clock.time(), clock.time_ns()) == (7.5, 102.5, 102_500_000_000)


def test_the_wall_clock_can_be_stepped_back_alone() -> None:
    clock = FrozenClock(time=100.0, monotonic=5.0)
    clock.set_time(40.0)
    assert (clock.time(), clock.monotonic()) == (40.0, 5.0)


def test_monotonic_time_never_goes_back() -> None:
    with pytest.raises(ValueError, match="cannot be advanced"):
        FrozenClock().advance(-1)
