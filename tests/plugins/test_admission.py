"""Admission: so many requests at once and no more, a lower priority refused before a higher one."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.principal import PRIORITIES, Principal
from crplugins.plugins.admission import Admission, places_of
from crplugins.plugins.auth import Auth, InlineKey
from crplugins.plugins.usage import Usage
from crplugins.testing import PluginContract, drive
from tests.core.doubles import JSON, piece, start

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
ANSWER = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}]}'


class TestAdmission(PluginContract):
    def make_plugin(self) -> Plugin:
        return Admission(100)


class TestAdmissionWithoutABound(PluginContract):
    def make_plugin(self) -> Plugin:
        return Admission()


class Caller(Plugin):
    """The caller is whom the header `x-priority` says."""

    def on_request(self, exchange: Exchange) -> None:
        priority = exchange.header(b"x-priority")
        if priority:
            exchange.principal = Principal("k", priority=priority)  # type: ignore[arg-type]


class Machine:
    """An app that answers in turns: at each the requests that have waited longest, as many as it can."""

    def __init__(self, at_once: int = 10_000) -> None:
        self.at_once, self.turns, self.most = at_once, 0, 0
        self.waiting: list[asyncio.Future[None]] = []
        self.took: list[int] = []
        """How many turns each answer took, in the order in which they were given."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        came = self.turns
        self.waiting.append(turn)
        self.most = max(self.most, len(self.waiting))
        await turn
        self.took.append(self.turns - came)
        await send(start(content_type=JSON))
        await send(piece(ANSWER, more=False))

    async def turn(self) -> None:
        self.turns += 1
        now, self.waiting = self.waiting[: self.at_once], self.waiting[self.at_once :]
        for each in now:
            each.set_result(None)
        await settled()


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def ask(app: Any, priority: str = "") -> "asyncio.Task[Any]":
    headers = {"x-priority": priority} if priority else {}
    return asyncio.create_task(drive(app, body=CHAT, headers=headers))


async def statuses(app: Any, *priorities: str) -> list[int | None]:
    """Of requests that come one after the other, None for one that is being served."""
    tasks = []
    for priority in priorities:
        tasks.append(ask(app, priority))
        await settled()
    return [task.result().status if task.done() else None for task in tasks]


def guarded(admission: Admission, machine: Machine, *outside: Plugin) -> PluginMiddleware:
    return PluginMiddleware(machine, plugins=[*outside, Caller(), admission])


@given(st.integers(1, 5000), st.sets(st.sampled_from(PRIORITIES)))
def test_a_lower_priority_leaves_room_for_the_higher_ones_that_there_are_and_nobody_is_shut_out(most, known):
    places = places_of(most, known)
    assert list(places) == [*reversed(PRIORITIES)]
    assert places["high"] == most
    assert places["normal"] == most if "high" not in known else 1 <= places["normal"] <= max(0.9 * most, 1)
    assert 1 <= places["low"] <= places["normal"]
    if most >= len(PRIORITIES):
        ranked = [places[priority] for priority in PRIORITIES if priority in known]
        assert ranked == sorted(set(ranked)), "each has at least one place that the one below has not"


def test_of_a_hundred_places_low_fills_75_normal_90_and_high_all():
    assert places_of(100, PRIORITIES) == {"high": 100, "normal": 90, "low": 75}
    assert places_of(100, ["normal"]) == {"high": 100, "normal": 100, "low": 75}
    assert places_of(100, ["low"]) == {"high": 100, "normal": 100, "low": 100}
    assert places_of(1, PRIORITIES) == {"high": 1, "normal": 1, "low": 1}


async def test_of_a_thousand_requests_a_hundred_run_at_once_and_what_is_taken_is_as_fast_as_ever():
    async def offered(app: Any, machine: Machine) -> list[int]:
        tasks = []
        for _ in range(4):
            tasks += [ask(app) for _ in range(250)]
            await settled()
            await machine.turn()
        while machine.waiting:
            await machine.turn()
        return [task.result().status for task in tasks]

    machine, admission = Machine(at_once=100), Admission(100)
    found = await offered(guarded(admission, machine), machine)
    assert found == ([200] * 100 + [503] * 150) * 4  # the first that come, in their order
    assert machine.most == 100
    assert machine.took == [1] * 400, "each has waited as long as if nobody else had come"
    assert admission.in_flight == 0
    assert admission.shed == {"normal": 600}

    crowded = Machine(at_once=100)  # the same without it: nobody is refused, and most wait
    assert set(await offered(PluginMiddleware(crowded), crowded)) == {200}
    assert crowded.most == 700
    assert sorted(crowded.took)[990] == 7


