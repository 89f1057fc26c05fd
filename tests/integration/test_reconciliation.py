"""A bad day of many requests, after which the books must agree to the token.

`METERING_REQUESTS` says how many, `METERING_SEED` which ones. What the provider told, the ledger's rows, its daily sums
and the counters of Prometheus are four independent records of the same day.
"""

import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from crplugins.core.outcome import OUTCOMES
from crplugins.homes.gateway.app import Gateway
from crplugins.testing import FakeProvider, ReceivedRequest
from tests.conftest import serving
from tests.integration.metering_bills import BILLS, FORMS, PRICES, TELLINGS, TEXT, Happened
from tests.integration.metering_books import TOKENS, Row, Scraped, by_marker, read_table, summed
from tests.integration.metering_traffic import (
    KEYS,
    MODELS,
    TIMEOUTS,
    Sent,
    gateway_options,
    happened_at,
    plan,
    prices_of,
    send_all,
)

REQUESTS: Final = int(os.environ.get("METERING_REQUESTS", "600"))
SEED: Final = int(os.environ.get("METERING_SEED", "20260601"))
MAX_BODY_BYTES: Final = 64 * 1024
AT_ONCE: Final = 40
MONEY: Final = ("cost_micro_usd", "provider_cost_micro_usd")

# litellm makes a coroutine in a thread; a client that leaves in that moment leaves nobody to await it.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")

OK: Final = ("",)
BROKEN: Final = ("upstream_stream_broken",)
# What the record of a client that read to the end must say: of a stream, of a plain answer.
ENDINGS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "cut": (BROKEN, OK),
    "cut-at-once": (BROKEN, ("upstream_connect",)),
    "reset": (BROKEN, OK),
    "stall": (("upstream_timeout",), (*OK, "upstream_timeout")),  # which may be soon over on a busy machine
    "silent": (("upstream_timeout",), ("upstream_timeout",)),
    "malformed": (BROKEN, OK),  # what follows a whole document is no part of it, unless litellm reads it
    "error-inside": ((*BROKEN, "upstream_5xx"), ()),
    "refuses": (("upstream_4xx",), ("upstream_4xx",)),
    "limited": (("upstream_429",), ("upstream_429",)),
    "down": (("upstream_5xx",), ("upstream_5xx",)),
    "our-key-is-wrong": (("upstream_auth",), ("upstream_auth",)),
    "unreachable": (("upstream_connect",), ("upstream_connect",)),
}
FAILS_AT_ONCE: Final = ("cut-at-once", "refuses", "limited", "down", "our-key-is-wrong", "unreachable")
REFUSALS: Final = {
    "model": "unknown_model",
    "size": "invalid_request",
    "json": "invalid_request",
    "field": "invalid_request",
}


@dataclass
class Day:
    """What is left of it. `told` is the provider's log by marker, `rows` and `daily` are the ledger's."""

    sent: Sequence[Sent]
    told: Mapping[str, Sequence[ReceivedRequest]]
    asked: int
    rows: Sequence[Row]
    daily: Sequence[Row]
    scraped: Scraped
    took: float

    def __post_init__(self) -> None:
        self.row_of: dict[str, Row] = {row["user"]: row for row in self.rows if row["user"]}

    def readable(self) -> list[tuple[Sent, Row]]:
        """Requests whose marker the gateway came to know, with their rows."""
        return [(sent, self.row_of[sent.marker]) for sent in self.sent if sent.marker in self.row_of]

    def happened(self, sent: Sent) -> Happened | None:
        """What the provider did for its last answer to this request, as far as it has told it; None if it has not."""
        told = self.told.get(sent.marker)
        return happened_at(told[-1]) if told else None


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    return asyncio.run(live(tmp_path_factory.mktemp("day") / "usage.db"))


