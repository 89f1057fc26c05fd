"""Every order of five of ours and four foreign ones: right on real sockets, or refused with a sentence that leads there.

On sockets some of the 1008 orders are driven, and all of them in a long run.
"""

import asyncio
import os
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai
import pytest
from opentelemetry.trace import SpanKind

from crplugins.config import ConfigError
from crplugins.testing import lifespan
from tests.homes.foreign_layers import (
    CHAT,
    FOREIGN,
    OURS,
    SECRET,
    Layers,
    Order,
    accepted_orders,
    host,
    neighbours_reversed,
    outside,
    refused,
)
from tests.homes.host_model import OUTPUT_TOKENS, PROMPT_TOKENS, HostModel
from tests.long import LONG, times

STEP = times(37, 1)
HELLO: Any = [{"role": "user", "content": "hi"}]
ORIGIN = {"origin": "https://page.example"}
PLUGINS = {"Metrics": "metrics", "MetricsPage": "metrics", "Auth": "auth", "Usage": "usage", "ModelAliases": "alias"}
PLUGINS |= {"RateLimits": "limits"}
CLASSES = {"GZipMiddleware": "gzip", "CORSMiddleware": "cors", "SessionMiddleware": "session"}
CLASSES |= {"OpenTelemetryMiddleware": "otel"}
ADVICE = re.compile(
    r"(\w+) must stand outside (\w+), (?:because .*: move|and (\w+) is between them: move) (\w+) outside"
)


# When it is built.


def test_each_order_is_refused_exactly_if_it_is_wrong():
    """362,880 orders, of which a day sees a part. What is refused stays so, whatever is put around it."""
    bricks, built, dice = Layers().bricks(), 0, random.Random(os.urandom(8))

    def grow(app: Any, order: Order) -> None:
        nonlocal built
        for name in (*OURS, *FOREIGN):
            if name not in order and (LONG or len(order) < 3 or dice.random() < 0.5):
                outer = (name, *order)
                built += 1
                try:
                    grown = bricks[name](app)
                except ConfigError:
                    assert refused(outer), outer
                else:
                    assert not refused(outer), outer
                    grow(grown, outer)

    grow(host(HostModel()), ())
    assert built > times(1_000, 50_000)


def moved(order: Order, sentence: str) -> Order:
    """The order after what the sentence says first."""
    found = ADVICE.match(sentence)
    assert found, sentence
    assert sentence.endswith("What is added last with add_middleware stands outermost")
    mover = CLASSES[found[4]]
    rest = [name for name in order if name != mover]
    place = min(rest.index(name) for name in _named(found, order) if name in rest)
    return (*rest[:place], mover, *rest[place:])


def _named(found: re.Match[str], order: Order) -> list[str]:
    return [{**PLUGINS, **CLASSES}[found[1]], {**PLUGINS, **CLASSES}[found[2]]]


@pytest.mark.parametrize(
    "order",
    [
        (*OURS[::-1], *FOREIGN),
        ("limits", "gzip", "alias", "session", "usage", "otel", "auth", "cors", "metrics"),
        ("alias", "otel", "session", "metrics", "gzip", "usage", "cors", "limits", "auth"),
        ("auth", "cors", "limits", "session", "metrics", "otel", "usage", "gzip", "alias"),
    ],
    ids="-".join,
)
def test_who_does_what_the_sentences_say_arrives_at_an_order_that_is_right(order):
    layers = Layers()
    for _ in range(20):
        try:
            layers.around(host(HostModel()), order)
        except ConfigError as error:
            order = moved(order, str(error))
        else:
            assert not refused(order)
            return
    pytest.fail(f"no end of sentences; the last order was {order}")


# On sockets.


class Swapped:
    """An ASGI app whose inside is put in afterwards: one server for all orders."""

    app: Any = None

    def __init__(self) -> None:
        self._running = 0
        self._idle = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        self._running += 1
        self._idle.clear()
        try:
            await self.app(scope, receive, send)
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    async def over(self) -> None:
        """No request is running: a client has its last byte before the layers have noted it."""
        async with asyncio.timeout(60):
            await self._idle.wait()


