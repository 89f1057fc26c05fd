"""A bad day for LiteLLM's proxy: requests of the official client to every endpoint that uses tokens, each remembered."""

import asyncio
import random
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal

import httpx
import openai

from crplugins.testing import FakeProvider, ReceivedRequest
from tests.integration.metering_traffic import SCRIPTS, TIMEOUTS, secret_of

Kind = Literal["chat", "completions", "embeddings", "responses", "messages"]
Behaviour = Literal["reads", "leaves-early", "leaves-mid"]

PLENTY: Final = {"tokens_per_day": 50_000_000, "requests_per_day": 100_000, "max_parallel_requests": 500}
KEYS: Final[Mapping[str, Mapping[str, Any]]] = {
    "plain": {"team": "search", "limits": PLENTY},
    "free": {"missing_usage": "free", "limits": PLENTY},
    "strict": {"missing_usage": "refuse", "limits": PLENTY},
    "narrow": {"models": ["ok", "bytewise", "slow"], "limits": PLENTY},
    "few": {"limits": {"requests_per_day": 2}},
    "one": {"limits": {"max_parallel_requests": 1}},
    "poor": {"limits": {"tokens_per_day": 2000}},
}
SERVED: Final[Mapping[str, Mapping[str, Any]]] = {
    **{name: {"model": f"openai/{name}", "timeout": TIMEOUTS.get(name, 30)} for name in SCRIPTS},
    **{f"vllm-{name}": {"model": f"hosted_vllm/{name}"} for name in ("ok", "slow", "uncounted", "down", "refuses")},
}
MARKER: Final = re.compile(rb"\br\d{5}\b")
TOOLS: Final = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
_WEIGHTS: Final = {"chat": 8, "completions": 3, "embeddings": 2, "responses": 2, "messages": 2}
_FAULTS: Final = [name for name in SCRIPTS if name not in ("ok", "slow")]


@dataclass
class Sent:
    """One request. `marker` stands in its prompt and, where the endpoint has such a field, in its `user`.

    Attributes:
        key: None for a key that is none.
        request_id: as the client read it; None if it left before.
        complete: the client read the whole answer, or the whole refusal.
    """

    marker: str
    kind: Kind
    model: str
    key: str | None
    behaviour: Behaviour
    options: Mapping[str, Any]
    status: int | None = None
    request_id: str | None = None
    complete: bool = False
    failure: str = ""

    @property
    def stream(self) -> bool:
        return bool(self.options.get("stream"))

    @property
    def case(self) -> str:
        return self.model.removeprefix("vllm-")


def plan(count: int, seed: int) -> list[Sent]:
    """The same requests for the same seed. Every other one meets a fault, and each fault once before any twice."""
    dice = random.Random(seed)
    return [_request(number, dice) for number in range(count)]


