"""A request leaves nothing behind that only the garbage collector could find.

What it leaves would wait for a full collection, which looks at every open stream and holds all of them up.
"""

import asyncio
import gc
from collections import Counter
from contextlib import suppress
from types import CoroutineType, FrameType

import aiohttp
import pytest

from crplugins import Gateway
from crplugins.testing import FakeProvider, Script

KEY = "sk-test-0123456789abcdef"
TIMES = 10
HTTPXS_CIRCLE = "crplugins.handlers.litellm.plain._body_class.<locals>.Body"
"""The body of an `httpx.Response`, which knows its stream, which knows it."""
TRIES = 8
"""The first requests make what is made once: connections, what is learnt of a model."""
REQUESTS = {
    "plain": ({}, Script(text="hi")),
    "stream": ({"stream": True}, Script(text="word " * 20, frame_delay=0.01)),
    "no such model": ({"model": "other"}, Script()),
    "a parameter that is refused": ({"temperature": 9}, Script()),
    "refused by the provider": ({}, Script.error(400, "no")),
    "provider down": ({}, Script.error(500, "no")),
    "stream refused by the provider": ({"stream": True}, Script.error(400, "no")),
    "stream that is cut": ({"stream": True}, Script(text="word " * 20, frame_delay=0.01, cut_after=8)),
    "stream that the client leaves": ({"stream": True, "user": "leaves"}, Script(text="word " * 200, frame_delay=0.02)),
}

NEVER_ANSWERED = {name: REQUESTS[name] for name in ("refused by the provider", "provider down")}
"""Without a first answer `litellm` is asked by `acompletion`, and not the shorter way that is learnt from that answer."""


@pytest.mark.parametrize(
    ("handler", "requests"),
    [("direct", REQUESTS), ("litellm", REQUESTS), ("litellm", NEVER_ANSWERED)],
    ids=["direct", "litellm", "litellm-never-answered"],
)
async def test_no_request_leaves_objects_in_a_circle(serve, handler, requests, tmp_path):
    gc.freeze()  # a hundred collections look at what the requests make, not at what is there before
    async with FakeProvider() as provider:
        served = {"model": "openai/gpt-4o-mini", "api_base": provider.base_url, "api_key": "sk-up"}
        gateway = Gateway(
            model_list=[{"model_name": "m", "handler": handler, "litellm_params": served}],
            keys=[{"id": "a", "secret": KEY, "limits": {"requests_per_minute": 10**6, "tokens_per_minute": 10**9}}],
            ledger={"url": f"sqlite:///{tmp_path}/usage.db", "commit_seconds": 0},
            metrics={"token": None},
        )
        async with serve(gateway) as url, aiohttp.ClientSession() as client:

            async def nothing_runs():
                """Also not what clients have left."""
                await provider.wait_idle()
                async with asyncio.timeout(60):
                    while "crplugins_requests_in_flight 0.0" not in await scraped(client, url):  # noqa: ASYNC110
                        await asyncio.sleep(0.01)

            left = {}
            for name, (body, script) in requests.items():
                provider.default = script
                for _ in range(TRIES):
                    left[name] = await left_by([ask(client, url, body) for _ in range(TIMES)], nothing_runs)
                    if not left[name]:
                        break
    assert {name: found for name, found in left.items() if found} == {}


async def scraped(client, url):
    async with client.get(f"{url}/metrics") as answer:
        return await answer.text()


async def left_by(requests, over):
    """How many objects of ours, and frames of whomever, a full collection finds after `requests`, by kind, once they are
    `over`. From some frames later releases of Python find their way to our objects."""
    gc.collect()
    gc.disable()
    try:
        await asyncio.gather(*requests)
        await over()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        return Counter(kind for kind in map(kind_of, gc.garbage) if is_ours(kind))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def ask(client, url, body):
    sent = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **body}
    async with client.post(
        f"{url}/v1/chat/completions", json=sent, headers={"authorization": f"Bearer {KEY}"}
    ) as answer:
        if body.get("user") == "leaves":
            await answer.content.readany()
            answer.close()
        else:
            with suppress(aiohttp.ClientError):
                await answer.read()


def is_ours(kind):
    return kind != HTTPXS_CIRCLE and ("crplugins" in kind or kind.startswith("frame"))


def kind_of(found):
    if isinstance(found, type):
        return f"class {found.__module__}.{found.__qualname__}"
    if isinstance(found, FrameType):
        return f"frame of {found.f_code.co_filename}:{found.f_lineno}"
    if isinstance(found, CoroutineType):
        return f"coroutine of {found.cr_code.co_filename} {found.__qualname__}"
    return f"{type(found).__module__}.{type(found).__qualname__}"