async def live(file: Path) -> Day:
    sent = plan(REQUESTS, SEED, MAX_BODY_BYTES)
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(FakeProvider(keep_requests=3 * REQUESTS))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        app = Gateway(
            **gateway_options(provider),
            ledger={"url": f"sqlite:///{file}", "commit_seconds": 0},
            metrics={"token": None},
            server={"max_body_bytes": MAX_BODY_BYTES},
            usage={"drain_seconds": 60},  # whoever reads on is slow on a busy machine; the provider is never that long
        )
        async with serving(app) as url:
            begun = time.monotonic()
            await send_all(url, sent, AT_ONCE, random.Random(SEED))
            took = time.monotonic() - begun
            scraped = await settled(session, url, len(sent))
        await provider.wait_idle()
    told = by_marker(provider.requests)
    rows, daily = read_table(file, "usage"), read_table(file, "usage_daily")
    return Day(sent, told, provider.received, rows, daily, scraped, took)


async def settled(session: aiohttp.ClientSession, url: str, sent: int) -> Scraped:
    """The metrics, once all is over: answers are still read for clients that have left, or their requests just arrive."""
    until = time.monotonic() + 120
    while True:
        async with session.get(url + "/metrics") as response:
            scraped = Scraped(await response.text())
        counted = scraped.total("crplugins_requests_total")
        if (counted == sent and not scraped.total("crplugins_requests_in_flight")) or time.monotonic() > until:
            return scraped
        await asyncio.sleep(0.05)


def label_of(row: Row) -> str:
    """The model as Prometheus names it."""
    return row["requested_model"] if row["requested_model"] in MODELS else "other"


def test_every_request_of_a_good_key_left_exactly_one_record(day):
    good = [sent for sent in day.sent if sent.key is not None]
    assert len(day.rows) == len(good)
    assert len({row["request_id"] for row in day.rows}) == len(good)
    by_id = {row["request_id"]: row for row in day.rows}
    for sent in good:
        if sent.request_id is not None:
            row = by_id[sent.request_id]
            assert row["key_id"] == sent.key
            assert row["user"] == (None if sent.broken in ("size", "json") else sent.marker)
            assert row["status"] == sent.status
    unread = [sent for sent in good if sent.marker not in day.row_of]
    left = ("leaves-early", "times-out")  # before their body was looked at
    assert all(sent.broken in ("size", "json") or sent.behaviour in left for sent in unread)
    assert Counter(row["key_id"] for row in day.rows) == Counter(sent.key for sent in good)


def test_a_request_without_a_good_key_left_none_and_is_counted_all_the_same(day):
    strangers = [sent for sent in day.sent if sent.key is None]
    assert strangers
    assert all(sent.status == 401 and sent.marker not in day.row_of for sent in strangers)
    counted = day.scraped.by("crplugins_requests_total", "key_id", "code", "error_type")
    assert {labels: n for labels, n in counted.items() if labels[0] == "none"} == {
        ("none", "401", "unauthenticated"): len(strangers)
    }


def test_prometheus_counts_every_request_sent_with_the_ending_that_its_record_has(day):
    assert day.scraped.total("crplugins_requests_total") == len(day.sent)
    counted = day.scraped.by("crplugins_requests_total", "model", "key_id", "code", "error_type")
    recorded = summed(day.rows, "count", label_of, "key_id", "status", "error_type")
    assert {labels: n for labels, n in counted.items() if labels[1] != "none"} == recorded
    durations = day.scraped.by("crplugins_request_duration_seconds_count", "outcome")
    outcomes = summed(day.rows, "count", "outcome")
    outcomes["client_error",] += len([sent for sent in day.sent if sent.key is None])
    assert durations == outcomes
    assert all(row["outcome"] == OUTCOMES[row["error_type"]] for row in day.rows)


def test_nothing_is_in_flight_waiting_or_lost_at_the_end(day):
    for gauge in ("requests_in_flight", "ledger_dropped_records_total", "ledger_spooled_records", "hook_errors_total"):
        assert day.scraped.total(f"crplugins_{gauge}") == 0, gauge