def _request(number: int, dice: random.Random) -> Sent:
    faulty = number % 2 == 0
    kind: Kind = "chat" if faulty else dice.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]  # type: ignore[assignment]
    options: dict[str, Any] = {}
    if kind != "embeddings" and dice.random() < (0.8 if faulty else 0.5):
        options["stream"] = True
    model = _FAULTS[number // 2 % len(_FAULTS)] if faulty else _model(kind, dice)
    key = dice.choices([*KEYS, None], [8, 2, 2, 0, 0, 0, 0, 0] if faulty else [6, 2, 2, 2, 3, 2, 1, 1])[0]
    sent = Sent(f"r{number:05}", kind, model, key, _behaviour(kind, options, dice), options)
    if kind == "chat":
        _vary(sent, options, dice)
    return sent


def _model(kind: Kind, dice: random.Random) -> str:
    if dice.random() < 0.06:
        return "gpt-nope"
    if kind == "messages":  # LiteLLM translates them where the provider has no /responses
        return dice.choice([name for name in SERVED if name.startswith("vllm-")])
    if kind != "chat":
        return dice.choice(("ok", "slow", "uncounted", "down", "refuses"))
    return dice.choice(("ok", "slow", "vllm-ok", "finish-chunk", "cached", "down"))


def _behaviour(kind: Kind, options: Mapping[str, Any], dice: random.Random) -> Behaviour:
    if kind not in ("chat", "completions"):
        return "reads"
    weights = [80, 6, 14] if options.get("stream") else [92, 8, 0]
    chosen: Behaviour = dice.choices(["reads", "leaves-early", "leaves-mid"], weights)[0]  # type: ignore[assignment]
    return chosen


def _vary(sent: Sent, options: dict[str, Any], dice: random.Random) -> None:
    if sent.stream and dice.random() < 0.6:
        options["stream_options"] = dice.choice([{"include_usage": True}, {"include_usage": False}])
    if dice.random() < 0.15:
        options["n"] = 2
    if dice.random() < 0.15:
        options["tools"] = TOOLS
    if dice.random() < 0.1:
        options["max_tokens"] = dice.choice([5, 100_000])


async def send_all(base_url: str, provider: FakeProvider, requests: Sequence[Sent], at_once: int) -> None:
    """Send them in order, so many at once."""
    waiting = list(reversed(requests))
    clients = {
        key: openai.AsyncOpenAI(base_url=base_url, api_key=secret_of(key), max_retries=0, timeout=40)
        for key in (*KEYS, None)
    }

    async def client() -> None:
        while waiting:
            sent = waiting.pop()
            await _send(clients[sent.key], provider, sent)

    async with asyncio.TaskGroup() as all_clients:
        for _ in range(at_once):
            all_clients.create_task(client())
    for one in clients.values():
        await one.close()


async def _send(client: openai.AsyncOpenAI, provider: FakeProvider, sent: Sent) -> None:
    try:
        if sent.behaviour == "leaves-early":
            await _leave_early(client, provider, sent)
        else:
            await _ask(client, sent)
    except openai.APIStatusError as error:
        sent.status, sent.complete = error.status_code, True
        sent.request_id = error.response.headers.get("x-request-id")
        sent.failure = str(error)
    except (openai.APIError, httpx.HTTPError) as error:  # a stream that broke, or an error in it
        sent.failure = repr(error)


async def _leave_early(client: openai.AsyncOpenAI, provider: FakeProvider, sent: Sent) -> None:
    """As soon as the provider has been asked, and before it has answered if it is slow; unless all is over before."""
    asking = asyncio.create_task(_ask(client, sent))
    arrived = asyncio.create_task(_arrival(provider, sent))
    await asyncio.wait((asking, arrived), return_when=asyncio.FIRST_COMPLETED)
    arrived.cancel()
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking


async def _arrival(provider: FakeProvider, sent: Sent) -> None:
    while sent.marker not in markers(provider.requests[-50:]):
        await provider.wait_for_requests(provider.received + 1, within=60)


async def _ask(client: openai.AsyncOpenAI, sent: Sent) -> None:
    method = getattr(_Ask, sent.kind)
    answer = await method(client, sent, f"{sent.marker}: count to {20 + int(sent.marker[1:]) % 40}")
    sent.status = 200
    if isinstance(answer, openai.AsyncStream):
        sent.request_id = answer.response.headers.get("x-request-id")
        await _read(answer, sent)
    else:
        sent.request_id, sent.complete = answer.headers.get("x-request-id"), True


async def _read(stream: openai.AsyncStream[Any], sent: Sent) -> None:
    seen = 0
    async for _ in stream:
        seen += 1
        if seen == 3 and sent.behaviour == "leaves-mid":
            await stream.close()
            return
    sent.complete = True


class _Ask:
    """How the client asks each endpoint: a stream, or a raw answer."""

    @staticmethod
    async def chat(client: openai.AsyncOpenAI, sent: Sent, prompt: str) -> Any:
        api = client.chat.completions if sent.stream else client.chat.completions.with_raw_response
        messages = [{"role": "user", "content": prompt}]
        return await api.create(model=sent.model, messages=messages, user=sent.marker, **sent.options)

    @staticmethod
    async def completions(client: openai.AsyncOpenAI, sent: Sent, prompt: str) -> Any:
        api = client.completions if sent.stream else client.completions.with_raw_response
        return await api.create(model=sent.model, prompt=prompt, user=sent.marker, **sent.options)

    @staticmethod
    async def embeddings(client: openai.AsyncOpenAI, sent: Sent, prompt: str) -> Any:
        api = client.embeddings.with_raw_response
        return await api.create(model=sent.model, input=prompt, user=sent.marker, encoding_format="float")

    @staticmethod
    async def responses(client: openai.AsyncOpenAI, sent: Sent, prompt: str) -> Any:
        api = client.responses if sent.stream else client.responses.with_raw_response
        return await api.create(model=sent.model, input=prompt, user=sent.marker, **sent.options)

    @staticmethod
    async def messages(client: openai.AsyncOpenAI, sent: Sent, prompt: str) -> Any:
        """Anthropic's endpoint, which OpenAI's client has no method for."""
        body = {"model": sent.model, "max_tokens": 50, "messages": [{"role": "user", "content": prompt}]}
        return await client.post("/messages", body={**body, **sent.options}, cast_to=httpx.Response)


def markers(requests: Sequence[ReceivedRequest]) -> dict[str, list[ReceivedRequest]]:
    """The provider's log by marker, in order of arrival."""
    found: dict[str, list[ReceivedRequest]] = {}
    for request in requests:
        if match := MARKER.search(request.body):
            found.setdefault(match[0].decode(), []).append(request)
    return found
