"""`crplugins usage`: what was used, as the command shows it."""

import asyncio
import csv
import io
import json
import sqlite3
from contextlib import closing
from functools import partial

import pytest

from crplugins.core.usage import TokenUsage
from crplugins.ledger import waiting
from crplugins.ledger.encoding import encode
from crplugins.ledger.ledger import Ledger
from crplugins.ledger.spool import SpoolFile
from tests.ledger.conftest import NOON, make_record, settled
from tests.postgresql_setup import database_url, postgres_url, sqlite_url  # noqa: F401

RECORDS = [
    {
        "key_id": "team-a",
        "requested_model": "fast",
        "usage": TokenUsage(1_000_000, 2000, 300, 0, 50),
        "cost_micro_usd": 1_234_567,
    },
    {"key_id": "team-a", "requested_model": "fast", "usage": TokenUsage(1, 2), "cost_micro_usd": None},
    {
        "key_id": "team-a",
        "requested_model": "big",
        "usage": TokenUsage(10, 20),
        "cost_micro_usd": None,
        "usage_source": "estimated",
    },
    {
        "key_id": "team-b",
        "requested_model": "fast",
        "usage": TokenUsage(10, 20),
        "cost_micro_usd": 1500,
        "team": "other",
    },
    {"key_id": "team-b", "requested_model": "old", "started_at": NOON - 30 * 86_400, "cost_micro_usd": 0},
    {
        "key_id": None,
        "requested_model": None,
        "outcome": "client_error",
        "error_type": "invalid_request",
        "usage": TokenUsage(),
        "cost_micro_usd": 0,
    },
]


@pytest.fixture(autouse=True)
def blockbuster():
    """Nothing: a command has its event loop to itself, and may block it."""


@pytest.fixture
def command(in_process):
    """Exit code, stdout, stderr of `crplugins usage ARGUMENTS` on 2026-06-01 at noon."""
    return partial(in_process, "usage")


@pytest.fixture
def ledger(database_url, tmp_path):  # noqa: F811
    """The URL of a ledger with RECORDS in it."""
    fill(database_url, tmp_path)
    return database_url


def fill(url, folder):
    async def work():
        async with Ledger(url, spool=folder / "spool") as ledger:
            for record in RECORDS:
                ledger.add(make_record(**{"started_at": NOON - 60, "team": None} | record))
            await settled(ledger)

    asyncio.run(work())


def test_json_is_alone_on_stdout_and_grouped_by_key_and_model(command, ledger):
    code, out, err = command("--ledger", ledger, "--json", "--since", "7d")
    assert (code, err) == (0, "")
    lines = json.loads(out)
    assert lines[0] == {
        "key_id": "team-a", "requested_model": "fast", "requests": 2, "errors": 0,
        "input_tokens": 1_000_001, "output_tokens": 2002, "cached_input_tokens": 300, "cache_write_input_tokens": 0,
        "reasoning_output_tokens": 50, "cost_usd": 1.234567, "unpriced_requests": 1, "estimated_requests": 0,
        "provider_cost_usd": 0.000242,
    }  # fmt: skip
    assert [(line["key_id"], line["requested_model"], line["requests"], line["cost_usd"]) for line in lines[1:]] == [
        ("team-b", "fast", 1, 0.0015), (None, None, 1, 0.0), ("team-a", "big", 1, None),
    ]  # fmt: skip


def test_what_is_not_grouped_by_is_left_out(command, ledger):
    _, out, _ = command("--ledger", ledger, "--json", "--by", "key")
    assert [line.get("key_id", "") for line in json.loads(out)] == ["team-a", "team-b", None]
    assert all("requested_model" not in line for line in json.loads(out))


def test_only_one_key_team_model_and_time(command, ledger):
    def requests(*arguments):
        code, out, _err = command("--ledger", ledger, "--json", "--by", "", *arguments)
        assert code == 0
        return json.loads(out)[0]["requests"]

    assert requests() == 6
    assert requests("--key", "team-a") == 3
    assert requests("--team", "other") == 1
    assert requests("--model", "fast") == 3
    assert requests("--model", "fast", "--key", "team-b") == 1
    assert requests("--since", "30m") == 5
    assert requests("--until", "2026-06-01") == 1
    assert requests("--since", "2026-06-01", "--until", "1m") == 0


def test_the_table_has_a_row_of_totals_and_never_shows_an_unknown_cost_as_nothing(command, ledger):
    code, out, _ = command("--ledger", ledger)
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert code == 0
    assert "$1.23 + 1 unpriced" in out
    assert "1,000,001" in out
    assert "$0.0015" in rows["team-b"] or "$0.0015" in out
    assert rows["total"].split()[1:3] == ["6", "1"]
    assert rows["total"].rstrip().endswith("$1.24 + 2 unpriced")
    assert "1 of these requests have estimated token counts" in out
    big = next(line for line in out.splitlines() if " big " in line)
    assert big.rstrip().endswith(" 1 unpriced")
    assert "$" not in big


