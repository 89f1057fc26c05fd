import asyncio
import re
import time

import pytest

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, Timings
from crplugins.core.plugin import Plugin
from crplugins.plugins.server_timing import ServerTiming
from crplugins.testing import FrozenClock, PluginContract, drive

CHAT = {"model": "m", "messages": []}
FORM = re.compile(r"gateway;dur=\d+\.\d\d(, upstream;dur=\d+\.\d\d)?")


class TestServerTiming(PluginContract):
    sets_headers = frozenset({"server-timing"})

    def make_plugin(self) -> Plugin:
        return ServerTiming()


class Takes(Plugin):
    """Takes its time before the app is called."""

    def __init__(self, clock, seconds):
        self.clock, self.seconds = clock, seconds

    async def on_request(self, exchange):
        self.clock.advance(self.seconds)


def app_that_takes(clock, seconds, *, attempts=(), headers=()):
    """An app with two pieces to its answer; before each of `attempts` that many seconds pass."""

    async def app(scope, receive, send):
        exchange = scope["crplugins.exchange"]
        for before in attempts:
            clock.advance(before)
            exchange.begin_attempt("p")
        clock.advance(seconds)
        await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
        clock.advance(100)
        await send({"type": "http.response.body", "body": b"{}", "more_body": False})

    return app


async def timing(app, *plugins, clock, **options):
    answer = await drive(PluginMiddleware(app, plugins=[ServerTiming(), *plugins], clock=clock), body=CHAT, **options)
    return [value for name, value in answer.header_list if name == "server-timing"]


@pytest.fixture
def clock():
    return FrozenClock()


async def test_the_time_of_a_foreign_app_is_the_upstreams(clock):
    found = await timing(app_that_takes(clock, 0.8123), Takes(clock, 0.0004), clock=clock)
    assert found == ["gateway;dur=0.40, upstream;dur=812.30"]


async def test_from_the_first_attempt_on_it_is_the_upstreams_retries_included(clock):
    found = await timing(app_that_takes(clock, 0.5, attempts=[0.1, 0.2]), clock=clock)
    assert found == ["gateway;dur=100.00, upstream;dur=700.00"]


async def test_a_refusal_names_no_upstream(clock):
    class Refuses(Plugin):
        async def on_request(self, exchange):
            clock.advance(0.001)
            raise GatewayError(429, "Slow down.")

    assert await timing(app_that_takes(clock, 1), Refuses(), clock=clock) == ["gateway;dur=1.00"]


async def test_the_apps_own_timings_are_kept(clock):
    app = app_that_takes(clock, 0, headers=[(b"server-timing", b"db;dur=5")])
    assert await timing(app, clock=clock) == ["db;dur=5", "gateway;dur=0.00, upstream;dur=0.00"]


async def test_other_paths_are_left_alone(clock):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}", "more_body": False})

    assert await timing(app, clock=clock, path="/v1/models") == []


async def test_a_stream_is_timed_to_its_status(serve):
    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        await asyncio.sleep(0.02)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})

    import aiohttp

    async with (
        serve(PluginMiddleware(app, plugins=[ServerTiming()])) as url,
        aiohttp.ClientSession() as session,
        session.post(f"{url}/v1/chat/completions", json=CHAT) as response,
    ):
        value = response.headers["server-timing"]
    assert FORM.fullmatch(value), value
    assert float(value.rpartition("=")[2]) >= 20


@pytest.mark.bench
def test_the_cost():
    exchange = Exchange("r", "POST", "/v1/chat/completions", [], None, time.monotonic, Timings(0.0, 0.1, 0.9))
    exchange.begin_attempt("p")
    plugin = ServerTiming()

    def once():
        start = time.perf_counter()
        for _ in range(5000):
            exchange.response_headers.clear()
            plugin.on_response(exchange)
        return (time.perf_counter() - start) / 5000 * 1e6

    print(f"ServerTiming: {min(once() for _ in range(9)):.2f} us")