def test_what_the_provider_told_is_what_stands_in_the_ledger_and_what_it_costs(day):
    """Its tokens of each kind, the tier that it named, the cost that follows from our prices, and its own bill."""
    wrong = []
    for sent, row in day.readable():
        if row["usage_source"] != "provider":
            continue
        happened, prices = day.happened(sent), prices_of(sent.case)
        assert happened is not None, (sent.marker, sent.model)
        told, cost = happened.told_micro_usd, happened.cost_micro_usd(prices)
        source = "config" if prices else "provider" if told is not None else None
        recorded = [row[name] for name in (*TOKENS, "service_tier", *MONEY, "cost_source")]
        if recorded != [*happened.columns, happened.tier, cost, told, source]:
            wrong.append((sent.marker, sent.model, sent.stream, happened, recorded))
    assert wrong == []


def test_an_estimate_is_priced_as_the_provider_processed_it_and_nothing_costs_nothing(day):
    for sent, row in day.readable():
        prices = prices_of(sent.case)
        if row["usage_source"] == "none" or sent.broken:
            assert (row["cost_micro_usd"], row["provider_cost_micro_usd"]) == (0, None), (sent.marker, sent.model)
        elif row["usage_source"] == "estimated":
            estimated = Happened(row["input_tokens"], row["output_tokens"], tier=row["service_tier"])
            assert [row[name] for name in TOKENS[2:]] == [0, 0, 0], (sent.marker, sent.model)
            assert row["cost_micro_usd"] == estimated.cost_micro_usd(prices), (sent.marker, sent.model, dict(row))


def test_provider_ledger_daily_sums_and_prometheus_agree_in_tokens_and_in_micro_usd(day):
    """The sums of four books. An estimate stands in three of them, and is added to the provider's."""
    told: Counter[str] = Counter()
    estimated: Counter[str] = Counter()
    for sent, row in day.readable():
        happened = day.happened(sent) if row["usage_source"] == "provider" else None
        if happened is None:
            estimated.update({name: row[name] or 0 for name in (*TOKENS, *MONEY)})
            continue
        told.update(dict(zip(TOKENS, happened.columns, strict=True)))
        told["cost_micro_usd"] += happened.cost_micro_usd(prices_of(sent.case)) or 0
        told["provider_cost_micro_usd"] += happened.told_micro_usd or 0
    ledger = Counter({name: sum(row[name] or 0 for row in day.rows) for name in (*TOKENS, *MONEY)})
    daily = Counter({name: sum(row[name] for row in day.daily) for name in (*TOKENS, *MONEY)})
    prometheus = Counter({name: round(day.scraped.total(f"crplugins_{name}_total")) for name in TOKENS})
    prometheus["cost_micro_usd"] = round(day.scraped.total("crplugins_cost_usd_total") * 1e6)
    print(f"provider {dict(told)}\nestimated {dict(estimated)}\nledger {dict(ledger)}\nprometheus {dict(prometheus)}")
    assert told + estimated == ledger == daily
    assert all(prometheus[name] == ledger[name] for name in (*TOKENS, "cost_micro_usd"))


def test_a_client_reads_the_form_it_asked_for_whichever_the_provider_sent(day):
    wrong = []
    for sent, row in day.readable():
        if sent.case in BILLS and sent.complete and not sent.broken:
            read = sent.text() if row["status"] == 200 else None
            if read != "".join(TEXT):
                wrong.append((sent.marker, sent.model, sent.stream, row["error_type"], sent.answer[-300:]))
    assert wrong == []


def test_a_number_is_estimated_only_where_the_provider_could_not_be_heard_to_the_end(day):
    """A client that leaves may take the answer with it, unless its key drains; nothing else may."""
    for sent, row in day.readable():
        if day.happened(sent) is None:
            assert row["usage_source"] != "provider", (sent.marker, sent.model)
            continue
        gone = row["outcome"] == "cancelled" and KEYS[sent.key].get("on_disconnect") != "drain"
        heard = sent.case not in ("malformed", *TIMEOUTS)
        if day.told[sent.marker][-1].completed and not gone and heard:
            assert row["usage_source"] == "provider", (sent.marker, sent.model, dict(row))


