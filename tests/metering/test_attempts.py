"""The account of an attempt that failed, when another one follows it."""

import msgspec
import pytest

from crplugins import Exchange, TokenUsage
from crplugins.core.body import Body
from crplugins.core.exchange import Timings
from crplugins.core.sse import Event
from crplugins.core.usage import Price
from crplugins.metering.attempts import give_up
from crplugins.metering.estimate import usage_of_answer
from crplugins.metering.record import UsageRecord, record_of
from crplugins.testing import FrozenClock

DEAR = Price(30_000_000, 70_000_000)
CHEAP = Price(1_000_000, 2_000_000)
ASK = b'{"model": "m", "messages": [{"role": "user", "content": "Tell me a long story, please."}], "stream": true}'
PROMPT = 20
"""Estimated tokens of it."""


class Request:
    """A request on its way, of which a test decides what each attempt says."""

    def __init__(self) -> None:
        self.clock = FrozenClock()
        timings = Timings(started=self.clock(), app=self.clock())
        self.exchange = Exchange("id", "POST", "/v1/chat/completions", [], None, self.clock, timings, stream=True)
        self.exchange.body = Body.of_request(ASK)

    def attempt(self, price: Price | None = CHEAP, words: int = 0, usage: TokenUsage | None = None) -> None:
        self.exchange.price = price
        self.exchange.begin_attempt("openai")
        for _ in range(words):
            chunk = {"choices": [{"index": 0, "delta": {"content": " word"}, "finish_reason": None}]}
            self.exchange.note_facts(Event.of(msgspec.json.encode(chunk)))
        if usage is not None:
            self.exchange.counted(usage, "provider")

    def over(self, status: int = 200, *, left: bool = False) -> UsageRecord:
        self.exchange.concluded(status, left=left, complete=not left)
        return record_of(self.exchange)


@pytest.fixture
def request_() -> Request:
    return Request()


def test_an_attempt_that_said_and_reported_nothing_has_used_nothing(request_: Request) -> None:
    request_.attempt(DEAR)
    give_up(request_.exchange, "estimate")
    request_.attempt(usage=TokenUsage(10, 5))
    assert request_.exchange.spent == ()
    record = request_.over()
    assert (record.usage, record.usage_source, record.cost_micro_usd) == (TokenUsage(10, 5), "provider", 20)


def test_what_each_attempt_used_is_paid_at_its_own_price(request_: Request) -> None:
    request_.attempt(DEAR, usage=TokenUsage(100, 10))
    give_up(request_.exchange, "estimate")
    request_.attempt(CHEAP, usage=TokenUsage(10, 5))
    record = request_.over()
    assert (record.usage, record.usage_source) == (TokenUsage(110, 15), "provider")
    assert record.cost_micro_usd == 100 * 30 + 10 * 70 + 10 + 5 * 2
    assert usage_of_answer(request_.exchange, "estimate") == TokenUsage(10, 5)


def test_what_a_broken_attempt_said_is_estimated_and_its_prompt_too(request_: Request) -> None:
    request_.attempt(words=40)
    give_up(request_.exchange, "estimate")
    assert [(spent.usage, spent.source) for spent in request_.exchange.spent] == [(TokenUsage(PROMPT, 40), "estimated")]
    request_.attempt(words=20, usage=TokenUsage(65, 20))
    record = request_.over()
    assert (record.usage, record.usage_source) == (TokenUsage(PROMPT + 65, 60), "estimated")


def test_an_early_count_is_completed_by_what_was_said_after_it(request_: Request) -> None:
    request_.attempt(usage=TokenUsage(20, 1))
    for _ in range(3):
        request_.exchange.note_facts(Event.of(b'{"choices": [{"index": 0, "delta": {"content": " word"}}]}'))
    give_up(request_.exchange, "estimate")
    assert [(spent.usage, spent.source) for spent in request_.exchange.spent] == [(TokenUsage(20, 4), "estimated")]


def test_where_missing_usage_is_free_what_was_said_costs_nothing_and_what_was_reported_does(request_: Request) -> None:
    request_.attempt(words=40)
    give_up(request_.exchange, "free")
    assert request_.exchange.spent == ()
    request_.attempt(DEAR, usage=TokenUsage(100, 1), words=0)
    request_.exchange.note_facts(Event.of(b'{"choices": [{"index": 0, "delta": {"content": " word"}}]}'))
    give_up(request_.exchange, "free")
    assert [(spent.usage, spent.source) for spent in request_.exchange.spent] == [(TokenUsage(100, 1), "provider")]


def test_an_attempt_that_continues_another_is_asked_with_a_longer_prompt(request_: Request) -> None:
    request_.attempt(words=40)
    give_up(request_.exchange, "estimate")
    request_.attempt(words=20)
    used = usage_of_answer(request_.exchange, "estimate")
    assert used == TokenUsage(PROMPT + 40, 20)


def test_the_whole_cost_is_unknown_where_one_attempt_has_no_price(request_: Request) -> None:
    request_.attempt(None, usage=TokenUsage(100, 10))
    give_up(request_.exchange, "estimate")
    request_.attempt(CHEAP, usage=TokenUsage(10, 5))
    record = request_.over()
    assert (record.usage, record.cost_micro_usd, record.cost_source) == (TokenUsage(110, 15), None, None)


def test_the_bills_of_all_providers_are_added_up_as_far_as_they_tell_them(request_: Request) -> None:
    request_.attempt(None, usage=TokenUsage(100, 10))
    request_.exchange.provider_cost_micro_usd = 700
    give_up(request_.exchange, "estimate")
    request_.attempt(None, usage=TokenUsage(10, 5))
    request_.exchange.provider_cost_micro_usd = 50
    record = request_.over()
    assert (record.cost_micro_usd, record.cost_source, record.provider_cost_micro_usd) == (750, "provider", 750)


def test_each_attempt_pays_for_its_own_seconds(request_: Request) -> None:
    by_second = Price(0, 0, second=2_000_000)
    request_.attempt(by_second, usage=TokenUsage(100, 10))
    request_.clock.advance(10)
    request_.exchange.attempts[-1].ended = request_.clock()
    give_up(request_.exchange, "estimate")
    request_.attempt(by_second, usage=TokenUsage(10, 5))
    request_.clock.advance(1)
    assert request_.over().cost_micro_usd == 20 + 2


def test_what_one_answer_says_of_itself_is_not_said_of_the_next(request_: Request) -> None:
    request_.attempt(usage=TokenUsage(100, 10))
    exchange = request_.exchange
    exchange.service_tier, exchange.provider_model, exchange.finish_reason = "flex", "m-1", "length"
    give_up(exchange, "estimate")
    assert (exchange.service_tier, exchange.provider_model, exchange.finish_reason) == (None, None, None)


def test_a_client_that_leaves_during_the_next_attempt_pays_for_both(request_: Request) -> None:
    request_.attempt(DEAR, usage=TokenUsage(100, 10))
    give_up(request_.exchange, "estimate")
    request_.attempt(CHEAP)
    request_.over(left=True)
    used = usage_of_answer(request_.exchange, "estimate")
    assert request_.exchange.with_spent(used) == TokenUsage(100 + PROMPT, 10)
