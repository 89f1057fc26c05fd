"""A bad day of LiteLLM's real proxy with our callback, and inside our entry, after which the books must agree.

`PROXY_METERING_REQUESTS` says how many requests, `PROXY_METERING_SEED` which ones. What the provider told, the ledger's
rows, what `crplugins usage` makes of them and the counters of Prometheus are four independent records of the same day.
"""

import asyncio
import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from crplugins.core.outcome import OUTCOMES
from crplugins.testing import ReceivedRequest
from tests.integration.litellm_proxy_traffic import KEYS, SERVED, Sent, markers, plan, send_all
from tests.integration.metering_books import TOKENS, Row, Scraped, read_table, summed
from tests.integration.metering_traffic import SCRIPTS, secret_of
from tests.proxy_provider import EveryEndpoint
from tests.proxy_setup import CALLBACK, ENTRY, Proxy, needs_proxy, running_proxy
from tests.warm import warm_crplugins

pytestmark = [pytest.mark.slow, needs_proxy]

REQUESTS: Final = int(os.environ.get("PROXY_METERING_REQUESTS", "80"))
SEED: Final = int(os.environ.get("PROXY_METERING_SEED", "20260601"))
AT_ONCE: Final = 12

OURS: Final[Mapping[str, Any]] = {
    "keys": [{"id": key, "secret": secret_of(key), **words} for key, words in KEYS.items()],
    "ledger": {"url": "sqlite:///usage.db", "commit_seconds": 0},
    "limits": {"store": "sqlite:///limits.db"},
    "metrics": {"path": "/crplugins/metrics", "token": None},
}


@dataclass
class Day:
    """What is left of it. `told` is the provider's log by marker, `rows` are the ledger's, `usage` the command's."""

    sent: Sequence[Sent]
    told: Mapping[str, Sequence[ReceivedRequest]]
    asked: int
    rows: Sequence[Row]
    usage: Sequence[Row]
    limits: Sequence[Row]
    scraped: Scraped
    log: str
    took: float

    def __post_init__(self) -> None:
        by_id = {row["request_id"]: row for row in self.rows}
        by_user = {row["user"]: row for row in self.rows if row["user"]}
        self.row_of: dict[str, Row] = {}
        for sent in self.sent:
            row = by_user.get(sent.marker) or by_id.get(sent.request_id or "")
            if row is not None:
                self.row_of[sent.marker] = row

    def pairs(self) -> list[tuple[Sent, Row]]:
        return [(sent, self.row_of[sent.marker]) for sent in self.sent if sent.marker in self.row_of]

    def numbers_of(self, sent: Sent) -> tuple[int, int] | None:
        told = self.told.get(sent.marker)
        return told[-1].usage if told else None


