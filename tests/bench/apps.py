"""The ASGI apps that are compared, each served by uvicorn in a process of its own: `tests.bench.apps:<name>`."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.sse import Event

CHUNKS = 200
PACE = 0.002
UPSTREAM = os.environ.get("BENCH_UPSTREAM", "http://127.0.0.1:1/v1")
KEY = "sk-bench"

_ENVELOPE = {"id": "chatcmpl-0000000000000001", "created": 1750000000, "model": "gpt-4o-mini-2024-07-18"}
_USAGE = {"prompt_tokens": 57, "completion_tokens": CHUNKS, "total_tokens": 57 + CHUNKS}


def _chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    body = {**_ENVELOPE, "object": "chat.completion.chunk", "system_fingerprint": "fp_1", "choices": [choice]}
    return b"data: " + msgspec.json.encode(body) + b"\n\n"


ANSWER = msgspec.json.encode(
    {
        **_ENVELOPE,
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "x" * 600, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": _USAGE,
    }
)
EVENTS = [
    _chunk({"role": "assistant", "content": "", "refusal": None}),
    *[_chunk({"content": f"word{number} "}) for number in range(CHUNKS - 2)],
    _chunk({}, "stop"),
    b"data: [DONE]\n\n",
]
EVENTS_WITH_USAGE = [
    *[event.replace(b"}\n\n", b',"usage":null}\n\n') for event in EVENTS[:-1]],
    b"data: " + msgspec.json.encode({**_ENVELOPE, "choices": [], "usage": _USAGE}) + b"\n\n",
    EVENTS[-1],
]
"""What OpenAI sends to who asks for usage."""


async def _constant_events() -> AsyncIterator[bytes]:
    for event in EVENTS:
        yield event


async def _constant(request: Request) -> Response:
    body = msgspec.json.decode(await request.body())
    if body.get("stream"):
        return StreamingResponse(_constant_events(), media_type="text/event-stream")
    return Response(ANSWER, media_type="application/json")


def _app(endpoint: Any, **options: Any) -> Starlette:
    return Starlette(routes=[Route("/v1/chat/completions", endpoint, methods=["POST"])], **options)


class Gatekeeper(Plugin):
    """Reads neither body nor events."""

    async def on_request(self, exchange: Exchange) -> None:
        if exchange.header(b"authorization") is None:
            raise RuntimeError("no key")


class Rewriter(Plugin):
    """Looks into every event and hands it on."""

    rewrites_events = True

    def on_event(self, exchange: Exchange, event: Event) -> Event | None:
        answer = event.answer
        return None if answer is not None and answer.error is not None else event


async def upstream(scope: Any, receive: Any, send: Any) -> None:
    """The provider of the proxy benchmarks: constant answers, as cheap as ASGI can be."""
    if scope["type"] != "http":
        return
    body = (await receive())["body"]
    stream = b'"stream":true' in body
    events = EVENTS_WITH_USAGE if b'"include_usage":true' in body else EVENTS
    kind = b"text/event-stream" if stream else b"application/json"
    length = [] if stream else [(b"content-length", str(len(ANSWER)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind), *length]})
    for event in events if stream else ():
        await asyncio.sleep(PACE)  # as models do: each event is a read of its own
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body", "body": b"" if stream else ANSWER})


def bare() -> Any:
    return _app(_constant)


def no_reader() -> Any:
    return PluginMiddleware(bare(), plugins=[Gatekeeper()])


def rewriter() -> Any:
    return PluginMiddleware(bare(), plugins=[Rewriter()])


def proxy() -> Any:
    """The control of the direct handler: the same client in a Starlette route that does nothing else."""
    import aiohttp

    session: list[aiohttp.ClientSession] = []

    async def relay(request: Request) -> Response:
        body = await request.body()
        if not session:
            session.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        headers = {"content-type": "application/json", "authorization": "Bearer sk-up"}
        answer = await session[0].post(UPSTREAM + "/chat/completions", data=body, headers=headers)
        if answer.content_type == "text/event-stream":
            return StreamingResponse(answer.content.iter_any(), media_type="text/event-stream")
        return Response(await answer.read(), media_type="application/json")

    return _app(relay)


def direct_alone() -> Any:
    """The endpoint and the direct handler behind a PluginMiddleware that only opens connections."""
    from crplugins.handlers.deployment import Deployment
    from crplugins.handlers.endpoint import ModelEndpoint
    from crplugins.homes.gateway.open_handlers import Served
    from crplugins.homes.gateway.upstreams import Upstreams

    upstreams = Upstreams([Served(Deployment("bench", "openai/gpt-4o-mini", UPSTREAM, "sk-up"), "direct")])
    return PluginMiddleware(ModelEndpoint(upstreams.find), resources=[upstreams])


def direct() -> Any:
    """A whole gateway: key, request check, aliases, usage."""
    return _gateway("direct")


def metered() -> Any:
    """The same with a ledger and metrics."""
    folder = tempfile.mkdtemp(prefix="crplugins-bench-")
    return _gateway("direct", ledger={"url": f"sqlite:///{folder}/usage.db"}, metrics={"token": None})


def governed() -> Any:
    """What a team would run: a key with three limits, an alias, a ledger and metrics."""
    return _governed("direct")


def governed_litellm() -> Any:
    return _governed("litellm")


def _governed(handler: str) -> Any:
    from crplugins.homes.gateway.app import Gateway

    return Gateway(**governed_settings(handler, UPSTREAM, tempfile.mkdtemp(prefix="crplugins-bench-")))


def governed_settings(handler: str, upstream: str, folder: str) -> dict[str, Any]:
    """Its configuration, with the ledger in `folder`."""
    params = {"model": "openai/gpt-4o-mini", "api_base": upstream, "api_key": "sk-up"}
    limits = {"requests_per_minute": 10**7, "tokens_per_minute": 10**10, "max_parallel_requests": 1000}
    return {
        "model_list": [{"model_name": "gpt-4o-mini", "litellm_params": params, "handler": handler}],
        "aliases": {"bench": "gpt-4o-mini"},
        "keys": [{"id": "bench", "secret": KEY, "limits": limits}],
        "ledger": {"url": f"sqlite:///{folder}/usage.db"},
        "metrics": {"token": None},
    }


def litellm_by_hand() -> Any:
    """The control of the litellm handler: acompletion and model_dump_json in a Starlette route."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    litellm.suppress_debug_info = True

    async def relay(request: Request) -> Response:
        body = msgspec.json.decode(await request.body())
        answer = await litellm.acompletion(
            model="openai/gpt-4o-mini",
            messages=body["messages"],
            stream=body.get("stream", False),
            api_base=UPSTREAM,
            api_key="sk-up",
        )
        if not body.get("stream"):
            return Response(answer.model_dump_json(), media_type="application/json")
        return StreamingResponse(_dumped(answer), media_type="text/event-stream")

    return _app(relay)


async def _dumped(answer: Any) -> AsyncIterator[bytes]:
    async for chunk in answer:
        yield b"data: " + chunk.model_dump_json(exclude_none=True, exclude_unset=True).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


def litellm() -> Any:
    return _gateway("litellm")


def _gateway(handler: str, **options: Any) -> Any:
    from crplugins.homes.gateway.app import Gateway

    params = {"model": "openai/gpt-4o-mini", "api_base": UPSTREAM, "api_key": "sk-up"}
    return Gateway(
        model_list=[{"model_name": "bench", "litellm_params": params, "handler": handler}],
        keys=[{"id": "bench", "secret": KEY}],
        response_model="served",  # the handler alone; renaming is measured with the plugins
        **options,
    )
