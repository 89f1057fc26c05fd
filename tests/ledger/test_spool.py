"""Lines that wait on disk."""

import errno
import os
import sqlite3
from contextlib import ExitStack, closing

import pytest

from crplugins.ledger.spool import Spool, SpoolFile, SpoolUnusable


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spool"


@pytest.fixture
def opened():
    """Opens files that are closed when the test is over."""
    with ExitStack() as files:
        yield lambda path: files.enter_context(closing(SpoolFile(path)))


def test_lines_come_back_oldest_first_also_to_another_process(path, opened):
    assert opened(path).keep([b"a", b"b", b"c"]) == 3
    again = opened(path)
    rows = again.oldest(2)
    assert [line for _, line in rows] == [b"a", b"b"]
    assert again.delete([row_id for row_id, _ in rows]) == 1
    assert [line for _, line in opened(path).oldest(9)] == [b"c"]


def test_without_lines_there_is_no_file(path, opened):
    spool = opened(path)
    assert (spool.count(), spool.oldest(5), path.exists()) == (0, [], False)


def test_forgetting_twice_changes_nothing(path, opened):
    first, second = opened(path), opened(path)
    first.keep([b"a", b"b"])
    ids = [row_id for row_id, _ in first.oldest(1)]
    assert [first.delete(ids), second.delete(ids)] == [1, 1]


def test_a_refused_line_is_kept_for_a_person_to_see(path, opened):
    opened(path).quarantine(b"{}", "no request_id")
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT reason, line FROM refused").fetchall() == [("no request_id", "{}")]
    connection.close()


def test_a_failure_leaves_nothing_half_done(path, opened):
    spool = opened(path)
    spool.keep([b"a"])
    with pytest.raises(Exception, match="codec"):
        spool.keep([b"b", b"\xff"])
    assert spool.keep([b"c"]) == 2


def test_a_file_that_is_no_database_is_not_written_over(path, opened):
    path.write_text("something else " * 100)
    with pytest.raises(sqlite3.DatabaseError):
        opened(path).keep([b"a"])
    assert path.read_text().startswith("something else")


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + bytes(range(256)) * 40])
async def test_a_start_with_a_damaged_spool_names_its_file(path, content):
    path.write_bytes(content)
    with pytest.raises(SpoolUnusable) as unusable:
        await Spool(path).open()
    assert str(unusable.value) == (
        f"the spool {path} is damaged or no spool: move it away with its -wal and -shm, and a new one is created"
    )
    assert path.read_bytes() == content
    assert not [*path.parent.glob("*.journal")]


async def test_a_start_on_a_full_disk_or_without_a_folder_names_the_file(path, monkeypatch):
    path.write_bytes(b"")
    with pytest.raises(SpoolUnusable, match=f"beside {path}/below: (File exists|Not a directory)"):
        await Spool(path / "below").open()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(
        SpoolUnusable, match=f"journal of usage records cannot be created beside {path}: No space left on device"
    ):
        await Spool(path).open()