async def test_when_it_fills_low_is_refused_first_then_normal_and_high_takes_the_room_that_was_kept():
    machine, admission = Machine(), Admission(4, known=lambda: PRIORITIES)
    app = guarded(admission, machine)
    async with admission:
        assert await statuses(app, "low", "low", "low") == [None, None, 503]
        assert await statuses(app, "normal", "normal") == [None, 503]
        assert await statuses(app, "high", "high") == [None, 503]
        assert admission.shed == {"low": 1, "normal": 1, "high": 1}
        await machine.turn()
        assert machine.took == [1] * 4  # what was taken has run to its end, whoever came after it
        assert await statuses(app, "low") == [None]
        await machine.turn()
    assert admission.in_flight == 0


async def test_room_is_kept_for_a_priority_from_its_first_request_on():
    machine, admission = Machine(), Admission(2)
    app = guarded(admission, machine)
    assert await statuses(app, "normal", "normal", "high") == [None, None, 503]
    await machine.turn()
    assert await statuses(app, "normal", "normal", "high") == [None, 503, None]
    await machine.turn()


async def test_the_refusal_says_what_is_full_and_spreads_those_who_come_again():
    machine = Machine()
    app = guarded(Admission(1, jitter=lambda: 0.25), machine)
    assert await statuses(app, "low") == [None]
    refused = await drive(app, body=CHAT, headers={"x-priority": "low"})
    assert (refused.status, refused.json()) == (
        503,
        {
            "error": {
                "message": "The server is full: 1 requests are in flight, and it takes no more of priority 'low' "
                "(server.max_in_flight: 1). Please try again in 1.2s.",
                "type": "server_error",
                "param": None,
                "code": "server_full",
            }
        },
    )
    assert (refused.headers["retry-after"], refused.headers["retry-after-ms"]) == ("2", "1250")
    await machine.turn()


async def test_a_flood_without_keys_takes_no_place_and_what_is_refused_is_not_read_and_leaves_a_record():
    records: list[Any] = []
    machine, admission = Machine(), Admission(1)
    plugins = [Auth([InlineKey("team-a", "sk-a")]), Usage(sinks=[records.append]), admission]
    app = PluginMiddleware(machine, plugins=plugins)
    flood = [asyncio.create_task(drive(app, body=CHAT, headers={"authorization": "Bearer sk-x"})) for _ in range(50)]
    mine = asyncio.create_task(drive(app, body=CHAT, headers={"authorization": "Bearer sk-a"}))
    await asyncio.wait(flood)
    assert {task.result().status for task in flood} == {401}
    assert admission.in_flight == 1
    assert (await drive(app, body=CHAT, headers={"authorization": "Bearer sk-a"})).status == 503
    await machine.turn()
    assert (await mine).status == 200
    assert [(record.key_id, record.status, record.error_type) for record in records] == [
        ("team-a", 503, "overloaded"),
        ("team-a", 200, ""),
    ]
    assert records[0].requested_model is None, "its body was not read"


@pytest.mark.parametrize("ending", ["refused further in", "a bug", "left", "cancelled"])
async def test_a_place_is_given_back_however_a_request_ends(ending):
    machine, admission = Machine(), Admission(1)

    class Inner(Plugin):
        def on_request(self, exchange: Exchange) -> None:
            if ending == "refused further in":
                raise GatewayError(400, "no")
            if ending == "a bug":
                raise RuntimeError("bug")

    app = PluginMiddleware(machine, plugins=[admission, Inner()])
    task = ask(app)
    await settled()
    if ending in ("left", "cancelled"):
        assert admission.in_flight == 1
        task.cancel()
    await asyncio.wait([task])
    assert admission.in_flight == 0


async def test_a_process_that_ends_takes_nothing_more_and_what_runs_goes_on():
    machine, admission = Machine(), Admission(10)
    app = guarded(admission, machine)
    running = ask(app)
    await settled()
    app.drain()
    refused = await drive(app, body=CHAT)
    assert (refused.status, refused.json()["error"]["code"], refused.headers["retry-after"]) == (
        503, "server_shutdown", "1",
    )  # fmt: skip
    await machine.turn()
    assert json.loads((await running).body)["choices"]


async def test_a_plugin_that_fails_in_on_drain_keeps_no_other_from_it(caplog):
    class Fails(Plugin):
        def on_drain(self) -> None:
            raise RuntimeError("bug")

    admission = Admission()
    app = guarded(admission, Machine(), Fails())
    app.drain()
    assert app.faults == {("Fails", "on_drain"): 1}
    assert (await drive(app, body=CHAT)).status == 503
