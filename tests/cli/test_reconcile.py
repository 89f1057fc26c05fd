"""`crplugins reconcile`: a real gateway's ledger against exports that a scripted provider makes of its own log."""

import asyncio
import csv
import io
import json
import shlex
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace

import aiohttp
import pytest
import sqlalchemy

from crplugins.core.usage import TokenUsage
from crplugins.homes.gateway.app import Gateway
from crplugins.ledger.database import LedgerDatabase
from crplugins.ledger.ledger import Ledger
from crplugins.ledger.reconcile.compare import CAUSES, EXPLAINED
from crplugins.metering import record
from tests.conftest import CHECKOUT, serving
from tests.ledger.conftest import NOON, make_record, settled
from tests.postgresql_setup import database_url, postgres_url, sqlite_url  # noqa: F401

MIDNIGHT = NOON + 43_200
SECRET = "sk-reconcile-0123456789abcdef"
PRICES = {"input": 2.5e-06, "cached": 2.5e-07, "output": 1e-05}
HELLO = [{"role": "user", "content": "How much was it?"}]


@pytest.fixture(autouse=True)
def blockbuster():
    """Nothing: a command has its event loop to itself, and may block it."""


@dataclass(frozen=True)
class Booked:
    """One request in the provider's log."""

    moment: float
    model: str
    tier: str
    input: int
    cached: int
    output: int

    @property
    def cost(self):
        """In US dollars. Priority costs twice as much."""
        tokens = (self.input - self.cached) * PRICES["input"] + self.cached * PRICES["cached"]
        return (tokens + self.output * PRICES["output"]) * (2 if self.tier == "priority" else 1)


RELEASES = {"gpt-5": "gpt-5-2025-08-07", "gpt-5-mini": "gpt-5-mini-2025-08-07"}


class Provider:
    """An ASGI app that answers under dated names, as its callers' `metadata` tells it to, and logs what it bills."""

    def __init__(self, clock):
        self.log = []
        self._clock = clock

    async def __call__(self, scope, receive, send):
        assert scope["type"] == "http"
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        asked = json.loads(body)
        order = json.loads(asked["metadata"]["order"])
        model = RELEASES.get(asked["model"], asked["model"])
        billed = Booked(self._clock.now + order.get("late", 0), model, order.get("tier", "default"), *order["tokens"])
        self.log.append(billed)
        answer = {
            "id": f"chatcmpl-{len(self.log)}", "object": "chat.completion", "created": 1, "model": model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Nothing at all."}, "finish_reason": "stop"}],
        }  # fmt: skip
        if not order.get("silent"):
            answer["service_tier"] = order.get("told_tier", billed.tier)
            cached = order.get("told_cached", billed.cached)
            answer["usage"] = {
                "prompt_tokens": billed.input, "completion_tokens": billed.output,
                "total_tokens": billed.input + billed.output, "prompt_tokens_details": {"cached_tokens": cached},
            }  # fmt: skip
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


def grouped(log):
    days = defaultdict(list)
    for booked in log:
        days[datetime.fromtimestamp(booked.moment, UTC).date(), booked.model, booked.tier].append(booked)
    return sorted(days.items())


