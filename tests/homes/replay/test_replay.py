"""What was refused is refused again by the same file, and by another what that file refuses."""

import asyncio
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from crplugins.core.usage import TokenUsage
from crplugins.homes.gateway.app import Gateway
from crplugins.ledger.ledger import Ledger
from tests.homes.replay.conftest import drive, refusing, replayed
from tests.ledger.conftest import NOON, make_record, settled
from tests.long import times

END = datetime.fromtimestamp(NOON + 3600, UTC)
M = {"model_name": "m", "litellm_params": {"model": "openai/m", "api_key": "sk"}}
PRICED = {**M, "model_info": {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}}
UNKNOWN = "asked_ms queued_ms admitted_ms settled_ms expected_input_tokens output_limit choices".split()
KEY = {"id": "team-a", "secret": "sk-team-a-0123456789"}


@pytest.mark.parametrize("seed", range(times(1, 20)))
async def test_todays_file_refuses_exactly_the_requests_that_were_refused(provider, serve, sqlite_url, seed):
    words = refusing(provider, sqlite_url)
    async with serve(Gateway(**words)) as url:
        await drive(url, 25, seed)
    report, _, fates = await replayed(words, sqlite_url)
    assert differing(fates) == []
    assert report["today"] == report["replayed"]
    assert report["requests"] == 250
    assert set(report["today"]["refused"]) == {"rate_limited", "token_limited", "budget_exceeded", "unknown_model"}
    limits = {line["limit"] for line in report["refusals"]}
    assert limits >= {
        "key requests_per_minute", "key tokens_per_minute", "key budget per day", "key max_parallel_requests",
        "team requests_per_minute", "model_not_found",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("queue", "refused"),
    [({"seconds": 30, "length": 3}, 2), ({"seconds": 0.05, "length": 10}, 5)],
    ids=["full", "late"],
)
async def test_what_waits_is_answered_or_refused_as_it_was(provider, serve, sqlite_url, queue, refused):
    """Six requests of 0.2 s at once, of which one may run: some wait in vain, because of their number or their time."""
    words = refusing(provider, sqlite_url)
    limits = {"max_parallel_requests": 1, "queue": queue}
    words["keys"] = [{"id": "waits", "secret": "sk-1", "limits": limits}]
    async with serve(Gateway(**words)) as url, asyncio.TaskGroup() as clients:
        for _ in range(6):
            clients.create_task(ask_slowly(url))
    report, _, fates = await replayed(words, sqlite_url)
    assert report["today"]["refused"] == {"rate_limited": refused}
    assert differing(fates) == []
    words["keys"] = [{**words["keys"][0], "limits": {**limits, "queue": {"seconds": 60, "length": 50}}}]
    report, _, _ = await replayed(words, sqlite_url)
    assert report["newly_admitted"] == refused


async def ask_slowly(url):
    body = {"model": "slow", "messages": [{"role": "user", "content": "x"}], "stream": True}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/v1/chat/completions", json=body, headers={"authorization": "Bearer sk-1"}) as response,
    ):
        await response.read()


def differing(fates):
    """The requests of which a replay has decided otherwise."""
    return [(fate.past, fate.refused, fate.limit) for fate in fates.values() if fate.refused != fate.past.refused]


async def drive_slow(url, number):
    import aiohttp

    async with aiohttp.ClientSession() as session:
        body = {"model": "slow", "messages": [{"role": "user", "content": "x"}], "stream": True, "max_tokens": 50}

        async def ask():
            async with session.post(
                f"{url}/v1/chat/completions", json=body, headers={"authorization": "Bearer sk-1"}
            ) as response:
                await response.read()

        await asyncio.gather(*(ask() for _ in range(number)))


@pytest.fixture
def fill(database_url):
    """Puts records into the ledger: of the key team-a for the model m, unless they say otherwise."""

    async def fill(*records):
        async with Ledger(database_url, commit_seconds=0) as ledger:
            for record in records:
                defaults = {
                    "requested_model": "m",
                    "served_model": "m",
                    "provider_cost_micro_usd": None,
                    "service_tier": None,
                    **dict.fromkeys(
                        ("asked_ms", "admitted_ms", "settled_ms", "expected_input_tokens", "output_limit", "choices")
                    ),
                }
                ledger.add(make_record(**defaults | record))
            await settled(ledger)
        return database_url

    return fill


def every(seconds, number, **fields):
    """So many requests, each a second long."""
    for index in range(number):
        started = NOON + index * seconds
        yield {"request_id": f"r-{index:03}", "started_at": started, "ended_at": started + 1, **fields}


async def test_a_stricter_limit_refuses_whoever_is_over_it_and_says_when(fill):
    url = await fill(*every(1, 20))
    limits = {"requests_per_minute": 6, "burst": {"requests_per_minute": 3}}
    report, _, fates = await replayed({"model_list": [M], "keys": [{**KEY, "limits": limits}]}, url, until=END)
    admitted = [name for name, fate in sorted(fates.items()) if not fate.refused]
    assert admitted == ["r-000", "r-001", "r-002", "r-010"]  # the burst, and one more every ten seconds
    assert report["newly_refused"] == 16
    (line,) = report["refusals"]
    assert (line["key_id"], line["limit"], line["newly"]) == ("team-a", "key requests_per_minute", 16)
    assert (line["first"], line["last"]) == ("2026-06-01T12:00:03.000Z", "2026-06-01T12:00:19.000Z")
    assert line["cost_usd_today"] == pytest.approx(16 * 123e-6)