class Rig:
    """A server, its clients, and the order that runs there."""

    def __init__(self, url: str, swapped: Swapped, ai: openai.AsyncOpenAI, http: httpx.AsyncClient) -> None:
        self.url, self.ai, self.http = url, ai, http
        self._swapped = swapped
        self.layers = Layers()
        self.model = HostModel()

    @asynccontextmanager
    async def running(self, order: Order) -> AsyncIterator[None]:
        self.layers.clear()
        self.model.asked.clear()
        self._swapped.app = self.layers.around(host(self.model), neighbours_reversed(order))
        async with lifespan(self._swapped.app):
            yield

    async def plain(self) -> httpx.Headers:
        raw = await self.ai.chat.completions.with_raw_response.create(model="fast", messages=HELLO)
        answer = raw.parse()
        assert (answer.model, answer.choices[0].message.content) == ("fast", "one two three")
        return raw.headers

    async def streamed(self) -> httpx.Headers:
        raw = await self.ai.chat.completions.with_raw_response.create(
            model="fast", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in raw.parse()]
        assert {chunk.model for chunk in chunks} == {"fast"}
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "one two three"
        assert chunks[-1].usage.completion_tokens == OUTPUT_TOKENS
        return raw.headers

    async def refused(self) -> httpx.Response:
        return await self.http.post(self.url + CHAT, json={"model": "fast", "messages": HELLO}, headers=ORIGIN)

    async def preflight(self) -> httpx.Response:
        asking = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        return await self.http.options(self.url + CHAT, headers=ORIGIN | asking)

    async def scraped(self) -> str:
        await self._swapped.over()
        text = (await self.http.get(self.url + "/metrics")).text
        await self._swapped.over()
        return text


@pytest.fixture
async def rig(serve, blockbuster):
    blockbuster.deactivate()  # what the foreign ones do on the event loop has code of ours further out on its stack
    swapped = Swapped()
    async with (
        serve(swapped, lifespan="off") as url,
        openai.AsyncOpenAI(base_url=url + "/v1", api_key=SECRET, max_retries=0, default_headers=ORIGIN) as ai,
        httpx.AsyncClient() as http,
    ):
        yield Rig(url, swapped, ai, http)


async def check(rig: Rig, order: Order) -> None:
    async with rig.running(order):
        answers = [await rig.plain(), await rig.streamed()]
        stranger, preflight = await rig.refused(), await rig.preflight()
        metrics = await rig.scraped()
    for headers in answers:
        assert len(headers.get_list("x-request-id")) == len(headers.get_list("set-cookie")) == 1
        assert headers["access-control-allow-origin"] == "*"
    assert [headers["x-ratelimit-remaining-requests"] for headers in answers] == ["49", "48"]
    if all(outside(order, "gzip", name) for name in OURS):
        assert answers[0]["content-encoding"] == "gzip"
    assert (stranger.status_code, stranger.headers["access-control-allow-origin"]) == (401, "*")
    assert (preflight.status_code, preflight.text) == (200, "OK")
    assert [asked["model"] for asked in rig.model.asked] == ["llama"] * 2
    check_books(rig.layers.records, metrics)
    check_spans(rig.layers, order)


def check_books(records: list[Any], metrics: str) -> None:
    assert [(r.key_id, r.requested_model, r.served_model, r.usage_source) for r in records] == [
        ("team-a", "fast", "llama", "provider")
    ] * 2
    assert [(r.usage.input_tokens, r.usage.output_tokens) for r in records] == [(PROMPT_TOKENS, OUTPUT_TOKENS)] * 2
    assert counted(metrics, "crplugins_input_tokens_total") == [2 * PROMPT_TOKENS]
    assert counted(metrics, "crplugins_output_tokens_total") == [2 * OUTPUT_TOKENS]
    assert counted(metrics, "crplugins_requests_total", key="none") == [1]
    assert counted(metrics, "crplugins_requests_total") == [2]


def counted(metrics: str, name: str, *, key: str = "team-a") -> list[float]:
    """The series of a key that have counted something."""
    found = re.findall(rf'^{name}\{{[^}}]*key_id="{key}"[^}}]*\}} (\S+)$', metrics, re.MULTILINE)
    return sorted(float(number) for number in found if float(number))


def check_spans(layers: Layers, order: Order) -> None:
    """One for each request that comes as far as OpenTelemetry's middleware."""
    seen = ["POST", "POST"]
    seen += ["POST"] if outside(order, "otel", "auth") else []
    seen += ["OPTIONS"] if outside(order, "otel", "cors") else []
    seen += ["GET"] if outside(order, "otel", "metrics") else []
    assert sorted(span.attributes["http.method"] for span in layers.of_kind(SpanKind.SERVER)) == sorted(seen)


async def test_what_is_accepted_is_right_on_sockets(rig):
    orders = accepted_orders()
    assert len(orders) == 1008
    for order in orders[::STEP]:
        try:
            await check(rig, order)
        except Exception as error:
            raise AssertionError(f"outermost first: {', '.join(order)}") from error
