"""A whole gateway whose records are kept in a list, before a provider that replays recordings; both on real sockets."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec

from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.usage import TokenUsage
from crplugins.homes.gateway.app import Gateway
from crplugins.metering.record import UsageRecord, record_of
from crplugins.testing import Cassette, FakeProvider, Script
from tests.conftest import Serve

CLIENT_KEY = "sk-metering-client-0123456789"
UPSTREAM_KEY = "sk-metering-upstream-9876543210"
HELLO = [{"role": "user", "content": "hi there"}]
PATH = "/v1/chat/completions"

Json = Mapping[str, Any]

ASKED: Mapping[str, Json] = {
    "asked": {"stream_options": {"include_usage": True}},
    "asked-and-more": {"stream_options": {"include_usage": True, "include_obfuscation": False}},
}
NOT_ASKED: Mapping[str, Json] = {
    "nothing": {},
    "empty": {"stream_options": {}},
    "null": {"stream_options": None},
    "false": {"stream_options": {"include_usage": False}},
    "sibling": {"stream_options": {"include_obfuscation": True}},
    "false-and-sibling": {"stream_options": {"include_obfuscation": False, "include_usage": False}},
}
CLIENTS: Mapping[str, Json] = {**ASKED, **NOT_ASKED}


class Records(Plugin):
    """Stands outside Auth and keeps each request's record: the very object the ledger's row is written from."""

    observes = True

    def __init__(self) -> None:
        self.all: list[UsageRecord] = []
        self._changed = asyncio.Event()

    async def on_request(self, exchange: Exchange) -> None:
        """Being called is what makes `on_finish` due."""

    def on_finish(self, exchange: Exchange) -> None:
        self.all.append(record_of(exchange))
        self._changed.set()

    async def last(self, count: int, within: float = 60.0) -> UsageRecord:
        """The newest of exactly `count` records, as soon as they are there."""
        async with asyncio.timeout(within):
            while len(self.all) < count:
                self._changed.clear()
                await self._changed.wait()
        assert len(self.all) == count, "a request left more than one record"
        return self.all[-1]


@dataclass
class Metered:
    """A gateway that serves `m` and `replay-*`. `post` answers with the body and the record of the request."""

    provider: FakeProvider
    records: Records
    url: str
    session: aiohttp.ClientSession
    posted: int = 0
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    async def post(self, script: Script | None = None, **body: Any) -> tuple[bytes, UsageRecord]:
        if script is not None:
            self.provider.enqueue(script)
        payload = {"model": "m", "messages": HELLO, **body}
        headers = {"authorization": f"Bearer {CLIENT_KEY}"}
        async with self.session.post(self.url + PATH, json=payload, headers=headers) as response:
            self.status, self.headers = response.status, {k.lower(): v for k, v in response.headers.items()}
            answer = await response.read()
        self.posted += 1
        record = await self.records.last(self.posted)
        assert record.request_id == self.headers["x-request-id"]
        return answer, record

    async def read_to_the_end_mark(self) -> None:
        """A stream, left as soon as [DONE] is here."""
        payload = {"model": "m", "messages": HELLO, "stream": True}
        headers = {"authorization": f"Bearer {CLIENT_KEY}"}
        answer = b""
        async with self.session.post(self.url + PATH, json=payload, headers=headers) as response:
            while b"data: [DONE]\n\n" not in answer:
                answer += await response.content.readany()
            response.close()

    @property
    def asked_upstream(self) -> Any:
        """The body of the provider's last request."""
        return self.provider.last_request.json


@asynccontextmanager
async def metered(
    serve: Serve,
    provider: FakeProvider,
    *,
    handler: str = "direct",
    prefix: str = "openai",
    model: str = "upstream-model",
    **options: Any,
) -> AsyncIterator[Metered]:
    """`options` are those of Gateway. The provider's own model names reach the client, so that the bytes can too."""
    base = provider.base_url.removesuffix("/v1") if prefix == "anthropic" else provider.base_url
    params = {"api_base": base, "api_key": UPSTREAM_KEY, "num_retries": 0}  # what each answer counts
    models = [
        {"model_name": name, "litellm_params": {"model": f"{prefix}/{theirs}", **params}, "handler": handler}
        for name, theirs in (("m", model), ("replay-*", "replay-*"))
    ]
    records = Records()
    app = Gateway(
        model_list=models,
        keys=[{"id": "team-a", "secret": CLIENT_KEY}],
        response_model="served",
        plugins=[{"use": records, "before": "Auth"}],
        **options,
    )
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serve(app))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield Metered(provider, records, url, session)


def recorded_usage(cassette: Cassette) -> TokenUsage:
    """What the manifest says a record must hold; parts the provider did not tell count nothing."""
    metering = cassette.metering
    assert metering.prompt_tokens is not None
    assert metering.completion_tokens is not None
    return TokenUsage(
        metering.prompt_tokens,
        metering.completion_tokens,
        metering.cached_tokens or 0,
        metering.cache_write_tokens or 0,
        metering.reasoning_tokens or 0,
    )


def check_record(record: UsageRecord, cassette: Cassette, why: object = "") -> None:
    """The record of a request that was answered with this recording."""
    where = (cassette.id, why)
    assert record.usage_source == cassette.metering.source, where
    if record.usage_source == "provider":
        assert record.usage == recorded_usage(cassette), where
    elif record.usage_source == "estimated":
        assert record.usage.input_tokens > 0, where
        assert record.usage.output_tokens > 0, where
    else:
        assert record.usage == TokenUsage(), where


def chunks_of(body: bytes) -> list[Any]:
    """The JSON of each event of a stream in which every event is one line."""
    lines = [line[5:].strip() for line in body.split(b"\n") if line.startswith(b"data:")]
    return [msgspec.json.decode(line) for line in lines if line != b"[DONE]"]


def usages_in(body: bytes) -> list[Any]:
    return [chunk["usage"] for chunk in chunks_of(body) if chunk.get("usage") is not None]