def usage_csv(log):
    """As the dashboard exports it."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(
        ["start_time", "end_time", "start_time_iso", "end_time_iso", "num_model_requests", "model", "batch",
         "service_tier", "input_tokens", "output_tokens", "input_cached_tokens"]
    )  # fmt: skip
    for (day, model, tier), lines in grouped(log):
        start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
        counts = (sum(getattr(line, name) for line in lines) for name in ("input", "output", "cached"))
        writer.writerow(
            [start, start + 86_400, f"{day}T00:00:00+00:00", "", f"{len(lines)}.0", model, "FALSE", tier,
             *(f"{count}.0" for count in counts)]
        )  # fmt: skip
    return out.getvalue()


def costs_json(log):
    """As the costs API answers with `group_by=line_item`."""
    data = []
    for (day, model, tier), lines in grouped(log):
        start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
        items = defaultdict(float)
        for line in lines:
            priority = " priority" if tier == "priority" else ""
            items[f"{model}{priority}, output"] += line.cost
        results = [
            {"object": "organization.costs.result", "amount": {"value": value, "currency": "usd"}, "line_item": name}
            for name, value in items.items()
        ]
        data.append({"object": "bucket", "start_time": start, "end_time": start + 86_400, "results": results})
    return json.dumps({"object": "page", "data": data, "has_more": False})


@pytest.fixture
def command(in_process):
    """Exit code, stdout, stderr of `crplugins reconcile ARGUMENTS` on 2026-06-01 at noon."""
    return partial(in_process, "reconcile")


@pytest.fixture
def traffic(monkeypatch, database_url, tmp_path):  # noqa: F811
    """Sends orders through a real gateway before a provider, each at its moment; returns the provider's log."""
    clock = SimpleNamespace(now=NOON)
    monkeypatch.setattr(record, "time", SimpleNamespace(time=lambda: clock.now))

    async def send(orders, beside):
        provider = Provider(clock)
        async with serving(provider) as upstream, aiohttp.ClientSession() as session:
            gateway = Gateway(
                model_list=[
                    {
                        "model_name": name,
                        "litellm_params": {"model": f"openai/{name}", "api_base": f"{upstream}/v1", "api_key": "sk-up"},
                        "model_info": {
                            "input_cost_per_token": PRICES["input"],
                            "cache_read_input_token_cost": PRICES["cached"],
                            "output_cost_per_token": PRICES["output"],
                        },
                        "handler": "direct",
                    }
                    for name in ("gpt-5", "gpt-5-mini", "my-deployment")
                ],
                keys=[{"id": "team-a", "secret": SECRET}],
                ledger={"url": database_url, "spool": str(tmp_path / "spool")},
            )
            async with serving(gateway) as url:
                for base, secret, some in ((url, SECRET, orders), (upstream, "sk-up", beside)):
                    for order in some:
                        clock.now = order.pop("at", NOON)
                        body = {"model": order.pop("model", "gpt-5"), "messages": order.pop("messages", HELLO)}
                        body["metadata"] = {"order": json.dumps(order)}
                        headers = {"authorization": f"Bearer {secret}"}
                        async with session.post(f"{base}/v1/chat/completions", json=body, headers=headers) as answer:
                            assert answer.status == 200, await answer.text()
        return provider.log

    return lambda orders, beside=(): asyncio.run(send(orders, beside))


def ordinary():
    """Thirty requests of two models on three days."""
    return [
        {
            "model": ("gpt-5", "gpt-5-mini")[n % 2],
            "at": NOON + n % 3 * 86_400,
            "tokens": [1000 + n, 100 * (n % 4), 50 + n],
        }
        for n in range(30)
    ]


def differences(out):
    """`[(day of June, model, tier, cause, amounts that are not 0), ...]`"""
    return [
        (
            int(row["day"][-2:]), row["model"], row["tier"], part.pop("cause"),
            {name: count for name, count in part.items() if count},
        )
        for row in json.loads(out)["rows"]
        for part in row["differences"]
    ]  # fmt: skip


def test_a_ledger_agrees_to_the_token_and_to_the_micro_dollar(command, traffic, database_url, tmp_path):  # noqa: F811
    log = traffic(ordinary())
    (tmp_path / "usage.csv").write_text(usage_csv(log))
    code, out, err = command("usage.csv", "--ledger", database_url, "--json")
    assert (code, err) == (0, "")
    assert differences(out) == []
    found = json.loads(out)
    assert len(found["rows"]) == 6
    assert found["total"]["here"] == found["total"]["there"] == {
        "requests": 30, "input_tokens": sum(b.input for b in log), "cached_input_tokens": sum(b.cached for b in log),
        "output_tokens": sum(b.output for b in log),
    }  # fmt: skip
    (tmp_path / "costs.json").write_text(costs_json(log))
    code, out, err = command("costs.json", "--ledger", database_url, "--json")
    assert (code, err) == (0, "")
    assert {cause for _, _, _, cause, _ in differences(out)} <= {"rounding"}
    total = json.loads(out)["total"]
    assert abs(total["difference"]["cost_micro_usd"]) <= 30 / 2 + 6
    assert abs(total["there"]["cost_micro_usd"] - sum(b.cost for b in log) * 1e6) < 6