@pytest.fixture(scope="module", params=["callback", "entry"])
def day(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Day:
    folder = tmp_path_factory.mktemp(request.param)
    app = CALLBACK if request.param == "callback" else ENTRY
    sent = plan(REQUESTS, SEED)
    with running_proxy(folder, app, ours=OURS, served=SERVED, journal=False) as proxy:
        told, asked, scraped, took = asyncio.run(live(proxy, sent))
    rows, limits = read_table(folder / "usage.db", "usage"), read_table(folder / "limits.db", "limit_state")
    return Day(sent, told, asked, rows, command(folder), limits, scraped, proxy.log.read_text(), took)


async def live(proxy: Proxy, sent: Sequence[Sent]) -> tuple[dict[str, list[ReceivedRequest]], int, Scraped, float]:
    async with EveryEndpoint(port=proxy.provider_port, keep_requests=4 * REQUESTS) as provider:
        for name, script in SCRIPTS.items():
            provider.script(name, script)
        begun = time.monotonic()
        await send_all(f"{proxy.url}/v1", provider, sent, AT_ONCE)
        took = time.monotonic() - begun
        scraped = await settled(proxy.url, counted(sent))
        await provider.wait_idle(90)
        return markers(provider.requests), provider.received, scraped, took


def counted(sent: Sequence[Sent]) -> int:
    """Requests in the metrics: of a stranger only those for chat completions, as others are nobody's."""
    return len([one for one in sent if one.key is not None or one.kind == "chat"])


async def settled(url: str, sent: int) -> Scraped:
    """The metrics, once all is over: for a client that has left LiteLLM reads on."""
    until = time.monotonic() + 60
    async with httpx.AsyncClient(follow_redirects=True) as client:
        while True:
            scraped = Scraped((await client.get(f"{url}/crplugins/metrics")).text)
            over = scraped.total("crplugins_requests_total") == sent
            if (over and not scraped.total("crplugins_requests_in_flight")) or time.monotonic() > until:
                return scraped
            await asyncio.sleep(0.1)


def command(folder: Path) -> Sequence[Row]:
    """What `crplugins usage` says."""
    words = ["usage", "--by", "key,model", "--json", "--config", "crplugins.yaml"]
    done = subprocess.run(warm_crplugins(*words), cwd=folder, capture_output=True, text=True, check=True)
    lines: Sequence[Row] = json.loads(done.stdout)
    return lines


def label_of(row: Row) -> str:
    """The model as Prometheus names it."""
    return row["requested_model"] if row["requested_model"] in SERVED else "other"


def test_every_request_of_a_good_key_left_exactly_one_record(day):
    good = [sent for sent in day.sent if sent.key is not None]
    unfound = [(s.kind, s.status == 200, s.request_id) for s in good if s.marker not in day.row_of]
    # A message has no `user`, and LiteLLM drops the headers of its failure.
    assert set(unfound) <= {("messages", False, None)}
    assert Counter(row["key_id"] for row in day.rows) == Counter(sent.key for sent in good)
    assert len({row["request_id"] for row in day.rows}) == len(day.rows) == len(good)
    for sent, row in day.pairs():
        assert row["key_id"] == sent.key
        if sent.request_id is not None:
            assert (row["request_id"], row["status"]) == (sent.request_id, sent.status), sent


def test_a_stranger_left_none(day):
    strangers = [sent for sent in day.sent if sent.key is None]
    assert strangers
    assert all(sent.status == 401 and sent.marker not in day.row_of for sent in strangers)
    assert not day.told.keys() & {sent.marker for sent in strangers}


def test_what_the_provider_told_is_what_stands_in_the_ledger(day):
    told = [(sent, row) for sent, row in day.pairs() if row["usage_source"] == "provider"]
    wrong = [
        (sent, day.numbers_of(sent), row["input_tokens"], row["output_tokens"])
        for sent, row in told
        if day.numbers_of(sent) != (row["input_tokens"], row["output_tokens"]) and not _is_out_of_sight(sent)
    ]
    assert wrong == []
    assert {sent.kind for sent, _ in told} == {"chat", "completions", "embeddings", "responses", "messages"}


def _is_out_of_sight(sent: Sent) -> bool:
    """LiteLLM has made the stream of chunks that we are not shown, and counted their tokens without saying so."""
    return sent.kind in ("messages", "completions") and sent.stream and sent.case == "uncounted"


def test_a_number_is_estimated_only_where_the_provider_could_not_be_heard_to_the_end(day):
    wrong = []
    for sent, row in day.pairs():
        numbers, last = day.numbers_of(sent), day.told.get(sent.marker, [None])[-1]
        heard = numbers is not None and last is not None and last.completed and row["outcome"] != "cancelled"
        if heard and sent.case not in ("malformed", "error-inside"):
            if row["usage_source"] != "provider":
                wrong.append((sent, numbers, dict(row)))
        elif numbers is None and row["usage_source"] == "provider" and not _is_out_of_sight(sent):
            wrong.append((sent, numbers, dict(row)))
    assert wrong == []


def test_an_answer_whose_provider_told_nothing_is_estimated_or_refused_or_free_as_the_key_says(day):
    for sent, row in day.pairs():
        if sent.case != "uncounted" or not sent.complete or sent.status != 200 or sent.kind != "chat":
            continue
        if sent.key == "free":
            assert (row["usage_source"], row["input_tokens"], row["cost_micro_usd"]) == ("none", 0, 0)
            continue
        assert row["usage_source"] == "estimated", sent
        assert row["input_tokens"] > 0 < row["output_tokens"], sent


def test_a_request_that_came_to_nothing_costs_nothing(day):
    for sent, row in day.pairs():
        if row["status"] >= 400 and row["outcome"] != "cancelled" and sent.key != "strict":
            assert row["usage_source"] == "none", (sent, dict(row))
            assert [row[name] for name in (*TOKENS, "cost_micro_usd")] == [0] * 6, (sent, dict(row))


def test_prometheus_counts_every_request_with_the_ending_that_its_record_has(day):
    assert day.scraped.total("crplugins_requests_total") == counted(day.sent)
    seen = day.scraped.by("crplugins_requests_total", "model", "key_id", "code", "error_type")
    recorded = summed(day.rows, "count", label_of, "key_id", "status", "error_type")
    assert {labels: n for labels, n in seen.items() if labels[1] != "none"} == recorded
    assert all(row["outcome"] == OUTCOMES[row["error_type"]] for row in day.rows)


@pytest.mark.parametrize("measure", TOKENS)
def test_ledger_command_and_prometheus_agree_to_the_token(day, measure):
    seen = day.scraped.by(f"crplugins_{measure}_total", "model", "key_id")
    assert seen == summed(day.rows, measure, label_of, "key_id")
    assert summed(day.usage, measure, "requested_model", "key_id") == summed(
        day.rows, measure, "requested_model", "key_id"
    )


def test_money_and_requests_agree_too(day):
    recorded = summed(day.rows, "cost_micro_usd", label_of, "key_id")
    seen = day.scraped.by("crplugins_cost_usd_total", "model", "key_id")
    assert {labels: round(usd * 1e6) for labels, usd in seen.items()} == recorded
    assert summed(day.usage, "requests", "key_id") == summed(day.rows, "count", "key_id")
    assert sum(round(line["cost_usd"] * 1e6) for line in day.usage) == sum(recorded.values())


def test_every_call_of_the_provider_is_an_attempt_of_its_record(day):
    for sent, row in day.pairs():
        arrived = len(day.told.get(sent.marker, ()))
        if row["outcome"] == "cancelled":  # the call may not have left
            assert arrived <= row["attempts"], sent
        elif sent.kind in ("chat", "responses", "messages"):  # for the rest LiteLLM's client repeats calls by itself
            assert arrived == row["attempts"], (sent, dict(row))
        else:
            assert arrived >= row["attempts"], (sent, dict(row))
    assert sum(map(len, day.told.values())) == day.asked


def test_no_reservation_is_open_and_nothing_in_flight_waiting_or_lost(day):
    # The lease by which a process says that it runs is no request's.
    reserved = [row["key"] for row in day.limits if row["key"].startswith("reservation ")]
    assert [key for key in reserved if "process/" not in key] == []
    holders = [json.loads(value) for row in day.limits if (value := _bytes(row["value"])).startswith(b"{")]
    assert holders
    assert [name for held in holders for name in held if not name.startswith("process/")] == []
    for gauge in ("requests_in_flight", "ledger_dropped_records_total", "ledger_spooled_records", "hook_errors_total"):
        assert day.scraped.total(f"crplugins_{gauge}") == 0, gauge
    for words in ("on_finish failed", "[Non-Blocking]", "has not told how", "will not call", "never awaited"):
        assert words not in day.log


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def test_limits_hold(day):
    rows = [row for row in day.rows if row["key_id"] == "few"]
    assert len([row for row in rows if row["outcome"] != "limited"]) <= 2
    poor = [row for row in day.rows if row["key_id"] == "poor" and row["outcome"] != "limited"]
    assert sum(row["input_tokens"] + row["output_tokens"] for row in poor) < 4000


def test_a_client_that_left_is_recorded_with_what_it_used(day):
    for sent, row in day.pairs():
        if row["outcome"] == "cancelled":
            assert sent.behaviour != "reads", (sent, dict(row))
            assert row["status"] in (200, 499)


def test_the_day_was_bad_enough(day):
    """Otherwise the tests above prove little."""
    print(f"{len(day.sent)} requests, {day.asked} calls of the provider, {day.took:.1f} s")
    for name in ("outcome", "error_type", "usage_source", "key_id"):
        print(name, sorted(Counter(row[name] for row in day.rows).items()))
    print(sorted(Counter((sent.kind, row["outcome"]) for sent, row in day.pairs()).items()))
    print({name: sum(row[name] for row in day.rows) for name in TOKENS})
    assert {row["outcome"] for row in day.rows} == set(OUTCOMES.values())
    assert {row["usage_source"] for row in day.rows} == {"provider", "estimated", "none"}
    assert {row["error_type"] for row in day.rows} >= {
        "client_disconnected", "rate_limited", "unknown_model", "upstream_429", "upstream_4xx", "upstream_5xx",
        "upstream_auth", "upstream_connect", "upstream_stream_broken", "upstream_timeout",
    }  # fmt: skip