def test_csv_has_a_line_of_names(command, ledger):
    code, out, err = command("--ledger", ledger, "--csv", "--by", "day,key")
    assert (code, err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["day"], row["key_id"], row["requests"]) for row in rows] == [
        ("2026-05-02", "team-b", "1"), ("2026-06-01", "team-a", "3"), ("2026-06-01", "team-b", "1"), ("2026-06-01", "", "1"),
    ]  # fmt: skip


def test_names_a_client_chose_cannot_get_at_the_terminal(command, sqlite_url, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setitem(RECORDS[0], "requested_model", "\x1b]0;owned\x07[bold]")
    fill(sqlite_url, tmp_path)
    _, out, _ = command("--ledger", sqlite_url)
    assert r"\x1b]0;owned\x07[bold]" in out
    assert "\x1b]" not in out


def test_the_configuration_names_the_ledger(command, sqlite_url, tmp_path):  # noqa: F811
    fill(sqlite_url, tmp_path)
    (tmp_path / "gateway.yaml").write_text(f"ledger: {{url: '{sqlite_url}'}}\n")
    code, out, _ = command("--json", "--by", "")
    assert (code, json.loads(out)[0]["requests"]) == (0, 6)


def test_an_empty_time_is_said(command, ledger):
    code, out, err = command("--ledger", ledger, "--json", "--since", "10s")
    assert (code, json.loads(out), err) == (0, [], "no request was recorded in this time\n")


def test_records_that_wait_on_disk_are_counted(command, sqlite_url, tmp_path):  # noqa: F811
    fill(sqlite_url, tmp_path)
    with closing(SpoolFile(tmp_path / "gw.db.spool")) as file:
        file.keep([encode(make_record()) for _ in range(3)])
    code, out, err = command("--ledger", sqlite_url, "--json", "--by", "")
    assert (code, json.loads(out)[0]["requests"], err) == (0, 9, "")


def test_records_that_are_too_many_to_be_counted_are_told(command, sqlite_url, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(waiting, "MOST", 2)
    fill(sqlite_url, tmp_path)
    with closing(SpoolFile(tmp_path / "gw.db.spool")) as file:
        file.keep([encode(make_record()) for _ in range(3)])
    code, out, err = command("--ledger", sqlite_url, "--json", "--by", "")
    assert (code, json.loads(out)[0]["requests"]) == (0, 8)
    assert err == f"note: 1 more records wait in {tmp_path / 'gw.db.spool'}; a gateway commits them when it runs\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--ledger", "sqlite:///nope.db"], "nope.db: there is no such file"),
        (["--ledger", "mysql://u:hunter2@h/d"], "must be a sqlite:// or postgresql:// URL"),
        (["--ledger", "sqlite:///nope.db", "--since", "yesterday"], "must be a time ago such as"),
        (["--ledger", "sqlite:///nope.db", "--since", "1d", "--until", "2d"], "ends before it begins"),
        (["--ledger", "sqlite:///nope.db", "--by", "keys"], "knows no 'keys'"),
        (["--ledger", "sqlite:///nope.db", "--json", "--csv"], "one of the two"),
        ([], "there is no configuration; name one with --ledger"),
    ],
)
def test_a_wrong_command_ends_with_2_and_a_sentence(command, tmp_path, arguments, said):
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert "hunter2" not in err
    assert not (tmp_path / "nope.db").exists()


def test_a_configuration_without_a_ledger_ends_with_2(command, tmp_path):
    (tmp_path / "gateway.yaml").write_text("ledger: null\n")
    code, _, err = command()
    assert code == 2
    assert "gateway.yaml: it keeps no ledger; name one with --ledger" in err


def test_a_file_that_is_not_a_database_and_a_server_that_is_unavailable_end_with_1(command, tmp_path):
    sqlite3.connect(tmp_path / "empty.db").close()
    assert command("--ledger", "sqlite:///empty.db")[0] == 1
    (tmp_path / "text.db").write_text("no database " * 100)
    code, _, err = command("--ledger", "sqlite:///text.db")
    assert (code, "cannot be read" in err) == (1, True)
    code, _, err = command("--ledger", "postgresql://u:hunter2@127.0.0.1:1/db")
    assert (code, "unavailable" in err, "hunter2" in err) == (1, True, False)


def test_a_servers_database_without_records_has_used_nothing_and_says_why(command, postgres_url):  # noqa: F811
    code, out, err = command("--ledger", postgres_url, "--json")
    assert (code, json.loads(out)) == (0, [])
    assert "this database has no records; a gateway creates their tables when it starts" in err
    code, out, _ = command("--ledger", postgres_url, "--by", "", "--json")
    assert (code, json.loads(out)[0]["requests"]) == (0, 0)
