"""What single plugins cost, without a server: the minimum of several batches, in microseconds."""

import contextlib
import time
import timeit
from collections.abc import Callable, Coroutine, Mapping

import msgspec

from crplugins.asgi.scope import make_exchange
from crplugins.core.body import Body
from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.sse import Event
from crplugins.plugins.aliases.plugin import ModelAliases
from crplugins.plugins.auth import Auth, InlineKey
from crplugins.plugins.guard.plugin import RequestGuard
from crplugins.testing.asgi import http_scope
from tests.bench.apps import EVENTS, KEY

MESSAGES = [{"role": "user", "content": "word " * 40}] * 90
BODY = msgspec.json.encode({"model": "fast", "messages": MESSAGES, "stream": True})


def _cost(call: Callable[[], object], count: int = 2000) -> float:
    return min(timeit.repeat(call, number=count, repeat=15)) / count * 1e6


def _exchange() -> Exchange:
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    exchange = make_exchange(http_scope("POST", "/v1/chat/completions", headers), time.monotonic, lambda: "id")
    exchange.body, exchange.requested_model = Body(BODY), "fast"
    exchange.body.get("model")
    return exchange


def _request(plugin: Plugin) -> float:
    """Microseconds of `on_request` on a 20 KB body that has been parsed."""
    exchange = _exchange()
    parsed = exchange.body
    assert parsed is not None

    def begin() -> None:
        exchange.body, exchange.slots = parsed.copy(), {}

    def run() -> None:
        begin()
        waiting = plugin.on_request(exchange)
        if isinstance(waiting, Coroutine):  # a key that is known is found without waiting
            with contextlib.suppress(StopIteration):
                waiting.send(None)

    return _cost(run) - _cost(begin)


def _chunk(plugin: Plugin) -> float:
    exchange = _exchange()
    plugin.on_request(exchange)
    event = Event(EVENTS[1], EVENTS[1][6:-2])
    return _cost(lambda: plugin.on_event(exchange, event))


def costs() -> Mapping[str, float]:
    """Microseconds by what is measured."""
    aliases = {"fast": "gpt-4o-mini", "gpt-3.5*": "gpt-4o-mini"}
    return {
        "Auth, a known key": _request(Auth([InlineKey("bench", KEY)])),
        f"RequestGuard, {len(BODY)} bytes": _request(RequestGuard()),
        f"ModelAliases, {len(BODY)} bytes": _request(ModelAliases(aliases=aliases)),
        "ModelAliases, a chunk": _chunk(ModelAliases(aliases=aliases)),
    }
