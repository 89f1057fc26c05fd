"""The litellm handler in front of the scripted provider, without a gateway around it."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from crplugins.core.body import Body
from crplugins.core.errors import ErrorObject, GatewayError
from crplugins.core.exchange import Exchange, Reply, Timings
from crplugins.core.sse import Splitter
from crplugins.handlers.deadlines import Deadlines
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.handler import Handler
from crplugins.handlers.litellm.handler import LitellmHandler
from crplugins.testing import FakeProvider

KEY = "sk-upstream-key-9876543210"
HELLO = [{"role": "user", "content": "hi"}]
ASKING = {"stream_options": {"include_usage": True}}

PREFIXES = {
    "OpenAI": "openai",
    "Azure OpenAI": "openai",
    "Anthropic Messages": "anthropic",
    "DeepSeek": "deepseek",
    "Groq": "groq",
    "Mistral": "mistral",
    "OpenRouter": "openrouter",
    "Crusoe (vLLM 0.24)": "hosted_vllm",
}
"""litellm's names for the providers of the recordings; the others speak OpenAI's wire."""


def make_exchange() -> Exchange:
    return Exchange(
        id="test", method="POST", path="/v1/chat/completions", headers=[], client=None, clock=time.monotonic,
        timings=Timings(0.0),
    )  # fmt: skip


@dataclass
class Told:
    """What a client was told in a stream."""

    chunks: list[dict[str, Any]] = field(default_factory=list)
    done: bool = False
    error: ErrorObject | None = None

    def deltas(self, index: int = 0) -> list[dict[str, Any]]:
        return [c["delta"] for c in self.choices if c["index"] == index]

    @property
    def choices(self) -> list[dict[str, Any]]:
        return [choice for chunk in self.chunks for choice in chunk["choices"]]

    def said(self, name: str, index: int = 0) -> str:
        return "".join(delta.get(name) or "" for delta in self.deltas(index))

    def finish_reasons(self, index: int = 0) -> list[str]:
        return [c["finish_reason"] for c in self.choices if c["index"] == index and c["finish_reason"]]

    def tool_calls(self) -> list[tuple[int, int, str, str]]:
        """(choice, index, name, arguments) of each call."""
        calls: dict[tuple[int, int], list[str]] = {}
        for choice in self.choices:
            for call in choice["delta"].get("tool_calls", ()):
                parts = calls.setdefault((choice["index"], call["index"]), ["", ""])
                parts[0] += call["function"].get("name", "")
                parts[1] += call["function"].get("arguments", "")
        return [(*key, *parts) for key, parts in calls.items()]

    def usages(self) -> list[Any]:
        return [chunk["usage"] for chunk in self.chunks if chunk.get("usage") is not None]


@dataclass
class Asked:
    """A handler to ask. `exchange` is that of the last request."""

    handler: Handler
    provider: FakeProvider | None = None
    exchange: Exchange = field(default_factory=make_exchange)

    async def reply(self, **body: Any) -> Reply:
        self.exchange = make_exchange()
        sent = Body(msgspec.json.encode({"model": "m", "messages": HELLO, **body}))
        self.exchange.body, self.exchange.stream = sent, body.get("stream") is True
        return await self.handler.answer(self.exchange, sent)

    async def plain(self, **body: Any) -> dict[str, Any]:
        reply = await self.reply(**body)
        assert isinstance(reply.body, bytes)
        if self.exchange.split is not None:
            for event in self.exchange.split[1]:
                self.exchange.note_facts(event)  # as every boundary does, which hears each answer once
        document: dict[str, Any] = msgspec.json.decode(reply.body)
        return document

    async def stream(self, **body: Any) -> Told:
        reply = await self.reply(stream=True, **body)
        assert not isinstance(reply.body, bytes)
        told, splitter = Told(), Splitter()
        try:
            async for frames in reply.body:
                for event in splitter.feed(frames):
                    assert not told.done, "an event came after [DONE]"
                    if event.is_done:
                        told.done = True
                    else:
                        told.chunks.append(json.loads(event.data or b""))
                assert not splitter.rest, "the generator yielded half an event"
        except GatewayError as error:
            told.error = error.error
        return told

    async def refusal(self, **body: Any) -> GatewayError:
        try:
            await self.reply(**body)
        except GatewayError as error:
            return error
        raise AssertionError("the handler did not refuse")


@asynccontextmanager
async def asking(
    provider: FakeProvider,
    model: str = "openai/fake-model",
    *,
    name: str = "m",
    patience: float = 30.0,
    skip_malformed: int = 1,
    **parameters: Any,
) -> AsyncIterator[Asked]:
    """`async with asking(provider, "groq/fake-model") as asked:`; `parameters` are `litellm_params`."""
    base = provider.base_url.removesuffix("/v1") if model.startswith("anthropic/") else provider.base_url
    base = parameters.pop("api_base", base)
    key = parameters.pop("api_key", KEY)
    deployment = Deployment(
        name,
        model,
        api_base=base,
        api_key=key,
        parameters=parameters,
        deadlines=Deadlines(patience),
        skip_malformed=skip_malformed,
    )
    async with LitellmHandler(deployment) as handler:
        await handler.rehearsed()
        yield Asked(handler, provider)
