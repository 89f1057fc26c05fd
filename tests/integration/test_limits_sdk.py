"""The official SDKs over their limits: they wait as long as they are told, and then succeed.

The wait is measured where requests arrive, and compared with what the refusal said.
"""

import asyncio
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.keys.inline import InlineKeys
from crplugins.limits.reservations import Reservations
from crplugins.plugins.auth import Auth
from crplugins.plugins.budgets.plugin import Budgets
from crplugins.plugins.rate_limits.plugin import RateLimits
from tests.core.doubles import JSON, messages
from tests.integration.test_openai_node import node_folder  # noqa: F401  # a fixture

HI = [{"role": "user", "content": "hi"}]
TOKENS = 1000
CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
    b'{"role":"assistant","content":"a"},"finish_reason":null}]}\n\n'
)
USAGE = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[],'
    b'"usage":{"prompt_tokens":400,"completion_tokens":600,"total_tokens":1000}}\n\n'
)
DOCUMENT = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant",'
    b'"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":400,"completion_tokens":600,"total_tokens":1000}}'
)
LIMITS: dict[str, dict[str, Any]] = {
    "requests": {"limits": {"requests_per_minute": 60, "burst": {"requests_per_minute": 1}}},
    "tokens": {"limits": {"tokens_per_minute": 100_000, "burst": {"tokens_per_minute": 1500}}},
    "parallel": {"limits": {"max_parallel_requests": 1}},
    "spent": {"budget": {"usd": 0, "period": "month"}},
    "small": {"limits": {"tokens_per_minute": 100}},
    "daily": {"limits": {"requests_per_day": 1}},
}


def secret(name: str) -> str:
    return f"sk-{name}-0123456789"


@dataclass
class Guarded:
    """Somebody's app behind keys and limits, on a socket."""

    url: str
    requests: Counter[str]
    gate: asyncio.Event
    refusals: "Refusals"

    def client(self, name: str, **options: Any) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=self.url + "/v1", api_key=secret(name), **options)


@pytest.fixture
async def guarded(serve: Any) -> AsyncIterator[Guarded]:
    gate, seen = asyncio.Event(), Counter[str]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = json.loads((await receive())["body"])
        stream = body.get("stream")
        answer = messages(CHUNK, USAGE, b"data: [DONE]\n\n") if stream else messages(DOCUMENT, content_type=JSON)
        for message in answer:
            await send(message)
            if message.get("more_body") and body.get("user") == "slow":
                await gate.wait()

    refusals = Refusals()
    reservations = Reservations.of(None)
    keys = InlineKeys([{"id": name, "secret": secret(name), **policy} for name, policy in LIMITS.items()])
    plugins = [Auth(keys), RateLimits(store=reservations), Budgets(unknown_price="allow", store=reservations)]
    guarded = PluginMiddleware(app, plugins=plugins)

    async def counting(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            caller = headers.get(b"authorization", headers.get(b"x-api-key", b"")).decode()
            seen[caller] += 1
            send = refusals.noting(caller, send)
        await guarded(scope, receive, send)

    async with serve(counting) as url:
        yield Guarded(url, seen, gate, refusals)


class Refusals:
    """What the 429s told, and how long each caller then stayed away.

    Attributes:
        told: seconds to wait, by caller, of the refusals that said so.
        waited: seconds until the same caller came again.
    """

    def __init__(self) -> None:
        self.told: dict[str, float] = {}
        self.waited: dict[str, float] = {}
        self.one_more = asyncio.Event()
        self._at: dict[str, float] = {}

    def noting(self, caller: str, send: Any) -> Any:
        if caller in self._at:
            self.waited[caller] = time.monotonic() - self._at.pop(caller)

        async def noting_send(message: Any) -> None:
            headers = dict(message.get("headers", ()))
            if message.get("status") == 429 and b"retry-after-ms" in headers:
                self.told[caller], self._at[caller] = int(headers[b"retry-after-ms"]) / 1000, time.monotonic()
                self.one_more.set()
            await send(message)

        return noting_send

    def check(self, *names: str) -> None:
        """These callers were told to wait, and came again then: nine tenths, as Node's timers are early by some ms."""
        for name in names:
            caller = f"Bearer {secret(name)}"
            assert self.waited[caller] > 0.9 * self.told[caller] > 0, name


async def call(client: openai.AsyncOpenAI, **options: Any) -> None:
    """Returns when it has succeeded."""
    answer = await client.chat.completions.create(model="m", messages=HI, **options)  # type: ignore[call-overload]
    if options.get("stream"):
        async for _ in answer:
            pass


@pytest.mark.parametrize("stream", [False, True])
async def test_the_python_sdk_waits_for_a_request(guarded: Guarded, stream: bool) -> None:
    async with guarded.client("requests") as client:
        await call(client, stream=stream)
        await call(client, stream=stream)
    assert guarded.requests.total() == 3
    guarded.refusals.check("requests")


async def test_the_python_sdk_waits_for_tokens(guarded: Guarded) -> None:
    """1000 used, 1012 more wanted of 1500 at 1667 a second."""
    async with guarded.client("tokens") as client:
        await call(client, max_tokens=TOKENS)
        await call(client, max_tokens=TOKENS)
    assert guarded.requests.total() == 3
    guarded.refusals.check("tokens")


async def test_the_python_sdk_waits_for_another_request_to_end(guarded: Guarded) -> None:
    async with guarded.client("parallel") as client:
        slow = await client.chat.completions.create(model="m", messages=HI, stream=True, user="slow")  # type: ignore[call-overload]
        await anext(slow)
        second = asyncio.ensure_future(call(client))
        await guarded.refusals.one_more.wait()
        guarded.gate.set()
        async for _ in slow:
            pass
        await second
    assert guarded.requests.total() == 3
    guarded.refusals.check("parallel")


@pytest.mark.parametrize(
    ("name", "options", "code"),
    [("spent", {}, "insufficient_quota"), ("small", {"max_tokens": 1000}, "rate_limit_exceeded")],
)
async def test_the_python_sdk_does_not_wait_for_what_never_comes(
    guarded: Guarded, name: str, options: dict[str, Any], code: str
) -> None:
    async with guarded.client(name) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model="m", messages=HI, **options)  # type: ignore[call-overload]
    assert (caught.value.code, guarded.requests.total()) == (code, 1)
    assert caught.value.request_id


