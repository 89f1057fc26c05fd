"""One gateway that serves every family through both handlers, and a foreign app with the plugins before it.

`Lab.ask` sends one request and gathers what everybody says of it: the client, the usage record, the limits. Prometheus
is asked once for all of them.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from crplugins import (
    Auth,
    Gateway,
    InlineKeys,
    LimitRules,
    Limits,
    MemoryStore,
    Metrics,
    MissingUsage,
    PluginMiddleware,
    Principal,
    RateLimits,
    StreamUsage,
    Usage,
    UsageRecord,
)
from crplugins.core.dialects import BY_NAME
from tests.conftest import serving
from tests.families.catalogue import FAMILIES
from tests.families.client import Seen
from tests.families.readers import read_answer
from tests.families.story import Case, Family, Handler
from tests.families.upstream import asked_of, asking_for, playing
from tests.long import LONG

HANDLERS: tuple[Handler, ...] = ("direct", "litellm", "foreign")
_COUNTERS = ("input_tokens", "output_tokens", "cached_input_tokens", "reasoning_output_tokens")
_RULES = LimitRules(per_key=Limits(tokens_per_day=10_000_000, requests_per_day=1_000))


@dataclass(frozen=True)
class Asked:
    """One request: an answer of a family, through a handler, streamed or plain."""

    family: Family
    case: Case
    handler: Handler
    streamed: bool
    dialect: str = "chat"

    @property
    def model(self) -> str:
        return f"{self.family.name}.{self.handler}"

    @property
    def key(self) -> str:
        """The id of the key that only this request uses."""
        of = "" if self.dialect == "chat" else f"{self.dialect}."
        return f"{of}{self.model}.{self.case.name.replace(' ', '-')}.{'streamed' if self.streamed else 'plain'}"

    @property
    def secret(self) -> str:
        return f"sk-{self.key}"


def everything() -> Iterator[Asked]:
    for family in FAMILIES.values():
        for handler in HANDLERS:
            if handler != "litellm" and family.direct is None:
                continue
            for case in family.cases:
                yield Asked(family, case, handler, streamed=True)
                if handler != "foreign" or case.plain.status != 200 or case.plain_right is None:
                    yield Asked(family, case, handler, streamed=False)
                # What a foreign app makes of half a document is its own affair.


def translated() -> Iterator[Asked]:
    """The same in the protocols that nobody of them is asked in as it is. Each day one of seven, so that all of the
    two protocols, handlers and forms have their turn.
    """
    number = 0
    for family in FAMILIES.values():
        for case in family.cases:
            for dialect in ("messages", "responses"):
                for handler in HANDLERS[:2]:
                    for streamed in (True, False):
                        number += 1
                        asked = Asked(family, case, handler, streamed, dialect)
                        if (handler == "litellm" or family.direct is not None) and (LONG or number % 7 == 0):
                            yield asked


@dataclass
class Answered:
    """What everybody says of one request.

    Attributes:
        limited: tokens and requests that its key's limits have counted.
    """

    seen: Seen
    record: UsageRecord
    limited: tuple[int, int]


@dataclass
class Records:
    """The records by key. A plain answer is there before its record is."""

    by_key: dict[str, UsageRecord] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, record: UsageRecord) -> None:
        assert record.key_id is not None
        assert record.key_id not in self.by_key, "a request left two records"
        self.by_key[record.key_id] = record
        self.changed.set()

    async def of(self, key: str) -> UsageRecord:
        async with asyncio.timeout(30):
            while key not in self.by_key:
                self.changed.clear()
                await self.changed.wait()
        return self.by_key[key]


@dataclass
class Home:
    """A server that is asked, and its limits."""

    url: str
    limits: RateLimits
    metrics: Metrics


@dataclass
class Lab:
    gateway: Home
    foreign: Home
    session: aiohttp.ClientSession
    records: Records

    async def ask(self, asked: Asked) -> Answered:
        home = self.foreign if asked.handler == "foreign" else self.gateway
        said = [{"role": "user", "content": asking_for(asked.family.name, asked.case.name)}]
        body: dict[str, Any] = {"model": asked.model, "stream": asked.streamed}
        if asked.dialect == "chat":
            body |= {"messages": said}
            body |= {"stream_options": {"include_usage": True}} if asked.streamed else {}
        else:
            body |= {"input": said} if asked.dialect == "responses" else {"messages": said, "max_tokens": 4096}
        headers = {"authorization": f"Bearer {asked.secret}"}
        path = BY_NAME[asked.dialect].path
        async with self.session.post(f"{home.url}/v1{path}", json=body, headers=headers) as response:
            seen = read_answer(asked.dialect, response.status, await response.read(), streamed=asked.streamed)
        record = await self.records.of(asked.key)
        levels = {level.limit: level.used for level in await home.limits.levels_of(Principal(asked.key))}
        return Answered(seen, record, (levels["tokens_per_day"], levels["requests_per_day"]))

    def counted(self) -> dict[str, tuple[int, ...]]:
        """Tokens that Prometheus would read, by key: input, output, cached, reasoning."""
        totals: dict[str, Counter[str]] = {}
        for home in (self.gateway, self.foreign):
            for family in text_string_to_metric_families(generate_latest(home.metrics.registry).decode()):
                name = family.name.removeprefix("crplugins_")
                for sample in family.samples if name in _COUNTERS else ():
                    if sample.name.endswith("_total"):
                        totals.setdefault(sample.labels["key_id"], Counter())[name] += int(sample.value)
        return {key: tuple(counts[name] for name in _COUNTERS) for key, counts in totals.items()}


@asynccontextmanager
async def lab() -> AsyncIterator[Lab]:
    records = Records()
    async with AsyncExitStack() as stack:
        stack.enter_context(signed_in_to_vertex())
        upstream = await stack.enter_async_context(playing())
        gateway = await stack.enter_async_context(_gateway(upstream, records))
        foreign = await stack.enter_async_context(_foreign(records))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield Lab(gateway, foreign, session, records)


@contextmanager
def signed_in_to_vertex() -> Iterator[None]:
    """Vertex AI has no keys: litellm would ask Google for a token."""
    from litellm.llms.vertex_ai.vertex_llm_base import VertexBase

    async def signed_in(*_: object, **__: object) -> tuple[str, str]:
        return "a-token", "a-project"

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(VertexBase, "_ensure_access_token_async", signed_in)
        yield


def _limits() -> RateLimits:
    """Their clock stands still, so that nothing drains and what was used can be read to the token."""
    return RateLimits(_RULES, store=MemoryStore(clock=lambda: 1_790_000_000_000))


def _keys(*handlers: Handler) -> list[dict[str, Any]]:
    asked = [*everything(), *translated()]
    return [{"id": each.key, "secret": each.secret} for each in asked if each.handler in handlers]


@asynccontextmanager
async def _gateway(upstream: str, records: Records) -> AsyncIterator[Home]:
    limits = _limits()
    app = Gateway(
        model_list=[entry for family in FAMILIES.values() for entry in models_of(family, upstream)],
        keys=_keys("direct", "litellm"),
        metrics={"token": None, "key_cap": 2_000},
        plugins=[
            {"use": Usage(sinks=[records.add]), "before": "Auth"},
            {"use": limits, "after": "ModelAliases"},
        ],
    )
    metrics = next(plugin for plugin in app.plugins if isinstance(plugin, Metrics))
    async with serving(app) as url:
        yield Home(url, limits, metrics)


def models_of(family: Family, upstream: str) -> Iterator[dict[str, Any]]:
    """The models of `model_list`."""
    base = {"api_key": "sk-upstream-0123456789", "timeout": 30}
    if family.direct is not None:
        params = {"model": family.direct, "api_base": f"{upstream}/v1", **base}
        only = {"supported_endpoints": ["/v1/chat/completions"]}
        yield {"model_name": f"{family.name}.direct", "handler": "direct", "litellm_params": params, "model_info": only}
    params = {"model": family.model, "api_base": upstream + family.path, **base, **family.parameters}
    yield {"model_name": f"{family.name}.litellm", "handler": "litellm", "litellm_params": params}


@asynccontextmanager
async def _foreign(records: Records) -> AsyncIterator[Home]:
    limits, keys = _limits(), _keys("foreign")
    metrics = Metrics([f"{name}.foreign" for name in FAMILIES], [key["id"] for key in keys], key_cap=2_000)
    app = PluginMiddleware(
        Starlette(routes=[Route("/v1/chat/completions", _replay, methods=["POST"])]),
        plugins=[
            metrics, Usage(sinks=[records.add]), Auth(InlineKeys(keys)), limits, StreamUsage(), MissingUsage(),
        ],
    )  # fmt: skip
    async with serving(app) as url:
        yield Home(url, limits, metrics)


async def _replay(request: Request) -> Response:
    """Somebody else's app, which answers with what the family sends."""
    body = await request.body()
    family, case = asked_of(body)
    if b'"stream": true' not in body:
        return Response(case.plain.body, case.plain.status, media_type=case.plain.content_type)

    async def pieces() -> AsyncIterator[bytes]:
        for piece in case.stream:
            yield piece

    return StreamingResponse(pieces(), media_type=family.content_type)