def test_an_answer_whose_provider_told_nothing_is_estimated_or_refused_or_free_as_the_key_says(day):
    for sent, row in day.readable():
        if sent.case not in ("uncounted", "old", "older") or not sent.complete or sent.broken:
            continue
        if day.happened(sent) is not None:  # plain answers of the old ones tell it
            continue
        if sent.key == "pays-nothing-unknown":
            assert (row["usage_source"], row["input_tokens"], row["cost_micro_usd"]) == ("none", 0, 0)
            continue
        assert row["usage_source"] == "estimated"
        assert row["input_tokens"] > 0
        assert row["output_tokens"] > 0
        refused = sent.key == "wants-numbers"
        assert row["error_type"] == ("upstream_stream_broken" if refused else ""), (sent.marker, sent.model)
        assert (b"upstream_no_usage" in sent.answer) == refused


def test_a_request_that_came_to_nothing_costs_nothing(day):
    for sent, row in day.readable():
        if sent.broken or (row["status"] >= 400 and row["outcome"] != "cancelled" and sent.key != "wants-numbers"):
            assert row["usage_source"] == "none", (sent.marker, sent.model, dict(row))
            assert [row[name] for name in (*TOKENS, "cost_micro_usd")] == [0] * 6


@pytest.mark.parametrize("measure", TOKENS)
def test_ledger_daily_sums_and_prometheus_agree_to_the_token(day, measure):
    counted = day.scraped.by(f"crplugins_{measure}_total", "model", "key_id")
    assert counted == summed(day.rows, measure, label_of, "key_id")
    assert summed(day.daily, measure, "requested_model", "key_id") == summed(
        day.rows, measure, "requested_model", "key_id"
    )
    assert sum(counted.values()) > 0 or REQUESTS < 200


def test_money_agrees_to_the_millionth_of_a_dollar(day):
    recorded = summed(day.rows, "cost_micro_usd", label_of, "key_id")
    counted = day.scraped.by("crplugins_cost_usd_total", "model", "key_id")
    assert {labels: round(usd * 1e6) for labels, usd in counted.items()} == recorded
    assert summed(day.daily, "cost_micro_usd", "requested_model", "key_id") == summed(
        day.rows, "cost_micro_usd", "requested_model", "key_id"
    )


def test_the_daily_sums_count_requests_errors_and_estimates(day):
    same = ("requested_model", "key_id", "team", "served_model", "provider")
    assert summed(day.daily, "requests", *same) == summed(day.rows, "count", *same)
    failed = [row for row in day.rows if row["outcome"] not in ("ok", "cancelled")]
    assert summed(day.daily, "errors", *same) == summed(failed, "count", *same)
    unpriced = [row for row in day.rows if row["cost_micro_usd"] is None]
    assert summed(day.daily, "unpriced_requests", *same) == summed(unpriced, "count", *same)
    estimated = [row for row in day.rows if row["usage_source"] == "estimated"]
    assert summed(day.daily, "estimated_requests", *same) == summed(estimated, "count", *same)
    counted = day.scraped.by("crplugins_unmetered_requests_total", "reason", "model")
    assert {k[1:]: n for k, n in counted.items() if k[0] == "estimated"} == summed(estimated, "count", label_of)
    assert {k[1:]: n for k, n in counted.items() if k[0] == "no_price"} == summed(unpriced, "count", label_of)


def test_every_call_of_the_provider_is_an_attempt_of_its_record(day):
    for sent, row in day.readable():
        arrived = len(day.told.get(sent.marker, ()))
        if row["outcome"] == "cancelled" or sent.case in TIMEOUTS:  # the call may not have left, or not have been read
            assert arrived <= row["attempts"], sent.marker
        else:
            assert arrived == row["attempts"], (sent.marker, sent.model)
    assert day.scraped.total("crplugins_upstream_attempts_total") == sum(row["attempts"] for row in day.rows)
    assert set(day.told) <= {sent.marker for sent in day.sent}
    assert sum(map(len, day.told.values())) == day.asked


