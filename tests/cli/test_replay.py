"""`crplugins replay`: what another file would have refused, as the command shows it."""

import asyncio
import json
from datetime import timedelta
from functools import partial

import pytest

from crplugins.ledger.ledger import Ledger
from tests.keys.conftest import NOW
from tests.ledger.conftest import make_record, settled

FILE = """
model_list:
- model_name: fast
  litellm_params: {model: openai/gpt-x, api_key: sk-upstream, api_base: http://127.0.0.1:9/v1}
  model_info: {input_cost_per_token: 1.0e-6, output_cost_per_token: 2.0e-6}
keys:
- id: team-a
  secret: sk-team-a-0123456789
  limits: {requests_per_minute: 2}
ledger: {url: "sqlite:///usage.db", commit_seconds: 0}
"""


@pytest.fixture(autouse=True)
def blockbuster():
    """Nothing: a command has its event loop to itself, and may block it."""


@pytest.fixture
def command(in_process, tmp_path):
    """Exit code, stdout, stderr of `crplugins replay ARGUMENTS` with the file new.yaml."""
    (tmp_path / "new.yaml").write_text(FILE)
    return partial(in_process, "replay", "--config", "new.yaml")


@pytest.fixture
def five_requests(command):
    async def fill():
        async with Ledger("sqlite:///usage.db", commit_seconds=0) as ledger:
            for second in range(5):
                began = (NOW - timedelta(days=2)).timestamp() + second
                ledger.add(make_record(request_id=f"r-{second}", started_at=began, ended_at=began + 0.5))
            await settled(ledger)

    asyncio.run(fill())


def test_it_says_who_would_be_refused_when_for_what_and_what_it_had_cost(command, five_requests):
    code, out, _ = command("--since", "7d", "--json")
    assert code == 0
    report = json.loads(out)
    assert (report["requests"], report["newly_refused"], report["newly_admitted"]) == (5, 3, 0)
    assert report["replayed"]["refused"] == {"rate_limited": 3}
    (line,) = report["refusals"]
    assert (line["key_id"], line["model"], line["limit"]) == ("team-a", "fast", "key requests_per_minute")
    assert line["cost_usd_today"] == pytest.approx(3 * 123e-6)
    assert report["not_known"] == []
    code, out, _ = command()
    assert code == 0
    assert "5 requests from 2" in out
    assert "3 would be refused that were not, 0 would not be that were" in out
    assert "key requests_per_minute" in out


def test_beside_an_identity_provider_the_keys_of_lists_have_their_own_limits(command, five_requests, tmp_path):
    listed = "{id: team-a, secret: sk-team-a-0123456789, limits: {requests_per_minute: 2}}"
    jwt = "{issuer: i, audience: a, jwks: 'https://login.example.com/jwks.json'}"

    def replayed(*keys):
        file = f"{FILE.partition('keys:')[0]}keys: [{', '.join(keys)}]\nledger: {{url: 'sqlite:///usage.db'}}\n"
        (tmp_path / "new.yaml").write_text(file)
        report = json.loads(command("--json")[1])
        return report["newly_refused"], report["not_known"]

    unlisted = "keys that are not in this configuration's lists are let through, with the limits of all"
    assert replayed(f"{{keys: [{listed}]}}", f"{{jwt: {jwt}}}") == (3, [unlisted])
    other = listed.replace("team-a", "team-b")
    assert replayed(f"{{keys: [{other}]}}", f"{{jwt: {jwt}}}") == (0, [unlisted])
    assert replayed(other) == (5, [])


def test_each_request_that_is_refused_can_be_had(command, five_requests, tmp_path):
    code, _, _ = command("--each", "refused.jsonl", "--json")
    lines = [json.loads(line) for line in (tmp_path / "refused.jsonl").read_text().splitlines()]
    assert code == 0
    assert [line["request_id"] for line in lines] == ["r-2", "r-3", "r-4"]
    assert {(line["was"], line["would_be"]) for line in lines} == {("", "rate_limited")}


def test_what_is_not_known_is_said(command, five_requests, tmp_path):
    file = FILE.replace(
        "keys:", "limits: {per_session: {requests: 3}, per_client_address: {requests_per_minute: 1}}\nkeys:"
    )
    (tmp_path / "new.yaml").write_text(file)
    _, out, _ = command("--json")
    said = " ".join(json.loads(out)["not_known"])
    assert "limits.per_session is not replayed" in said
    assert "limits.per_client_address is not replayed" in said


def test_all_requests_may_be_asked_for_by_the_first_day_of_the_calendar(command, five_requests):
    code, out, _ = command("--since", "0001-01-01")
    assert code == 0
    assert out.startswith("5 requests from ")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--since", "soon"], 2, "must be a time ago"),
        (["--since", "1d", "--until", "2d"], 2, "ends before it begins"),
        (["--ledger", "sqlite:///nowhere.db"], 2, "there is no such file"),
    ],
)
def test_mistakes_are_sentences(command, arguments, code, message):
    ended, _, err = command(*arguments)
    assert ended == code
    assert message in " ".join(err.replace("│", " ").split())