@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
async def test_no_sdk_sleeps_for_a_day(guarded: Guarded, sdk: str) -> None:
    """Anthropic's would sleep as long as it is told."""

    async def once_more() -> None:
        if sdk == "openai":
            await call(client)
        else:
            async with anthropic.AsyncAnthropic(base_url=guarded.url, api_key=secret("daily")) as other:
                await other.messages.create(model="m", messages=HI, max_tokens=5)  # type: ignore[arg-type]

    async with guarded.client("daily") as client:
        await call(client)
        with pytest.raises((openai.RateLimitError, anthropic.RateLimitError)) as caught:
            await asyncio.wait_for(once_more(), 60)
    assert isinstance(caught.value, openai.RateLimitError | anthropic.RateLimitError)
    assert 86_000 < int(caught.value.response.headers["retry-after"]) <= 86_400
    assert guarded.requests.total() == 2


async def test_the_python_sdk_shows_what_is_left(guarded: Guarded) -> None:
    async with guarded.client("requests") as client:
        raw = await client.chat.completions.with_raw_response.create(model="m", messages=HI, stream=True)  # type: ignore[call-overload]
    assert raw.headers["x-ratelimit-limit-requests"] == "60"
    assert (raw.headers["x-ratelimit-remaining-requests"], raw.headers["x-ratelimit-reset-requests"]) == ("0", "1s")


async def test_the_node_sdk_waits_as_long_as_it_is_told(guarded: Guarded, node_folder: Path) -> None:  # noqa: F811
    shutil.copy(Path(__file__).with_name("limits_node_client.mjs"), node_folder)
    calls = {
        "requests": [secret("requests"), {}],
        "tokens": [secret("tokens"), {"max_tokens": TOKENS, "stream": True}],
        "spent": [secret("spent"), {}],
        "small": [secret("small"), {"max_tokens": 1000}],
        "daily": [secret("daily"), {}],
    }
    environ = os.environ | {"BASE_URL": guarded.url + "/v1", "KEYS": json.dumps(calls)}
    process = await asyncio.create_subprocess_exec(
        "node", str(node_folder / "limits_node_client.mjs"), env=environ, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    assert json.loads(out) == {
        "requests": {"status": 200},
        "tokens": {"status": 200},
        "spent": {"status": 429, "code": "insufficient_quota", "type": "insufficient_quota"},
        "small": {"status": 429, "code": "rate_limit_exceeded", "type": "tokens"},
        "daily": {"status": 429, "code": "rate_limit_exceeded", "type": "requests"},
    }
    guarded.refusals.check("requests", "tokens")
    assert guarded.requests.total() == 3 + 3 + 2 + 2 + 2
