import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from crplugins.asgi.scope import make_exchange
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange
from crplugins.core.pipeline import Pipeline
from crplugins.core.plugin import Plugin
from crplugins.core.sse import Event
from crplugins.testing.asgi import http_scope
from tests.core.doubles import Reader, Rewriter, Watcher, failing, finishes

EVENT = Event.of(b"x")


@pytest.fixture
def exchange() -> Exchange:
    return make_exchange(http_scope("POST", "/v1/chat/completions"), lambda: 0.0, lambda: "id")


def pipeline(*plugins: Plugin) -> Pipeline:
    return Pipeline(plugins, Counter(), 1000)


class Upper(Rewriter):
    def on_event(self, exchange: Exchange, event: Event) -> Event:
        super().on_event(exchange, event)
        return event.with_data((event.data or b"").upper())


class Dropper(Rewriter):
    def on_event(self, exchange: Exchange, event: Event) -> None:
        super().on_event(exchange, event)


class Adder(Rewriter):
    def on_end(self, exchange: Exchange) -> Iterable[Event]:
        yield Event.of(self.label.encode())


def test_needs_are_summed_once() -> None:
    assert not pipeline(Plugin()).reads_events
    assert pipeline(Plugin(), Watcher()).reads_events
    assert not pipeline(Watcher()).rewrites_events
    assert pipeline(Watcher(), Rewriter()).rewrites_events


def test_the_body_is_read_for_the_first_plugin_that_needs_it() -> None:
    assert pipeline(Plugin(), Reader(), Reader()).reads_body_at == 1
    assert pipeline(Plugin()).reads_body_at is None


def test_the_response_comes_up_from_the_inside(exchange: Exchange) -> None:
    log: list[str] = []
    pipe = pipeline(Watcher(log, "a"), Watcher(log, "b"), Watcher(log, "c"))
    pipe.response(exchange, 2)
    pipe.event(exchange, EVENT, 2)
    pipe.finish(exchange, 2)
    assert log == ["b.on_response", "a.on_response", "b.on_event", "a.on_event", "b.on_finish", "a.on_finish"]


def test_an_observer_cannot_change_or_drop_an_event(exchange: Exchange) -> None:
    class Forgetful(Watcher):
        def on_event(self, exchange: Exchange, event: Event) -> None:
            return None

    assert pipeline(Forgetful()).event(exchange, EVENT, 1) is EVENT


def test_plugins_further_out_see_the_changed_event(exchange: Exchange) -> None:
    outer, inner = Watcher(), Watcher()
    assert pipeline(outer, Upper(), inner).event(exchange, EVENT, 3).data == b"X"
    assert inner.events == [EVENT]
    assert [event.data for event in outer.events] == [b"X"]


def test_plugins_further_out_do_not_see_a_dropped_event(exchange: Exchange) -> None:
    outer = Watcher()
    assert pipeline(outer, Dropper()).event(exchange, EVENT, 2) is None
    assert outer.events == []


def test_added_events_pass_only_the_plugins_further_out(exchange: Exchange) -> None:
    outer, inner = Upper(), Watcher()
    added = pipeline(outer, Adder(label="b"), inner).end(exchange, 3)
    assert [event.data for event in added] == [b"B"]
    assert inner.events == []


def test_added_events_come_inside_out_and_only_from_the_entered(exchange: Exchange) -> None:
    pipe = pipeline(Adder(label="a"), Adder(label="b"), Adder(label="c"))
    assert [event.data for event in pipe.end(exchange, 2)] == [b"b", b"a"]


def test_an_observer_adds_nothing(exchange: Exchange) -> None:
    class Pushy(Watcher):
        def on_end(self, exchange: Exchange) -> Iterable[Event]:
            return [EVENT]

    assert pipeline(Pushy()).end(exchange, 1) == []


