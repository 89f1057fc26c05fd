"""A look at a database that is in use costs nobody anything."""

import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from crplugins.cli.preflight import unusable

COUNT = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); print(c.execute('SELECT count(*) FROM t').fetchone()[0]); c.close()"


def counted_by_another_process(file) -> int:
    done = subprocess.run([sys.executable, "-c", COUNT, file], capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout)


def test_what_is_written_after_a_look_is_there_for_others(tmp_path):
    """As at a reload: the process that looks has the file open. It let go of its locks, and the next process to close the
    file took its write-ahead log away."""
    file = tmp_path / "usage.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (x)")
        connection.execute("INSERT INTO t VALUES (1)")
        assert unusable(file) is None
        assert counted_by_another_process(file) == 1
        connection.execute("INSERT INTO t VALUES (2)")
        assert counted_by_another_process(file) == 2


@pytest.mark.parametrize("content", [b"", b"no database at all, and long enough to be read as a header of one" * 9])
def test_an_empty_file_may_become_a_database_and_another_may_not(tmp_path, content):
    file = tmp_path / "usage.db"
    file.write_bytes(content)
    assert unusable(file) == ("it is no database of SQLite" if content else None)
    assert file.read_bytes() == content
    assert [*tmp_path.iterdir()] == [file]


def test_a_symlink_is_followed_to_the_file_that_sqlite_would_make(tmp_path):
    link = tmp_path / "link.db"
    link.symlink_to(tmp_path / "none" / "ledger.db")
    assert unusable(link) == "No such file or directory"
    (tmp_path / "none").mkdir()
    assert unusable(link) is None


def test_a_symlink_to_itself_is_no_database(tmp_path):
    loop = tmp_path / "loop.db"
    loop.symlink_to(loop)
    assert unusable(loop) == "Too many levels of symbolic links"
    assert unusable(loop, folder_is_made=True) == "Too many levels of symbolic links"