def test_each_deviation_of_an_export_is_found_and_no_other(command, traffic, database_url, tmp_path):  # noqa: F811
    late = MIDNIGHT - 1
    log = traffic(
        [
            *ordinary(),
            {"at": late, "late": 2, "tokens": [700, 0, 70]},  # booked on June 2
            {"tokens": [800, 0, 80], "tier": "priority", "told_tier": "default"},
            {"at": NOON + 86_400, "tokens": [900, 600, 90], "told_cached": 200},
            {"at": NOON + 2 * 86_400, "tokens": [20, 0, 5], "silent": True},
        ],
        beside=[{"model": "gpt-5-mini", "at": NOON + 86_400, "tokens": [333, 0, 33]}],  # past the gateway
    )
    lost = next(n for n, booked in enumerate(log) if "mini" in booked.model and booked.moment == NOON)
    away = log.pop(lost)
    (tmp_path / "usage.csv").write_text(usage_csv(log))
    code, out, _ = command("usage.csv", "--ledger", database_url, "--json")
    assert code == 1
    found = differences(out)
    estimated = [part for part in found if part[3] == "estimated"]
    assert [part for part in found if part[3] != "estimated"] == [
        (1, "gpt-5-2025-08-07", "default", "late", {"requests": 1, "input_tokens": 700, "output_tokens": 70}),
        (1, "gpt-5-2025-08-07", "default", "tier", {"requests": 1, "input_tokens": 800, "output_tokens": 80}),
        (1, "gpt-5-2025-08-07", "priority", "tier", {"requests": -1, "input_tokens": -800, "output_tokens": -80}),
        (1, "gpt-5-mini-2025-08-07", "default", "missing_there", {
            "requests": 1, "input_tokens": away.input, "cached_input_tokens": away.cached, "output_tokens": away.output,
        }),
        (2, "gpt-5-2025-08-07", "default", "late", {"requests": -1, "input_tokens": -700, "output_tokens": -70}),
        (2, "gpt-5-2025-08-07", "default", "cache", {"cached_input_tokens": -400}),
        (2, "gpt-5-mini-2025-08-07", "default", "missing_here", {
            "requests": -1, "input_tokens": -333, "output_tokens": -33,
        }),
    ]  # fmt: skip
    assert [part[:3] for part in estimated] == [(3, "gpt-5-2025-08-07", "default")]
    assert json.loads(out)["unexplained_rows"] == 2
    code, _, _ = command("usage.csv", "--ledger", database_url, "--accept", "missing_here", "--accept", "missing_there")
    assert code == 0


def test_costs_show_a_tier_that_was_billed_and_not_told(command, traffic, database_url, tmp_path):  # noqa: F811
    log = traffic([*ordinary(), {"tokens": [80_000, 0, 8_000], "tier": "priority", "told_tier": "default"}])
    (tmp_path / "costs.json").write_text(costs_json(log))
    code, out, _ = command("costs.json", "--ledger", database_url, "--json")
    tiers = {tier: amounts for _, _, tier, cause, amounts in differences(out) if cause == "tier"}
    assert code == 0
    assert abs(tiers["default"]["cost_micro_usd"] - 280_000) <= 10
    assert abs(tiers["priority"]["cost_micro_usd"] + 560_000) <= 10


def test_a_price_that_is_wrong_here_is_unexplained(command, traffic, database_url, tmp_path):  # noqa: F811
    log = traffic(ordinary())
    (tmp_path / "costs.json").write_text(costs_json([replace(booked, output=booked.output + 5) for booked in log]))
    code, out, _ = command("costs.json", "--ledger", database_url, "--json")
    assert code == 1
    assert {cause for _, _, _, cause, _ in differences(out)} == {"unexplained"}
    code, _, _ = command("costs.json", "--ledger", database_url, "--tolerance", "10%")
    assert code == 0


def test_a_name_that_cannot_be_guessed_is_told(command, traffic, database_url, tmp_path):  # noqa: F811
    log = traffic([{"model": "my-deployment", "tokens": [100, 0, 10]} for _ in range(3)])
    text = usage_csv([replace(booked, model="gpt 4o 0806 Inp glbl") for booked in log])
    (tmp_path / "usage.csv").write_text(text)
    code, out, _ = command("usage.csv", "--ledger", database_url)
    assert code == 1
    assert "--model 'my-deployment=gpt 4o 0806 Inp glbl'" in out
    code, out, _ = command("usage.csv", "--ledger", database_url, "--model", "azure/my-deployment=gpt 4o 0806 Inp glbl")
    assert code == 0
    assert "1 of 1 days, models and tiers agree." in out


def test_a_model_that_the_export_does_not_have_is_told(command, traffic, database_url, tmp_path):  # noqa: F811
    log = traffic([{"tokens": [100, 0, 10]}])
    (tmp_path / "usage.csv").write_text(usage_csv(log))
    code, _, err = command("usage.csv", "--ledger", database_url, "--model", "gpt-5=gpt-6")
    assert (code, err) == (1, "note: the export has no model 'gpt-6'\n")


