from crplugins.core.bounded_map import BoundedMap


def test_the_entry_that_was_set_longest_ago_is_dropped_first() -> None:
    kept = BoundedMap[str, int](2)
    kept["a"], kept["b"] = 1, 2
    kept["a"] = 3
    kept["c"] = 4
    assert dict(kept) == {"a": 3, "c": 4}


def test_reading_an_entry_does_not_renew_it() -> None:
    kept = BoundedMap[str, int](2)
    kept["a"], kept["b"] = 1, 2
    assert kept["a"] == 1
    kept["c"] = 3
    assert "a" not in kept