async def test_prices_and_budgets_are_those_of_the_file(fill):
    """The first hundred tokens cost 140 micro-USD each, and a budget of 700 is spent by five of them."""
    url = await fill(*every(10, 8, asked_ms=1.0, expected_input_tokens=100, output_limit=20, choices=1))
    words = {"model_list": [PRICED], "keys": [{**KEY, "budget": {"usd": 0.0007, "period": "day"}}]}
    report, _, _ = await replayed(words, url, until=END)
    assert report["today"]["cost_usd"] == pytest.approx(8 * 123e-6)
    assert report["replayed"]["cost_usd"] == pytest.approx(5 * 140e-6)
    assert report["replayed"]["refused"] == {"budget_exceeded": 3}


async def test_a_budget_begins_with_what_was_spent_before(fill):
    """Of 1,000 micro-USD a month 900 were spent on the first of May, when no request was replayed."""
    long_ago = {"request_id": "old", "started_at": NOON - 28 * 86_400, "ended_at": NOON - 28 * 86_400 + 1}
    url = await fill(
        {**long_ago, "cost_micro_usd": 900}, *every(10, 3, started_at=NOON - 86_400, ended_at=NOON - 86_399)
    )
    words = {"model_list": [PRICED], "keys": [{**KEY, "budget": {"usd": 0.001, "period": "month"}}]}
    report, _, _ = await replayed(words, url, since=END - timedelta(days=2), until=END)
    assert report["replayed"]["refused"] == {"budget_exceeded": 3}


@pytest.mark.parametrize(
    ("words", "refused", "limit"),
    [
        pytest.param({"keys": [{"id": "other", "secret": "sk-other"}]}, "unauthenticated", "no such key", id="gone"),
        pytest.param({"keys": [{**KEY, "expires": "2026-01-01"}]}, "unauthenticated", "key expired", id="expired"),
        pytest.param({"keys": [{**KEY, "models": ["n"]}]}, "unknown_model", "model_not_found", id="not its model"),
        pytest.param(
            {"model_list": [{**M, "model_name": "n"}]}, "unknown_model", "model_not_found", id="no such model"
        ),
        pytest.param(
            {"model_list": [M], "keys": [{**KEY, "budget": {"usd": 9, "period": "day"}}]},
            "invalid_request",
            "unknown_price",
            id="no price under a budget",
        ),
        pytest.param(
            {"aliases": {"m": "n"}, "model_list": [{**PRICED, "model_name": "n"}]}, "", "", id="another model"
        ),
    ],
)
async def test_keys_names_and_prices_of_the_file_decide(fill, words, refused, limit):
    url = await fill(*every(1, 1))
    report, _, fates = await replayed({"model_list": [PRICED], "keys": [KEY], **words}, url, until=END)
    assert (fates["r-000"].refused, fates["r-000"].limit) == (refused, limit)
    assert report["newly_refused"] == bool(refused)


async def test_what_was_refused_and_would_not_be_costs_what_others_like_it_cost(fill):
    answered = every(1, 4, usage=TokenUsage(100, 50), expected_input_tokens=90, asked_ms=0.1, choices=1)
    refused = {
        "request_id": "x",
        "started_at": NOON + 60,
        "ended_at": NOON + 60,
        "error_type": "token_limited",
        "outcome": "limited",
        "status": 429,
        "attempts": 0,
        "usage": TokenUsage(),
        "usage_source": "none",
        "cost_micro_usd": 0,
        "expected_input_tokens": 400,
        "output_limit": 30,
        "choices": 1,
        "asked_ms": 0.1,
    }
    url = await fill(*answered, refused)
    report, _, fates = await replayed({"model_list": [PRICED], "keys": [KEY]}, url, until=END)
    assert report["newly_admitted"] == report["assumed_requests"] == 1
    assert fates["x"].cost_micro_usd == 400 + 2 * 30


async def test_shadows_refuse_nobody_and_are_counted(fill):
    url = await fill(*every(1, 5))
    limits = {"requests_per_minute": 2, "shadow": True}
    report, shadowed, _ = await replayed({"model_list": [M], "keys": [{**KEY, "limits": limits}]}, url, until=END)
    assert report["newly_refused"] == 0
    assert shadowed == {"rate_limited": 3}


async def test_what_was_before_fills_the_limits_and_is_not_reported(fill):
    url = await fill(*every(1, 10))
    limits = {"requests_per_day": 6}
    report, _, fates = await replayed(
        {"model_list": [M], "keys": [{**KEY, "limits": limits}]},
        url,
        since=datetime.fromtimestamp(NOON + 5, UTC),
        until=END,
    )
    assert report["requests"] == 5
    assert [fates[f"r-{n:03}"].refused for n in range(5, 10)] == ["", *["rate_limited"] * 4]