def anthropic_csv(log):
    """As Anthropic's Console exports it: no requests, and the input in three parts."""
    lines = [
        f"{day},{model},gateway,Default,{'standard' if tier == 'default' else tier},\u2264 200k,"
        f"{sum(line.input - line.cached for line in booked)},0,0,{sum(line.cached for line in booked)},"
        f"{sum(line.output for line in booked)},0,global,"
        for (day, model, tier), booked in grouped(log)
    ]
    header = (
        "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,"
        "usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,"
        "usage_output_tokens,web_search_count,inference_geo,speed"
    )
    return "\n".join([header, *lines, ""])


def test_an_export_without_requests_is_compared_by_its_tokens(command, traffic, database_url, tmp_path):  # noqa: F811
    log = traffic([*ordinary(), {"at": MIDNIGHT - 1, "late": 2, "tokens": [700, 50, 70]}])
    (tmp_path / "usage.csv").write_text(anthropic_csv(log))
    code, out, _ = command("usage.csv", "--ledger", database_url, "--provider", "openai", "--json")
    assert code == 0
    late = {"input_tokens": 700, "cached_input_tokens": 50, "output_tokens": 70}
    assert differences(out) == [
        (1, "gpt-5-2025-08-07", "default", "late", late),
        (2, "gpt-5-2025-08-07", "default", "late", {name: -count for name, count in late.items()}),
    ]
    (tmp_path / "usage.csv").write_text(anthropic_csv(log[1:]))
    code, out, _ = command("usage.csv", "--ledger", database_url, "--provider", "openai", "--json")
    assert code == 1
    assert {part[3] for part in differences(out)} == {"late", "missing_there"}


RECORDS = [
    {"usage_source": "provider"},
    {"usage_source": "cache", "cost_micro_usd": 0},  # answered from a cache
    {"usage_source": "none", "outcome": "client_error", "cost_micro_usd": 0},
    {"provider": "anthropic", "usage_source": "provider"},
]
TABLE = "Day,Model,Requests,Tokens_In,Tokens_Out,Cost_USD\n2026-06-01,gpt-4o-mini,1,100,20,0.000123\n"


@pytest.fixture
def ledger(sqlite_url, tmp_path):  # noqa: F811
    """The URL of a ledger with RECORDS in it."""

    async def fill():
        async with Ledger(sqlite_url, spool=tmp_path / "spool") as ledger:
            for fields in RECORDS:
                ledger.add(make_record(**{"provider_model": None, "service_tier": None} | fields))
            await settled(ledger)

    asyncio.run(fill())
    return sqlite_url


def test_what_no_provider_was_asked_for_is_not_held_against_one(command, ledger, tmp_path):
    (tmp_path / "table.csv").write_text(TABLE)
    assert command("table.csv", "--ledger", ledger, "--provider", "openai")[0] == 0
    code, out, _ = command("table.csv", "--ledger", ledger, "--json")
    assert code == 1, "of a table nobody knows the provider: all are compared"
    assert differences(out)[0][3] == "missing_there"


def test_the_configuration_names_the_ledger(command, ledger, tmp_path):
    (tmp_path / "table.csv").write_text(TABLE)
    (tmp_path / "gateway.yaml").write_text(f'ledger: {{url: "{ledger}"}}\n')
    assert command("table.csv", "--provider", "openai")[0] == 0


def test_days_are_given_with_from_and_to(command, ledger, tmp_path):
    (tmp_path / "table.csv").write_text(TABLE + "2026-05-01,gpt-4o-mini,1,100,20,0.000123\n")
    code, out, err = command("table.csv", "--ledger", ledger, "--provider", "openai", "--from", "7d", "--json")
    assert code == 0
    assert err == "note: left out of the export: 1 of other days\n"
    assert (json.loads(out)["first_day"], json.loads(out)["last_day"]) == ("2026-05-25", "2026-06-01")
    code, _, _ = command("table.csv", "--ledger", ledger, "--to", "2026-05-31")
    assert code == 1


def test_a_ledger_of_an_older_release_is_told(command, database_url, tmp_path):  # noqa: F811
    async def make():
        async with Ledger(database_url, spool=tmp_path / "spool"):
            pass
        database = LedgerDatabase(database_url)
        async with database.reading() as connection:
            await connection.execute(sqlalchemy.text("ALTER TABLE usage DROP COLUMN service_tier"))
            await connection.commit()

    asyncio.run(make())
    (tmp_path / "table.csv").write_text(TABLE)
    code, out, err = command("table.csv", "--ledger", database_url)
    assert (code, out) == (1, "")
    assert "are of an older release; a gateway migrates them" in err


