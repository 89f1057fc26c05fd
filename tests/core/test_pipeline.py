import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from crplugins.asgi.scope import make_exchange
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, Reply
from crplugins.core.pipeline import Pipeline, Run
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


def run_of(exchange: Exchange, entered: int, *plugins: Plugin) -> Run:
    """A run in which the first `entered` plugins have had their `on_request`."""
    run = Run(pipeline(*plugins), exchange)
    run.entered = entered
    return run


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
    run = run_of(exchange, 2, Watcher(log, "a"), Watcher(log, "b"), Watcher(log, "c"))
    run.response()
    run.event(EVENT)
    run.finish()
    assert log == ["b.on_response", "a.on_response", "b.on_event", "a.on_event", "b.on_finish", "a.on_finish"]


def test_a_plugin_that_reads_no_chunks_is_shown_the_document_of_an_answer_and_the_end_of_a_stream(
    exchange: Exchange,
) -> None:
    log: list[str] = []
    plugin = Adder(log, "a")
    plugin.reads_chunks = False
    run = run_of(exchange, 1, plugin)
    assert run.event(EVENT) is EVENT
    assert [event.data for event in run.end()] == [b"a"]
    assert log == []
    run.event(Event.json_document(b"{}"))
    assert log == ["a.on_event"]


def test_each_text_is_read_where_one_plugin_that_is_shown_chunks_reads_them(exchange: Exchange) -> None:
    def plugins(*, first: bool, second: bool, chunks: bool = True) -> Pipeline:
        one, two = Watcher(), Watcher()
        one.reads_texts, two.reads_texts, two.reads_chunks = first, second, chunks
        return pipeline(one, two)

    assert plugins(first=False, second=True).reads_texts
    assert not plugins(first=False, second=False).reads_texts
    assert not plugins(first=False, second=True, chunks=False).reads_texts


def test_an_observer_cannot_change_or_drop_an_event(exchange: Exchange) -> None:
    class Forgetful(Watcher):
        def on_event(self, exchange: Exchange, event: Event) -> None:
            return None

    assert run_of(exchange, 1, Forgetful()).event(EVENT) is EVENT


def test_plugins_further_out_see_the_changed_event(exchange: Exchange) -> None:
    outer, inner = Watcher(), Watcher()
    assert run_of(exchange, 3, outer, Upper(), inner).event(EVENT).data == b"X"
    assert inner.events == [EVENT]
    assert [event.data for event in outer.events] == [b"X"]


def test_plugins_further_out_do_not_see_a_dropped_event(exchange: Exchange) -> None:
    outer = Watcher()
    assert run_of(exchange, 2, outer, Dropper()).event(EVENT) is None
    assert outer.events == []


def test_added_events_pass_only_the_plugins_further_out(exchange: Exchange) -> None:
    outer, inner = Upper(), Watcher()
    added = run_of(exchange, 3, outer, Adder(label="b"), inner).end()
    assert [event.data for event in added] == [b"B"]
    assert inner.events == []


def test_added_events_come_inside_out_and_only_from_the_entered(exchange: Exchange) -> None:
    run = run_of(exchange, 2, Adder(label="a"), Adder(label="b"), Adder(label="c"))
    assert [event.data for event in run.end()] == [b"b", b"a"]


def test_an_observer_adds_nothing(exchange: Exchange) -> None:
    class Pushy(Watcher):
        def on_end(self, exchange: Exchange) -> Iterable[Event]:
            return [EVENT]

    assert run_of(exchange, 1, Pushy()).end() == []


