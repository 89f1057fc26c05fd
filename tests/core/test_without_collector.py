"""Work that makes many objects is kept from the collector."""

from crplugins.core import without_collector as module


def test_what_is_frozen_is_counted_once_however_often_work_is_kept_from_the_collector(monkeypatch):
    counts = []
    monkeypatch.setattr(module, "_found_frozen", False)
    monkeypatch.setattr(module.gc, "get_freeze_count", lambda: counts.append(1) or 1_000_000)
    for _ in range(3):
        with module.without_collector():
            pass
    assert len(counts) == 1