def test_a_ledger_without_requests_of_the_provider_is_told(command, ledger, tmp_path):
    (tmp_path / "table.csv").write_text(TABLE)
    code, _, err = command("table.csv", "--ledger", ledger, "--provider", "mistral")
    assert (code, err) == (1, "note: the ledger has no request of mistral on these days\n")


@pytest.mark.parametrize(
    ("arguments", "text", "message"),
    [
        ([], "day,model\n", "export.csv: line 1: no export that is known has the columns day, model"),
        ([], TABLE.replace("100", "ten"), "export.csv: line 2, column tokens_in: must be a number, not 'ten'"),
        ([], TABLE.partition("\n")[0], "export.csv: has no amounts of these days: there is nothing to compare"),
        (["--only", "project=p"], TABLE, "has no amounts of these days: there is nothing to compare (left out of the export: 1 by --only)"),
        (["--column", "tokens_in=Prompt"], TABLE, "export.csv: line 1: no export that is known has the columns"),
        (["--column", "tokns_in=Prompt"], TABLE, "knows no 'tokns_in', did you mean 'tokens_in'?"),
        (["--column", "tokens_in"], TABLE, "must be NAME=NAME, not 'tokens_in'"),
        (["--model", "a=b", "--model", "a=c"], TABLE, "names 'a' twice"),
        (["--from", "2026-06-02", "--to", "2026-06-01"], TABLE, "ends before it begins"),
        (["--from", "soon"], TABLE, "must be a time ago such as 30m, 24h or 7d"),
        (["--tolerance", "lots"], TABLE, "must be a percentage such as 0.1"),
        (["--tolerance", "101"], TABLE, "must be a percentage such as 0.1"),
        (["--decimal", "dot"], TABLE, "must be point or comma"),
        (["--accept", "everything"], TABLE, "knows no 'everything', only late, tier, cache"),
        (["--ledger", "mysql://x"], TABLE, "must be a sqlite:// or postgresql:// URL"),
        (["--ledger", "sqlite:///none.db"], TABLE, "there is no such file"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_or_understood_exits_with_2(command, ledger, tmp_path, arguments, text, message):
    (tmp_path / "export.csv").write_text(text)
    given = arguments if "--ledger" in arguments else [*arguments, "--ledger", ledger]
    code, out, err = command("export.csv", *given)
    assert (code, out) == (2, "")
    assert message in " ".join(err.replace("│", " ").split())


def test_a_file_that_is_not_there_exits_with_2(command, ledger):
    assert command("none.csv", "--ledger", ledger) == (2, "", "none.csv: cannot be read: No such file or directory\n")
    assert command(".", "--ledger", ledger)[0] == 2


PAGE = CHECKOUT / "crplugins" / "ledger" / "README.md"


def block(language):
    """The first such block of the page's section."""
    section = PAGE.read_text().partition("## Does it agree with the provider?")[2]
    return section.partition(f"```{language}\n")[2].partition("```")[0]


def test_the_page_shows_what_the_command_prints(command, sqlite_url, tmp_path):  # noqa: F811
    async def fill():
        async with Ledger(sqlite_url, spool=tmp_path / "spool") as ledger:
            used = {"served_model": "gpt-5", "provider_model": "gpt-5-2025-08-07", "service_tier": "default"}
            moments = [NOON + n % 2 * 86_400 for n in range(12)]
            for moment in moments:
                ledger.add(
                    make_record(**used, started_at=moment, ended_at=moment + 1, usage=TokenUsage(1000, 200, 100))
                )
            ledger.add(make_record(**used, started_at=MIDNIGHT - 1, ended_at=MIDNIGHT + 1, usage=TokenUsage(500, 100)))
            await settled(ledger)

    asyncio.run(fill())
    (tmp_path / "completions_usage.csv").write_text(block("csv"))
    (tmp_path / "gateway.yaml").write_text(f'ledger: {{url: "{sqlite_url}"}}\n')
    words = shlex.split(block("sh"), comments=True)
    assert words[:2] == ["crplugins", "reconcile"]
    code, out, err = command(*words[2:])
    assert (code, err) == (1, "")
    assert "\n".join(line.strip() for line in out.splitlines() if line.strip()) == "\n".join(
        line.strip() for line in block("text").splitlines() if line.strip()
    )


def test_the_page_knows_every_cause():
    section = PAGE.read_text().partition("## Does it agree with the provider?")[2]
    for cause in CAUSES:
        explained = f"| `{cause}` | explained: " in section
        assert f"| `{cause}` |" in section
        assert explained == (cause in EXPLAINED)
