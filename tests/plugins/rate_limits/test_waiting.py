"""RateLimits with a queue: what a client sees that has to wait, and what becomes of it. Time is virtual."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Limits, Queue
from crplugins.keys.inline import InlineKeys
from crplugins.limits.memory import MemoryStore
from crplugins.metering.record import UsageRecord
from crplugins.plugins.auth import Auth
from crplugins.plugins.rate_limits.plugin import RateLimits
from crplugins.plugins.rate_limits.rules import LimitRules
from crplugins.plugins.usage import Usage
from crplugins.testing import Drive, lifespan
from crplugins.testing.answer import Answer
from tests.core.doubles import App
from tests.limits.virtual_time import clock, run
from tests.plugins.limits_setup import HI, Caller, using

ONE_A_SECOND = Limits(requests_per_minute=60, burst={"requests_per_minute": 1})
QUEUE = Queue(10, 100)
BODY = {"model": "m", "messages": HI}


def limiting(rules: LimitRules = LimitRules(queue=QUEUE)) -> RateLimits:  # noqa: B008  # frozen
    return RateLimits(rules, store=MemoryStore(clock=clock))


async def ask(stack: PluginMiddleware, **body: Any) -> Answer:
    async with Drive(stack, body={**BODY, **body}) as call:
        return await call.finish(within=3600)


def now() -> float:
    return asyncio.get_running_loop().time()


def in_time(main: Any, plugins: Sequence[Plugin], app: Any = None) -> Any:
    async def test() -> Any:
        stack = PluginMiddleware(App() if app is None else app, plugins=plugins)
        async with lifespan(stack):
            return await main(stack)

    return run(test())


def test_a_request_that_waits_is_answered_and_told_its_place() -> None:
    limits = limiting()

    async def main(stack: PluginMiddleware) -> None:
        answers = await asyncio.gather(*[ask(stack) for _ in range(4)])
        assert [answer.status for answer in answers] == [200] * 4
        assert [answer.headers.get("x-crplugins-queue-position") for answer in answers] == [None, "1", "2", "3"]
        assert now() == pytest.approx(3.0, abs=0.02)
        assert answers[3].headers["x-ratelimit-remaining-requests"] == "0"

    in_time(main, [Caller(limits=ONE_A_SECOND), limits])


def test_without_a_queue_a_refusal_is_what_it_was() -> None:
    async def main(stack: PluginMiddleware) -> None:
        await ask(stack)
        refused = await ask(stack)
        assert (refused.status, refused.headers["retry-after-ms"], now()) == (429, "1000", 0.0)
        assert "x-crplugins-queue-position" not in refused.headers

    in_time(main, [Caller(limits=ONE_A_SECOND), limiting(LimitRules())])


def test_who_is_refused_all_the_same_gets_openais_429_and_when_to_come_again() -> None:
    async def main(stack: PluginMiddleware) -> None:
        answers = await asyncio.gather(*[ask(stack) for _ in range(12)])
        refused = [answer for answer in answers if answer.status != 200]
        assert len(refused) == 2
        for answer in refused:
            assert (answer.status, answer.headers["retry-after"]) == (429, "10")
            assert answer.headers["x-crplugins-queue-position"] == "10"
            assert answer.json()["error"]["message"] == (
                "Rate limit reached for m in organization team-a on requests per min (RPM): Limit 60, Burst 1, Used 1, "
                "Requested 1. Please try again in 10s."
            )

    in_time(main, [Caller(limits=ONE_A_SECOND), limiting()])


class Slow(App):
    """Takes a second, or a minute for a client that says so."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await asyncio.sleep(1)
        await super().__call__(scope, receive, send)


def test_requests_at_once_wait_for_one_another() -> None:
    async def main(stack: PluginMiddleware) -> None:
        answers = await asyncio.gather(*[ask(stack) for _ in range(6)])
        assert [answer.status for answer in answers] == [200] * 6
        assert now() == 3.0

    in_time(main, [Caller(limits=Limits(max_parallel_requests=2)), limiting()], Slow())


def test_the_deadline_is_a_429() -> None:
    async def main(stack: PluginMiddleware) -> None:
        first = asyncio.create_task(ask(stack))
        await asyncio.sleep(0)
        refused = await ask(stack)
        assert (refused.status, refused.headers["retry-after"], now()) == (429, "1", 0.5)
        assert "parallel requests" in refused.json()["error"]["message"]
        await first

    rules = LimitRules(queue=Queue(0.5, 10))
    in_time(main, [Caller(limits=Limits(max_parallel_requests=1)), limiting(rules)], Slow())


def test_a_client_that_disconnects_gives_up_its_place_at_once_and_leaves_a_record() -> None:
    records: list[UsageRecord] = []
    limits = limiting()

    async def main(stack: PluginMiddleware) -> None:
        await ask(stack)
        async with Drive(stack, body=BODY) as call:
            await asyncio.sleep(0.5)
            assert limits.reservations.queues.lengths == {"key": 1}
            call.disconnect()
            await call.finish()
            assert (call.sent, call.sent_too_late, now()) == ([], [], 0.5)
        assert not limits.reservations.queues.waiting
        assert [(record.status, record.error_type, record.outcome) for record in records] == [
            (200, "", "ok"),
            (499, "client_disconnected", "cancelled"),
        ]

    in_time(main, [Caller(limits=ONE_A_SECOND), Usage(sinks=[records.append]), limits])


