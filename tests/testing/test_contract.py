"""The contract suite passes for good plugins, and each of its tests fails for a plugin broken in just that way."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import pytest

from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, Reply, Slot
from crplugins.core.plugin import Plugin
from crplugins.core.sse import Event
from crplugins.plugins.auth import Auth, InlineKey
from crplugins.testing import PluginContract
from crplugins.testing.contract.answers import Answers

pytestmark = pytest.mark.slow

# Good plugins, run as their authors would run them.


class TestAuth(PluginContract):
    def make_plugin(self) -> Plugin:
        return Auth([InlineKey("team-a", "sk-right")])

    def accepted_request(self) -> Mapping[str, Any]:
        return {**super().accepted_request(), "headers": {"authorization": "Bearer sk-right"}}

    def refused_request(self) -> Mapping[str, Any]:
        return {**super().accepted_request(), "headers": {"authorization": "Bearer sk-wrong"}}


class TestNothing(PluginContract):
    def make_plugin(self) -> Plugin:
        return Plugin()


class TestMeter(PluginContract):
    """Observes: counts events on the exchange."""

    class Meter(Plugin):
        reads_body = reads_events = observes = True
        count: Slot[int] = Slot("count")

        async def on_request(self, exchange: Exchange) -> None:
            self.count.set(exchange, 0)

        def on_event(self, exchange: Exchange, event: Event) -> Event:
            self.count.set(exchange, (self.count.get(exchange) or 0) + 1)
            return event

    def make_plugin(self) -> Plugin:
        return self.Meter()


class TestRewriter(PluginContract):
    """Edits the body, changes one field of each chunk, drops comments, adds an event, and owns a connection."""

    @dataclass(frozen=True)
    class Rewriter(Plugin):
        reads_body = rewrites_events = True
        name_shown: str = "fast"

        async def __aenter__(self) -> Self:
            await asyncio.sleep(0)
            return self

        async def on_request(self, exchange: Exchange) -> None:
            await asyncio.sleep(0)
            assert exchange.body is not None
            if exchange.body.get("model", str) is not None:
                exchange.body.set("model", "gpt-4o-mini-2024-07-18")

        def on_event(self, exchange: Exchange, event: Event) -> Event | None:
            if event.is_comment:
                return None
            if event.answer is None or b'"model":"' not in (event.data or b""):
                return event
            return event.with_data((event.data or b"").replace(b'"model":"gpt-4o-mini"', b'"model":"fast"'))

        def on_end(self, exchange: Exchange) -> Iterable[Event]:
            return [Event.of(b'{"object":"moderation"}')]

    def make_plugin(self) -> Plugin:
        return self.Rewriter()


class TestCache(PluginContract):
    """Answers itself, with a stream, what carries a certain header."""

    class Cache(Plugin):
        async def on_request(self, exchange: Exchange) -> None:
            if exchange.header(b"x-cached"):
                exchange.reply = Reply(200, [(b"content-type", b"application/json")], b"{}")

    def make_plugin(self) -> Plugin:
        return self.Cache()


# Plugins broken in one way each.


class Good(Plugin):
    """The base of the broken ones: decides, reads everything, may change everything, and does nothing."""

    reads_body = rewrites_events = True

    async def on_request(self, exchange: Exchange) -> None:
        await asyncio.sleep(0)

    def on_event(self, exchange: Exchange, event: Event) -> Event | None:
        return event


class SettlesItself(Good):
    def on_event(self, exchange: Exchange, event: Event) -> Event:
        if event.is_done:
            self.on_finish(exchange)
        return event

    def on_finish(self, exchange: Exchange) -> None: ...


class ForgetsThatRequestsEndEarly(Good):
    seen: Slot[int] = Slot("seen")

    def on_response(self, exchange: Exchange) -> None:
        self.seen.set(exchange, 1)

    def on_finish(self, exchange: Exchange) -> None:
        assert self.seen.get(exchange) == 1


class NeedsItsRequestToTheEnd(Good):
    ready: Slot[int] = Slot("ready")

    async def on_request(self, exchange: Exchange) -> None:
        await asyncio.sleep(0)
        self.ready.set(exchange, 1)

    def on_finish(self, exchange: Exchange) -> None:
        assert self.ready.get(exchange) == 1


class SwallowsCancellation(Good):
    async def on_request(self, exchange: Exchange) -> None:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return


class OpensOnce(Good):
    opened = False

    async def __aenter__(self) -> Self:
        if self.opened:
            raise RuntimeError("already used")
        self.opened = True
        return self


class CannotClose(Good):
    async def __aexit__(self, *_: object) -> None:
        raise RuntimeError("never opened")


class RefusesEverything(Good):
    async def on_request(self, exchange: Exchange) -> None:
        raise GatewayError(403, "No.")


class Buffers(Good):
    kept: Slot[list[Event]] = Slot("kept")

    def on_event(self, exchange: Exchange, event: Event) -> Event | None:
        if event.is_done or event.document or event.data is None:
            return event
        self.kept.set(exchange, [*(self.kept.get(exchange) or []), event])
        return None

    def on_end(self, exchange: Exchange) -> Iterable[Event]:
        return self.kept.get(exchange) or []


class WritesEventsAgain(Good):
    def on_event(self, exchange: Exchange, event: Event) -> Event:
        if event.answer is None:
            return event
        return event.with_data(json.dumps(json.loads(event.data)).encode())


class WritesTheBodyAgain(Good):
    async def on_request(self, exchange: Exchange) -> None:
        body = {key: exchange.body.get(key) for key in exchange.body}
        for key in body:
            exchange.body.set(key, body[key])


class WritesMoreThanItChanges(WritesTheBodyAgain):
    async def on_request(self, exchange: Exchange) -> None:
        await super().on_request(exchange)
        exchange.body.set("user", "u")


class ObserverThatEditsTheBody(Good):
    rewrites_events = False
    reads_events = observes = True

    async def on_request(self, exchange: Exchange) -> None:
        exchange.body.set("user", "u")


class ObserverThatSetsAHeader(ObserverThatEditsTheBody):
    async def on_request(self, exchange: Exchange) -> None: ...

    def on_response(self, exchange: Exchange) -> None:
        exchange.set_response_header("x-seen", "1")


class ObserverThatChangesTheEventItself(ObserverThatEditsTheBody):
    async def on_request(self, exchange: Exchange) -> None: ...

    def on_event(self, exchange: Exchange, event: Event) -> Event:
        event.data = b"{}"
        return event


class TrustsAnswers(Good):
    def on_event(self, exchange: Exchange, event: Event) -> Event:
        if event.data is not None and not event.is_done:
            json.loads(event.data)["choices"][0]["index"]
        return event


class TrustsRequests(Good):
    async def on_request(self, exchange: Exchange) -> None:
        sum(len(message["content"]) for message in exchange.body.get("messages"))


class CountsOnItself(Good):
    count = 0

    def on_event(self, exchange: Exchange, event: Event) -> Event:
        if event.answer is None or event.document:
            return event
        self.count += 1
        return event.with_data(b'{"choices":[{}],"n":%d}' % self.count)


class RemembersTheLastRequest(Good):
    last: Exchange

    async def on_request(self, exchange: Exchange) -> None:
        self.last = exchange

    def on_event(self, exchange: Exchange, event: Event) -> Event:
        self.last.served_model = "seen"
        return event


class LeansOnNeighbours(Good):
    reads_body = False

    async def on_request(self, exchange: Exchange) -> None:
        if exchange.body is not None:
            exchange.body.set("user", "u")


class ReadsEventsForNothing(Plugin):
    reads_events = True


class ReadsTheBodyForNothing(Plugin):
    reads_body = True


class AddsWithoutSayingSo(Good):
    rewrites_events = False
    reads_events = True

    def on_end(self, exchange: Exchange) -> Iterable[Event]:
        return ()


class DropsWithoutSayingSo(Good):
    rewrites_events = False
    reads_events = True

    def on_event(self, exchange: Exchange, event: Event) -> None: ...


class RefusesByAnException(Good):
    async def on_request(self, exchange: Exchange) -> None:
        if exchange.header(b"x-refuse"):
            raise PermissionError("no")


class RefusesInAShapeOfItsOwn(Good):
    async def on_request(self, exchange: Exchange) -> None:
        if exchange.header(b"x-refuse"):
            exchange.reply = Reply(403, [(b"content-type", b"application/json")], b'{"error": {"message": "no"}}')


class RefusesWithSuccess(Good):
    async def on_request(self, exchange: Exchange) -> None:
        if exchange.header(b"x-refuse"):
            exchange.reply = Reply(200, [(b"content-type", b"application/json")], b"{}")


class LetsEverythingThrough(Good):
    pass


ONCE = "test_on_finish_runs_once_for_each_request_whatever_its_ending"
NO_RAISE = "test_no_hook_raises_whatever_the_ending"
CANCEL = "test_it_can_be_cancelled_wherever_it_waits"
OPEN = "test_it_opens_and_closes_twice"
FIRST = "test_the_first_event_is_out_before_the_second_is_in"
EVENT_BYTES = "test_an_event_it_does_not_change_keeps_its_bytes"
OBSERVER = "test_an_observer_changes_nothing"
ANSWERS = "test_odd_answers_are_no_bug"
CONCURRENT = "test_concurrent_requests_do_not_mix"
ACCEPTED = "test_the_accepted_request_reaches_the_app"
BODY_BYTES = "test_a_value_it_does_not_change_keeps_its_bytes"
REFUSAL = "test_a_refusal_has_openais_shape"
REQUESTS = "test_odd_requests_are_no_bug"
ARRANGED = "test_it_works_alone_fused_and_behind_a_foreign_layer"
NEEDS = "test_its_declared_needs_match_its_hooks"
SAYS_SO = "test_it_changes_events_only_if_it_says_so"
EVERY_HOME = "test_on_finish_runs_once_in_every_home"

BROKEN: list[tuple[type[Plugin], set[str]]] = [
    (SettlesItself, {ONCE, CANCEL, EVERY_HOME}),
    (ForgetsThatRequestsEndEarly, {NO_RAISE, CANCEL}),
    (NeedsItsRequestToTheEnd, {CANCEL}),
    (SwallowsCancellation, {CANCEL}),
    (Buffers, {FIRST}),
    (WritesEventsAgain, {EVENT_BYTES}),
    (WritesTheBodyAgain, {BODY_BYTES}),
    (WritesMoreThanItChanges, {BODY_BYTES}),
    (ObserverThatEditsTheBody, {OBSERVER}),
    (ObserverThatSetsAHeader, {OBSERVER}),
    (ObserverThatChangesTheEventItself, {OBSERVER}),
    (TrustsAnswers, {ANSWERS, NO_RAISE}),
    (TrustsRequests, {REQUESTS}),
    (CountsOnItself, {CONCURRENT}),
    (RemembersTheLastRequest, {CONCURRENT}),
    (LeansOnNeighbours, {ARRANGED}),
    (ReadsEventsForNothing, {NEEDS}),
    (ReadsTheBodyForNothing, {NEEDS}),
    (AddsWithoutSayingSo, {NEEDS}),
    (DropsWithoutSayingSo, {SAYS_SO}),
    (RefusesByAnException, {REFUSAL}),
    (RefusesInAShapeOfItsOwn, {REFUSAL}),
    (RefusesWithSuccess, {REFUSAL}),
    (LetsEverythingThrough, {REFUSAL}),
]


def names_of(contract: PluginContract) -> list[str]:
    return [name for name in dir(contract) if name.startswith("test_")]


async def failures(contract: PluginContract) -> set[str]:
    """The tests that fail."""
    reasons = {}
    for name in names_of(contract):
        try:
            await getattr(contract, name)()
        except AssertionError as error:
            reasons[name] = str(error)
    assert all(reasons.values()), "a failing test must say why"
    return set(reasons)


def contract_of(make: type[Plugin], *, refuses: bool) -> PluginContract:
    class Contract(PluginContract):
        def make_plugin(self) -> Plugin:
            return make()

        def refused_request(self) -> Mapping[str, Any] | None:
            return {**self.accepted_request(), "headers": {"x-refuse": "1"}} if refuses else None

    return Contract()


@pytest.mark.parametrize(("plugin", "expected"), BROKEN, ids=lambda value: getattr(value, "__name__", ""))
async def test_a_broken_plugin_fails_just_what_it_breaks(plugin: type[Plugin], expected: set[str]) -> None:
    assert await failures(contract_of(plugin, refuses=REFUSAL in expected)) == expected


@pytest.mark.parametrize(
    ("plugin", "expected"), [(OpensOnce, OPEN), (CannotClose, OPEN), (RefusesEverything, ACCEPTED)]
)
async def test_a_plugin_that_never_gets_to_work_fails_with_a_reason(plugin: type[Plugin], expected: str) -> None:
    assert expected in await failures(contract_of(plugin, refuses=False))


@pytest.mark.parametrize(("named", "expected"), [("x-seen", set()), ("x-other", {OBSERVER})])
async def test_a_header_that_an_observer_sets_must_be_named(named: str, expected: set[str]) -> None:
    contract = contract_of(ObserverThatSetsAHeader, refuses=False)
    contract.sets_headers = frozenset({named})
    assert await failures(contract) == expected


async def test_the_base_of_the_broken_ones_is_good() -> None:
    assert await failures(contract_of(Good, refuses=False)) == set()


def test_every_test_of_the_suite_has_a_plugin_that_fails_it() -> None:
    provoked = set().union(*(expected for _, expected in BROKEN)) | {OPEN, ACCEPTED}
    answering = {name for name in dir(Answers) if name.startswith("test_")}  # test_answering_contract.py has those
    assert set(names_of(PluginContract())) == provoked | answering


async def test_a_contract_without_a_plugin_says_what_is_missing() -> None:
    with pytest.raises(NotImplementedError, match="make_plugin"):
        await PluginContract().test_it_opens_and_closes_twice()