@pytest.mark.parametrize("hook", ["on_response", "on_event"])
def test_a_failing_observer_is_logged_counted_and_muted(
    exchange: Exchange, hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    watcher = failing(hook, observes=True)()
    pipe = pipeline(watcher)
    pipe.response(exchange, 1)
    for _ in range(3):
        assert pipe.event(exchange, EVENT, 1) is EVENT
    assert pipe.faults == {(watcher.name, hook): 1}
    assert [record.getMessage() for record in caplog.records] == [f"{watcher.name}.{hook} failed"]
    assert caplog.records[0].exc_info[0] is LookupError
    assert watcher.log.count("w.on_event") == (1 if hook == "on_event" else 0)


def test_muting_ends_with_the_request(exchange: Exchange, caplog: pytest.LogCaptureFixture) -> None:
    watcher = failing("on_event", observes=True)()
    pipe = pipeline(watcher)
    pipe.event(exchange, EVENT, 1)
    pipe.event(make_exchange(http_scope("POST", "/"), lambda: 0.0, lambda: "id"), EVENT, 1)
    assert len(watcher.log) == 2


def test_a_muted_observer_still_finishes(exchange: Exchange) -> None:
    watcher = failing("on_event", observes=True)()
    pipe = pipeline(watcher)
    pipe.event(exchange, EVENT, 1)
    pipe.finish(exchange, 1)
    assert finishes(watcher.log) == ["w"]


@pytest.mark.parametrize("frozen", [True, False])
def test_muting_one_of_two_equal_plugins_leaves_the_other(exchange: Exchange, frozen: bool) -> None:
    calls: list[Plugin] = []

    @dataclass(frozen=frozen)
    class Equal(Plugin):
        reads_events = observes = True

        def on_event(self, exchange: Exchange, event: Event) -> Event:
            calls.append(self)
            if len(calls) == 1:
                raise LookupError
            return event

    outer, inner = Equal(), Equal()
    pipe = pipeline(outer, inner)
    for _ in range(2):
        pipe.event(exchange, EVENT, 2)
    assert list(map(id, calls)) == list(map(id, [inner, outer, outer]))


def test_an_observer_cannot_refuse_on_the_way_out(exchange: Exchange) -> None:
    pipe = pipeline(failing("on_event", GatewayError(400, "no"), observes=True)())
    assert pipe.event(exchange, EVENT, 1) is EVENT


@pytest.mark.parametrize("hook", ["on_response", "on_event", "on_end"])
def test_a_bug_in_a_plugin_that_decides_is_our_500(exchange: Exchange, hook: str) -> None:
    pipe = pipeline(failing(hook, base=Rewriter)())
    calls = {
        "on_response": lambda: pipe.response(exchange, 1),
        "on_event": lambda: pipe.event(exchange, EVENT, 1),
        "on_end": lambda: pipe.end(exchange, 1),
    }
    with pytest.raises(GatewayError) as error:
        calls[hook]()
    assert error.value.status == 500
    assert "bug" not in error.value.error.message
    assert sum(pipe.faults.values()) == 1


def test_a_refusal_on_the_way_out_is_no_fault(exchange: Exchange) -> None:
    pipe = pipeline(failing("on_event", GatewayError(403, "no"))())
    with pytest.raises(GatewayError, match="no"):
        pipe.event(exchange, EVENT, 1)
    assert not pipe.faults


def test_a_failing_finish_keeps_nobody_from_finishing(exchange: Exchange, caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []
    pipe = pipeline(Watcher(log, "a"), failing("on_finish")(log, "b"), Watcher(log, "c"))
    pipe.finish(exchange, 3)
    assert finishes(log) == ["c", "b", "a"]
    assert list(pipe.faults.values()) == [1]
    assert caplog.records[0].levelno == logging.ERROR


def test_only_overridden_hooks_are_called(exchange: Exchange) -> None:
    class Silent(Plugin):
        reads_events = True

    plugin = Silent()
    for hook in ("on_response", "on_event", "on_end", "on_finish"):
        setattr(plugin, hook, lambda *_: pytest.fail("called"))
    pipe = pipeline(plugin)
    pipe.response(exchange, 1)
    pipe.event(exchange, EVENT, 1)
    pipe.end(exchange, 1)
    pipe.finish(exchange, 1)