def test_a_server_that_cancels_a_request_frees_its_place() -> None:
    limits = limiting()

    async def main(stack: PluginMiddleware) -> None:
        await ask(stack)
        async with Drive(stack, body=BODY) as call:
            await asyncio.sleep(0.5)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call.finish()
        assert not limits.reservations.queues.waiting

    in_time(main, [Caller(limits=ONE_A_SECOND), limits])


def test_a_key_that_is_disabled_or_expires_while_it_waits_is_refused_and_takes_nothing() -> None:
    words = {"id": "a", "secret": "sk-a", "limits": {"requests_per_minute": 60, "burst": {"requests_per_minute": 1}}}
    moment = [datetime(2026, 1, 1, tzinfo=UTC)]
    auth = Auth([{**words, "expires": "2026-06-01"}], now=lambda: moment[0])
    limits = limiting()

    async def main(stack: PluginMiddleware) -> None:
        async def ask_with_key() -> Answer:
            async with Drive(stack, body=BODY, headers={"authorization": "Bearer sk-a"}) as call:
                return await call.finish()

        await ask_with_key()
        waits = asyncio.create_task(ask_with_key())
        await asyncio.sleep(0.5)
        moment[0] = datetime(2026, 7, 1, tzinfo=UTC)
        refused = await waits
        assert (refused.status, refused.json()["error"]["code"]) == (401, "invalid_api_key")
        assert isinstance(auth.source, InlineKeys)
        [level] = await limits.levels_of(auth.source.keys[0].principal)
        assert level.used == 0

    in_time(main, [auth, limits])


def test_a_limit_in_shadow_mode_lets_nobody_wait() -> None:
    limits = limiting()

    async def main(stack: PluginMiddleware) -> None:
        for _ in range(3):
            answer = await ask(stack)
            assert (answer.status, "x-crplugins-queue-position" in answer.headers, now()) == (200, False, 0.0)
        assert limits.shadowed == {"rate_limited": 2}

    in_time(main, [Caller(limits=replace(ONE_A_SECOND, shadow=True)), limits])


def test_a_set_of_limits_has_its_own_queue_or_none() -> None:
    async def main(stack: PluginMiddleware) -> None:
        await ask(stack)
        assert ((await ask(stack)).status, now()) == (429, 0.0)

    in_time(main, [Caller(limits=replace(ONE_A_SECOND, queue=Queue(10, 0))), limiting()])

    async def waits(stack: PluginMiddleware) -> None:
        await ask(stack)
        assert (await ask(stack)).status == 200

    in_time(waits, [Caller(limits=replace(ONE_A_SECOND, queue=QUEUE)), limiting(LimitRules())])


def test_a_session_that_has_used_all_it_may_does_not_wait() -> None:
    from crplugins.plugins.rate_limits.rules import SessionLimits

    async def main(stack: PluginMiddleware) -> None:
        for status in (200, 403):
            async with Drive(stack, body=BODY, headers={"x-session-id": "s"}) as call:
                answer = await call.finish()
            assert (answer.status, now()) == (status, 0.0)

    in_time(main, [Caller(), limiting(LimitRules(per_session=SessionLimits(requests=1), queue=QUEUE))])


class TwoKeys(Plugin):
    """Stands for Auth: the key is the header `x-key`, its weight and limits are given."""

    def __init__(self, **principals: Any) -> None:
        self._principals = principals

    def on_request(self, exchange: Any) -> None:
        exchange.principal = self._principals[exchange.header(b"x-key")]


def test_weights_hold_though_only_one_of_the_keys_has_a_limit_of_tokens() -> None:
    """Both wait for a shared limit of requests. Counted as one each, the other would be served by the thousand."""
    from crplugins.core.principal import Principal

    keys = {
        "a": Principal("a", limits=Limits(tokens_per_day=10**9)),
        "b": Principal("b", limits=Limits(requests_per_day=10**9)),
    }
    order: list[str] = []
    rules = LimitRules(overall=Limits(requests_per_minute=60, burst={"requests_per_minute": 1}), queue=Queue(60, 100))

    async def main(stack: PluginMiddleware) -> None:
        async def client(key: str) -> None:
            async with Drive(stack, body=BODY, headers={"x-key": key}) as call:
                assert (await call.finish(within=3600)).status == 200
                order.append(key)

        await asyncio.gather(*[client(key) for key in "ab" for _ in range(20)])
        assert abs(order[:20].count("a") - order[:20].count("b")) <= 2

    in_time(main, [TwoKeys(**keys), limiting(rules)])


def test_what_it_waited_is_no_overhead_of_the_gateways() -> None:
    records: list[UsageRecord] = []

    async def main(stack: PluginMiddleware) -> None:
        await asyncio.gather(ask(stack), ask(stack))

    async def on_its_clock() -> None:
        stack = PluginMiddleware(
            using(1, 1),
            plugins=[Caller(limits=ONE_A_SECOND), Usage(sinks=[records.append]), limiting()],
            clock=asyncio.get_running_loop().time,
        )
        async with lifespan(stack):
            await main(stack)

    run(on_its_clock())
    assert records[1].duration_ms == pytest.approx(1000, abs=20)
    assert records[1].overhead_us < 1000
