"""What counting costs: StreamUsage, Usage and Metrics against a plugin that rewrites nothing, without a server."""

import asyncio
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Principal
from crplugins.core.sse import Event
from crplugins.core.usage import Price
from crplugins.plugins.metrics.plugin import Metrics
from crplugins.plugins.missing_usage import MissingUsage
from crplugins.plugins.stream_usage import StreamUsage
from crplugins.plugins.usage import Usage
from crplugins.testing.asgi import http_scope

CHUNKS = 200
ROUNDS = 15
BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}'
CHUNK = (
    b'data: {"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion.chunk","created":1741569952,'
    b'"model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,'
    b'"delta":{"content":" Hello"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"1ab3Dfk"}\n\n'
)
STOP = CHUNK.replace(b'{"content":" Hello"}', b"{}").replace(b'"finish_reason":null', b'"finish_reason":"stop"')
USAGE = (
    b'data: {"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":200,'
    b'"total_tokens":209,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}\n\n'
)
HEADERS = [(b"content-type", b"text/event-stream")]


class Rewriting(Plugin):
    """Reads and could rewrite, as any plugin of a gateway does."""

    reads_body = True
    rewrites_events = True

    async def on_request(self, exchange: Exchange) -> None:
        exchange.principal = _PRINCIPAL
        exchange.price = _PRICE
        assert exchange.body is not None
        exchange.body.get("model", str)

    def on_event(self, exchange: Exchange, event: Event) -> Event:
        return event


_PRINCIPAL = Principal("team-a", team="search")
_PRICE = Price(150_000, 600_000)


def _app(chunks: int) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        for _ in range(chunks):
            await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
        await send({"type": "http.response.body", "body": STOP, "more_body": True})
        await send({"type": "http.response.body", "body": USAGE, "more_body": True})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})

    return app


async def _receive() -> dict[str, Any]:
    return {"type": "http.request", "body": BODY, "more_body": False}


async def _send(_message: Any) -> None:
    pass


async def _seconds(app: PluginMiddleware, count: int) -> float:
    """CPU seconds per request."""
    began = time.process_time()
    for _ in range(count):
        await app(http_scope("POST", "/v1/chat/completions", {}), _receive, _send)
    return (time.process_time() - began) / count


async def _difference(subject: Sequence[Plugin], chunks: int, count: int) -> float:
    """Microseconds that the plugins add to a request of so many chunks, the median of interleaved rounds."""
    apps = [PluginMiddleware(_app(chunks), plugins=plugins) for plugins in ([Rewriting()], [*subject, Rewriting()])]
    for app in apps:
        await _seconds(app, count)
    rounds = [[await _seconds(app, count) for app in apps] for _ in range(ROUNDS)]
    return statistics.median(metered - bare for bare, metered in rounds) * 1e6


def _sets() -> Iterator[tuple[str, list[Plugin]]]:
    yield "StreamUsage + Usage + Metrics", [Metrics(["m"], ["team-a"]), Usage(sinks=[id]), StreamUsage()]
    yield "StreamUsage", [StreamUsage()]
    yield "Usage", [Usage(sinks=[id])]
    yield "Metrics", [Metrics(["m"], ["team-a"])]
    yield "MissingUsage", [MissingUsage()]


async def _run() -> None:
    for name, plugins in _sets():
        short = await _difference(plugins, 0, 300)
        long = await _difference(plugins, CHUNKS, 15)
        print(f"{name:46} {short:6.1f} us per request  {(long - short) / CHUNKS:6.2f} us per chunk", flush=True)


def metering() -> None:
    asyncio.run(_run())