@pytest.mark.parametrize("hook", ["on_response", "on_event"])
def test_a_failing_observer_is_logged_counted_and_muted(
    exchange: Exchange, hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    watcher = failing(hook, observes=True)()
    run = run_of(exchange, 1, watcher)
    run.response()
    for _ in range(3):
        assert run.event(EVENT) is EVENT
    assert run.pipeline.faults == {(watcher.name, hook): 1}
    assert [record.getMessage() for record in caplog.records] == [f"{watcher.name}.{hook} failed"]
    assert caplog.records[0].exc_info[0] is LookupError
    assert watcher.log.count("w.on_event") == (1 if hook == "on_event" else 0)


def test_muting_ends_with_the_request(exchange: Exchange, caplog: pytest.LogCaptureFixture) -> None:
    watcher = failing("on_event", observes=True)()
    pipe = pipeline(watcher)
    for _ in range(2):
        run = Run(pipe, exchange)
        run.entered = 1
        run.event(EVENT)
    assert len(watcher.log) == 2


def test_a_muted_observer_still_finishes(exchange: Exchange) -> None:
    watcher = failing("on_event", observes=True)()
    run = run_of(exchange, 1, watcher)
    run.event(EVENT)
    run.finish()
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
    run = run_of(exchange, 2, outer, inner)
    for _ in range(2):
        run.event(EVENT)
    assert list(map(id, calls)) == list(map(id, [inner, outer, outer]))


def test_an_observer_cannot_refuse_on_the_way_out(exchange: Exchange) -> None:
    run = run_of(exchange, 1, failing("on_event", GatewayError(400, "no"), observes=True)())
    assert run.event(EVENT) is EVENT


@pytest.mark.parametrize("hook", ["on_response", "on_event", "on_end"])
def test_a_bug_in_a_plugin_that_decides_is_our_500(exchange: Exchange, hook: str) -> None:
    run = run_of(exchange, 1, failing(hook, base=Rewriter)())
    calls = {
        "on_response": run.response,
        "on_event": lambda: run.event(EVENT),
        "on_end": run.end,
    }
    with pytest.raises(GatewayError) as error:
        calls[hook]()
    assert error.value.status == 500
    assert "bug" not in error.value.error.message
    assert sum(run.pipeline.faults.values()) == 1


def test_a_refusal_on_the_way_out_is_no_fault(exchange: Exchange) -> None:
    run = run_of(exchange, 1, failing("on_event", GatewayError(403, "no"))())
    with pytest.raises(GatewayError, match="no"):
        run.event(EVENT)
    assert not run.pipeline.faults


def test_a_failing_finish_keeps_nobody_from_finishing(exchange: Exchange, caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []
    run = run_of(exchange, 3, Watcher(log, "a"), failing("on_finish")(log, "b"), Watcher(log, "c"))
    run.finish()
    assert finishes(log) == ["c", "b", "a"]
    assert list(run.pipeline.faults.values()) == [1]
    assert caplog.records[0].levelno == logging.ERROR


def test_only_overridden_hooks_are_called(exchange: Exchange) -> None:
    class Silent(Plugin):
        reads_events = True

    plugin = Silent()
    for hook in ("on_response", "on_event", "on_end", "on_finish"):
        setattr(plugin, hook, lambda *_: pytest.fail("called"))
    run = run_of(exchange, 1, plugin)
    run.response()
    run.event(EVENT)
    run.end()
    run.finish()


class Sized(Plugin):
    reads_usage = True


def test_a_plugin_that_reads_usage_has_the_body_read_behind_all_plugins_and_the_answer_too() -> None:
    pipe = pipeline(Sized(), Plugin())
    assert (pipe.reads_body_at, pipe.reads_events, pipe.rewrites_events) == (2, True, False)
    assert pipeline(Sized(), Plugin(), Reader()).reads_body_at == 2


@pytest.mark.parametrize("plugins", [(Sized(), Plugin()), (Plugin(), Reader(), Plugin())])
async def test_the_body_is_read_once_on_the_way_down(exchange: Exchange, plugins: tuple[Plugin, ...]) -> None:
    reads: list[int] = []
    run = Run(pipeline(*plugins), exchange)

    async def read_body() -> None:
        reads.append(run.entered)

    assert await run.down(read_body) is None
    assert reads == [run.pipeline.reads_body_at]
    assert run.entered == len(plugins)


async def test_a_reply_ends_the_way_down(exchange: Exchange) -> None:
    class Answering(Plugin):
        async def on_request(self, exchange: Exchange) -> None:
            exchange.reply = Reply(200, [], b"{}")

    inner = Watcher()
    run = Run(pipeline(Watcher(), Answering(), inner), exchange)
    assert await run.down() is exchange.reply
    assert (run.entered, inner.log) == (2, [])


async def test_a_hook_may_be_a_plain_function_or_wait(exchange: Exchange) -> None:
    log: list[str] = []

    class Plain(Plugin):
        def on_request(self, exchange: Exchange) -> None:
            log.append("plain")

    class Waiting(Plugin):
        async def on_request(self, exchange: Exchange) -> None:
            await asyncio.sleep(0)
            log.append("waited")

    await Run(pipeline(Waiting(), Plain(), Waiting()), exchange).down()
    assert log == ["waited", "plain", "waited"]


class Refusing(Plugin):
    def on_request(self, exchange: Exchange) -> None:
        raise GatewayError(403, "no")


class RefusingLater(Plugin):
    async def on_request(self, exchange: Exchange) -> None:
        raise GatewayError(403, "no")


@pytest.mark.parametrize("refusing", [Refusing, RefusingLater])
async def test_a_plugin_that_has_no_on_request_is_entered_with_the_next_one(
    exchange: Exchange, refusing: type[Plugin]
) -> None:
    run = Run(pipeline(Plugin(), refusing(), Plugin()), exchange)
    with pytest.raises(GatewayError):
        await run.down()
    assert run.entered == 2
    run = Run(pipeline(Plugin(), Plugin()), exchange)
    await run.down()
    assert run.entered == 2


async def test_on_finish_is_run_once_however_often_a_home_says_so(exchange: Exchange) -> None:
    watcher = Watcher()
    run = Run(pipeline(watcher), exchange)
    await run.down()
    run.finish()
    run.finish()
    assert finishes(watcher.log) == ["w"]


def test_the_first_word_on_how_a_request_ended_is_the_last(exchange: Exchange) -> None:
    run = Run(pipeline(Plugin()), exchange)
    run.conclude(200)
    run.conclude(None, left=True)
    assert (exchange.status, exchange.outcome, exchange.error_type) == (200, "ok", "")


LIMITED = GatewayError(429, "Slow down.", error_type="rate_limited")
BROKEN = GatewayError(502, "Cut.", error_type="upstream_stream_broken")


@pytest.mark.parametrize(
    ("status", "options", "recorded"),
    [
        (200, {}, (200, "", "ok")),
        (404, {}, (404, "upstream_4xx", "client_error")),
        (429, {}, (429, "upstream_429", "server_error")),
        (503, {}, (503, "upstream_5xx", "server_error")),
        (None, {}, (500, "internal", "server_error")),
        (None, {"left": True}, (499, "client_disconnected", "cancelled")),
        (200, {"left": True}, (200, "client_disconnected", "cancelled")),
        (200, {"complete": False}, (200, "upstream_stream_broken", "server_error")),
        (429, {"error": LIMITED}, (429, "rate_limited", "limited")),
        (200, {"error": LIMITED}, (200, "upstream_stream_broken", "server_error")),
        (200, {"error": BROKEN}, (200, "upstream_stream_broken", "server_error")),
        (200, {"error": LIMITED, "left": True}, (200, "client_disconnected", "cancelled")),
    ],
)
def test_every_home_ends_a_request_by_one_rule(
    exchange: Exchange, status: int | None, options: dict[str, Any], recorded: tuple[object, ...]
) -> None:
    Run(pipeline(Plugin()), exchange).conclude(status, **options)
    assert (exchange.status, exchange.error_type, exchange.outcome) == recorded
    assert exchange.timings.ended is not None


async def test_a_run_that_waits_for_its_provider_does_not_finish_before(exchange: Exchange) -> None:
    watcher = Watcher()
    run = Run(pipeline(watcher), exchange)
    await run.down()
    run.waits = True
    await run.ended()
    run.finish()
    assert finishes(watcher.log) == []
    run.waits = False
    run.conclude(200)
    run.finish()
    assert finishes(watcher.log) == ["w"]
