"""`crplugins usage export`: a file for each day, whole or not there."""

import asyncio
import csv
import json
from datetime import UTC, datetime, timedelta
from functools import partial

import duckdb
import pytest

from crplugins.core.usage import TokenUsage
from crplugins.ledger import export
from crplugins.ledger.database import LedgerDatabase
from crplugins.ledger.encoding import encode
from crplugins.ledger.rows import EVERY_COLUMN
from tests.keys.conftest import NOW
from tests.ledger.conftest import make_record
from tests.postgresql_setup import database_url, postgres_url, sqlite_url  # noqa: F401

MIDNIGHT = datetime.combine(NOW.date(), datetime.min.time(), UTC)


@pytest.fixture(autouse=True)
def blockbuster():
    """Nothing: a command has its event loop to itself, and may block it."""


@pytest.fixture
def command(in_process, database_url):  # noqa: F811
    asyncio.run(_fill(database_url))
    return partial(in_process, "usage", "export", "--ledger", database_url, "--dir", "out")


async def _fill(url):
    """Four requests of three days ago, two with the same microsecond; one of yesterday; one of today."""
    database = LedgerDatabase(url)
    old = (MIDNIGHT - timedelta(days=3)).timestamp()
    records = [
        make_record(request_id="r-1", started_at=old, ended_at=old + 1),
        make_record(request_id="r-3", started_at=old + 0.5, ended_at=old + 1, key_id=None, cost_micro_usd=None),
        make_record(request_id="r-2", started_at=old + 0.5, ended_at=old + 1, user='a "quoted", text\nof two lines'),
        make_record(request_id="r-4", started_at=old + 86_399.9, ended_at=old + 86_401, usage=TokenUsage(7)),
        make_record(request_id="r-5", started_at=old + 2 * 86_400, ended_at=old + 2 * 86_400),
        make_record(request_id="r-6", started_at=old + 3 * 86_400, ended_at=old + 3 * 86_400),
    ]
    await database.insert([encode(record) for record in records])
    await database.close()


def names_of(folder):
    return sorted(file.name for file in folder.iterdir())


def test_each_day_is_a_file_with_every_column(command, tmp_path):
    code, out, _ = command()
    days = [(MIDNIGHT - timedelta(days=days)).date().isoformat() for days in (3, 2, 1)]
    assert code == 0
    assert names_of(tmp_path / "out") == [f"usage-{day}.csv" for day in days]
    assert [line.split()[1] for line in out.splitlines()] == ["4", "0", "1"]
    with (tmp_path / "out" / f"usage-{days[0]}.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == list(EVERY_COLUMN)
    assert [line["request_id"] for line in lines] == ["r-1", "r-2", "r-3", "r-4"]
    assert lines[0]["started_at"] == f"{days[0]}T00:00:00.000000Z"
    assert lines[1]["user"] == 'a "quoted", text\nof two lines'
    assert (lines[2]["key_id"], lines[2]["cost_micro_usd"], lines[2]["stream"]) == ("", "", "True")
    assert json.loads(lines[3]["tags"]) == {"env": "prod"}


def test_parquet_has_types_and_nulls(command, tmp_path):
    code, _, err = command("--format", "parquet")
    assert code == 0, err
    day = (MIDNIGHT - timedelta(days=3)).date().isoformat()
    with duckdb.connect() as reading:
        reading.execute("SET TimeZone = 'UTC'")
        rows = reading.execute(
            "SELECT request_id, started_at, key_id, cost_micro_usd, stream, ttft_ms, error_type, input_tokens, tags "
            f"FROM '{tmp_path}/out/usage-{day}.parquet' ORDER BY 1"
        ).fetchall()
        (total,) = reading.execute(f"SELECT count(*) FROM '{tmp_path}/out/*.parquet'").fetchone()
    assert total == 5
    assert rows[0][1] == MIDNIGHT - timedelta(days=3)
    assert rows[0][2:8] == ("team-a", 123, True, 250.5, "", 100)
    assert rows[2][2:4] == (None, None)
    assert json.loads(rows[0][8]) == {"env": "prod"}
    assert not [name for name in names_of(tmp_path / "out") if not name.endswith(".parquet")]


def test_it_goes_on_where_it_was_interrupted_and_leaves_no_half_file(command, tmp_path, monkeypatch):
    real = export.CsvFile.write
    written = []

    def fails_on_the_last_day(self, rows):
        written.append(rows)
        if rows[0][1] == "r-5":
            raise OSError(28, "No space left on device")
        real(self, rows)

    monkeypatch.setattr(export.CsvFile, "write", fails_on_the_last_day)
    code, _, err = command()
    assert code == 1
    assert err.endswith(".csv cannot be written: No space left on device\n")
    assert len(names_of(tmp_path / "out")) == 2
    monkeypatch.setattr(export.CsvFile, "write", real)
    code, out, err = command()
    assert code == 0
    assert len(out.splitlines()) == 1
    assert "2 files were there already" in err
    assert len(names_of(tmp_path / "out")) == 3


def test_a_day_that_is_not_over_is_left_out(command, tmp_path):
    code, out, err = command("--since", "1d", "--until", "2100-01-01")
    assert code == 0
    assert len(out.splitlines()) == 1
    assert "is not over" in err


def test_before_the_first_request_there_is_no_day(command, tmp_path):
    """Since the first day of the calendar there would be 700,000 files."""
    code, out, _ = command("--since", "0001-01-01")
    assert (code, len(out.splitlines()), len(names_of(tmp_path / "out"))) == (0, 3, 3)


def test_a_folder_that_cannot_be_made_is_told_by_its_name(command, tmp_path):
    (tmp_path / "out").write_text("a file")
    code, out, err = command()
    assert (code, out) == (1, "")
    assert err.startswith("out/usage-") or "/out/usage-" in err
    assert err.endswith(" cannot be written: File exists\n")


def test_mistakes_are_sentences(command, monkeypatch):
    assert command("--format", "xlsx")[0] == 2
    monkeypatch.setitem(__import__("sys").modules, "duckdb", None)
    code, _, err = command("--format", "parquet")
    assert (code, "pip install 'crplugins[parquet]'" in err) == (2, True)