def test_every_fault_has_its_own_name_in_the_record(day):
    wrong: list[Any] = []
    for sent, row in day.readable():
        if sent.broken:
            expected: Iterable[str] = (REFUSALS[sent.broken],)
        elif not sent.complete or (sent.key == "wants-numbers" and row["usage_source"] == "estimated"):
            continue
        else:
            expected = ENDINGS.get(sent.case, (OK, OK))[not sent.stream]
        if row["error_type"] not in expected:
            wrong.append((sent.marker, sent.model, "stream" if sent.stream else "plain", row["error_type"]))
    assert wrong == []


def test_a_provider_that_falls_silent_in_mid_stream_is_a_timeout_in_the_record(day):
    silent = [
        row
        for sent, row in day.readable()
        if sent.case == "stall" and sent.stream and sent.complete and not sent.broken
    ]
    assert silent
    assert {row["error_type"] for row in silent} == {"upstream_timeout"}


def test_a_client_that_left_is_recorded_as_one_and_its_prompt_is_counted(day):
    left = [(sent, row) for sent, row in day.readable() if row["outcome"] == "cancelled"]
    for sent, row in left:
        assert sent.behaviour != "reads", sent.marker
        assert not sent.complete, sent.marker
        assert row["status"] == (200 if sent.status == 200 else row["status"])
        assert row["status"] in (200, 499)
        if row["attempts"] == 0:  # it still waited for the handler: nobody has worked on it
            assert (row["usage_source"], day.told.get(sent.marker)) == ("none", None), sent.marker
        elif row["usage_source"] == "none":  # for nobody to pay, or the provider had failed before it said anything
            failed = sent.case in ENDINGS and KEYS[sent.key].get("on_disconnect") == "drain"
            assert sent.key == "pays-nothing-unknown" or failed or sent.case in FAILS_AT_ONCE, sent.marker
        else:
            assert row["input_tokens"] > 0, sent.marker
    statuses = Counter(row["status"] for _, row in left)
    assert statuses[200] > 0 < statuses[499]


def test_the_day_was_bad_enough(day):
    """Otherwise the tests above prove little."""
    print(f"{len(day.sent)} requests, {day.asked} calls of the provider, {day.took:.1f} s")
    print(sorted(Counter((row["outcome"], row["usage_source"]) for row in day.rows).items()))
    print(sorted(Counter(row["error_type"] for row in day.rows).items()))
    print({name: sum(row[name] for row in day.rows) for name in (*TOKENS,)})
    bills = [(BILLS[s.case], s, r) for s, r in day.readable() if s.case in BILLS and r["usage_source"] == "provider"]
    assert {bill.telling for bill, _, _ in bills} == set(TELLINGS)
    assert {bill.prices for bill, _, _ in bills} == set(PRICES)
    assert {(bill.form, sent.stream) for bill, sent, _ in bills} == {(f, s) for f in FORMS for s in (True, False)}
    answered = {(json.loads(sent.body).get("service_tier"), row["service_tier"]) for _, sent, row in bills}
    assert answered >= {("priority", "default"), ("default", "priority"), ("flex", "priority"), (None, "flex")}
    drained = [
        row for sent, row in day.readable() if row["outcome"] == "cancelled" and row["usage_source"] == "provider"
    ]
    assert drained
    assert {row["outcome"] for row in day.rows} == set(OUTCOMES.values()) - {"limited"}
    assert {row["usage_source"] for row in day.rows} == {"provider", "estimated", "none"}
    assert {row["error_type"] for row in day.rows} >= {
        kind for pair in ENDINGS.values() for kinds in pair for kind in kinds
    }
