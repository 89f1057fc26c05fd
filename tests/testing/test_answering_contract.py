"""The contract of plugins that answer by themselves passes for a good cache, and fails for one broken in just that way."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import pytest

from crplugins.core.exchange import Exchange, Reply, Slot
from crplugins.core.plugin import Plugin
from crplugins.core.sse import Event
from crplugins.testing import PluginContract
from crplugins.testing.contract.answers import Answers
from tests.testing.test_contract import failures

pytestmark = pytest.mark.slow

HEARD: Slot[list[Event]] = Slot("heard")
STREAM, JSON = b"text/event-stream", b"application/json"
CANNED = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Closed."},"finish_reason":"stop"}]}'
FRAME = b'data: {"choices":[{"index":0,"delta":{"content":"Closed."},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


class Cache(Plugin):
    """A good one: whole answers, for the same key and body, in the form they came in, for nothing."""

    reads_body = reads_events = True

    def __init__(self) -> None:
        self._kept: dict[Any, list[bytes]] = {}

    def asked(self, exchange: Exchange) -> Any:
        key_id = exchange.principal.key_id if exchange.principal is not None else None
        return key_id, exchange.body.raw if exchange.body is not None else b""

    def on_request(self, exchange: Exchange) -> None:
        kept = self._kept.get(self.asked(exchange))
        if kept is None:
            HEARD.set(exchange, [])
        else:
            self.answer(exchange, kept)

    def answer(self, exchange: Exchange, kept: list[bytes]) -> None:
        kind = STREAM if exchange.stream else JSON
        body = self.replayed(kept) if exchange.stream else b"".join(kept)
        exchange.answered_from_cache(Reply(200, [(b"content-type", kind)], body))

    async def replayed(self, kept: list[bytes]) -> AsyncGenerator[bytes, None]:
        for part in kept:
            yield part

    def on_event(self, exchange: Exchange, event: Event) -> Event:
        if (heard := HEARD.get(exchange)) is not None:
            heard.append(event)
        return event

    def on_finish(self, exchange: Exchange) -> None:
        heard = HEARD.get(exchange)
        if heard and self.is_whole(exchange, heard):
            self._kept[self.asked(exchange)] = [event.raw for event in heard]

    def is_whole(self, exchange: Exchange, heard: list[Event]) -> bool:
        return exchange.outcome == "ok" and (heard[-1].is_done or heard[-1].document)


class Notice(Plugin):
    """Answers what carries a header, and learns from nobody."""

    def on_request(self, exchange: Exchange) -> None:
        if exchange.header(b"x-closed"):
            kind, body = (STREAM, _one(FRAME)) if exchange.stream else (JSON, CANNED)
            exchange.answered_from_cache(Reply(200, [(b"content-type", kind)], body))


async def _one(frame: bytes) -> AsyncGenerator[bytes, None]:
    yield frame


class CacheContract(PluginContract):
    learns = True

    def answered_request(self) -> Mapping[str, Any] | None:
        return self.accepted_request()


class TestCache(CacheContract):
    def make_plugin(self) -> Plugin:
        return Cache()


class TestNotice(PluginContract):
    def make_plugin(self) -> Plugin:
        return Notice()

    def answered_request(self) -> Mapping[str, Any]:
        return {**self.accepted_request(), "headers": {"x-closed": "1"}}


class KnowsOneFormOnly(Cache):
    def answer(self, exchange: Exchange, kept: list[bytes]) -> None:
        exchange.answered_from_cache(Reply(200, [(b"content-type", JSON)], b"".join(kept)))


class KeepsItsAnswerFromOthers(Cache):
    def answer(self, exchange: Exchange, kept: list[bytes]) -> None:
        super().answer(exchange, kept)
        assert exchange.reply is not None
        exchange.reply.headers = [*exchange.reply.headers, (b"content-encoding", b"x-own")]


class HasItsAnswersPaidFor(Cache):
    def answer(self, exchange: Exchange, kept: list[bytes]) -> None:
        super().answer(exchange, kept)
        exchange.from_cache = False


class LearnsFailures(Cache):
    def is_whole(self, exchange: Exchange, heard: list[Event]) -> bool:
        return True


class LearnsWhatClientsLeft(Cache):
    def is_whole(self, exchange: Exchange, heard: list[Event]) -> bool:
        return exchange.status == 200 and not exchange.failed_in_stream


class TellsOthers(Cache):
    def asked(self, exchange: Exchange) -> Any:
        return exchange.body.raw if exchange.body is not None else b""


class SwallowsCancellation(Cache):
    async def replayed(self, kept: list[bytes]) -> AsyncGenerator[bytes, None]:
        for part in kept:
            try:
                await asyncio.sleep(0)
            except BaseException:
                continue
            yield part


class LearnsNothing(Cache):
    def is_whole(self, exchange: Exchange, heard: list[Event]) -> bool:
        return False


FORM = "test_it_answers_by_itself_in_the_form_that_was_asked_for"
SEEN = "test_its_own_answer_is_seen_by_the_plugins_outside"
FREE = "test_its_own_answer_costs_nothing_unless_it_says_so"
WHOLE = "test_only_whole_answers_are_learned"
SHARED = "test_callers_do_not_share_answers_unless_it_says_so"
ENDS = "test_its_own_answer_may_end_like_any_other"

BROKEN: list[tuple[type[Cache], set[str]]] = [
    (KnowsOneFormOnly, {FORM}),
    (KeepsItsAnswerFromOthers, {SEEN}),
    (HasItsAnswersPaidFor, {FREE}),
    (LearnsFailures, {WHOLE}),
    (LearnsWhatClientsLeft, {WHOLE}),
    (TellsOthers, {SHARED}),
    (SwallowsCancellation, {ENDS}),
    (LearnsNothing, {FORM, FREE}),
]


def contract_of(make: type[Plugin]) -> CacheContract:
    class Contract(CacheContract):
        def make_plugin(self) -> Plugin:
            return make()

    return Contract()


@pytest.mark.parametrize(("plugin", "expected"), BROKEN, ids=lambda value: getattr(value, "__name__", ""))
async def test_a_broken_cache_fails_what_it_breaks(plugin: type[Plugin], expected: set[str]) -> None:
    ours = {name for name in dir(Answers) if name.startswith("test_")}
    assert expected <= (failed := await failures(contract_of(plugin)))
    assert failed & ours == expected


def test_each_of_these_tests_has_a_cache_that_fails_it() -> None:
    ours = {name for name in dir(Answers) if name.startswith("test_")}
    assert set().union(*(expected for _, expected in BROKEN)) == ours


async def test_who_may_share_answers_and_be_paid_for_them_says_so() -> None:
    contract = contract_of(TellsOthers)
    contract.shares_answers = True
    assert await failures(contract) == set()
    contract = contract_of(HasItsAnswersPaidFor)
    contract.answers_for_free = False
    assert await failures(contract) == set()


class AnswersNoStreams(Cache):
    """As the one on the page for plugin authors."""

    def on_request(self, exchange: Exchange) -> None:
        if not exchange.stream:
            super().on_request(exchange)


class LearnsFailuresOfPlainAnswers(AnswersNoStreams):
    def is_whole(self, exchange: Exchange, heard: list[Event]) -> bool:
        return True


async def test_who_answers_no_streams_says_so_and_is_judged_by_plain_answers() -> None:
    contract = contract_of(AnswersNoStreams)
    assert await failures(contract) >= {FORM, FREE}
    contract.answers_streams = False
    assert await failures(contract) == set()
    contract = contract_of(LearnsFailuresOfPlainAnswers)
    contract.answers_streams = False
    assert await failures(contract) == {WHOLE}
