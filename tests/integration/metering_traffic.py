"""A few thousand requests as a bad day would bring them, each of them remembered: what was sent, what the client saw."""

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import aiohttp

from crplugins.testing import FakeProvider, ReceivedRequest, Script, usage_object
from tests.integration.metering_bills import BILLS, PRICES, Happened
from tests.integration.metering_setup import PATH
from tests.rehearsals import alike

Behaviour = Literal["reads", "leaves-early", "leaves-mid", "leaves-late", "times-out"]

KEYS: Final[Mapping[str, Mapping[str, Any]]] = {
    "plain": {"team": "search"},
    "cancels": {"on_disconnect": "cancel"},
    "drains": {"on_disconnect": "drain", "team": "search"},
    "pays-nothing-unknown": {"missing_usage": "free"},
    "wants-numbers": {"missing_usage": "refuse", "on_disconnect": "drain"},
}

CACHED: Final = usage_object(120, 30, cached=64, reasoning=7)
WRITTEN: Final = {**usage_object(90, 12), "prompt_tokens_details": {"cached_tokens": 16, "cache_write_tokens": 40}}
_ERROR: Final = b'data: {"id":"e","choices":[{"index":0,"delta":{"content":"oh"}}],"error":{"code":500,"message":"no"}'
_SAID: Final = (
    b'data: {"id":"e","choices":[{"index":0,"delta":{"role":"assistant","content":"well"},"finish_reason":null}]}\n\n'
)
_COUNTED: Final = b',"usage":{"prompt_tokens":43,"completion_tokens":10,"total_tokens":53}}\n\n'
PATIENT: Final = 600
TIMEOUTS: Final = {"stall": 1.5, "silent": 1.5}
"""Seconds the gateway waits for a provider that falls silent; the others may be slow on a busy machine."""

# What the provider does when asked for this model; the handler's name stands before it in the name clients use.
SCRIPTS: Final[Mapping[str, Script]] = {
    "ok": Script(),
    "one-write": Script(write="all"),
    "bytewise": Script(write=50),
    "finish-chunk": Script(usage="in_finish_chunk"),
    "unasked": Script(usage="on"),
    "uncounted": Script(usage="off"),
    "cached": Script(usage_object=CACHED),
    "written": Script(usage_object=WRITTEN, usage="in_finish_chunk"),
    "slow": Script(frame_delay=0.03),
    "late": Script(delay=0.15, frame_delay=0.01),
    "cut": Script(cut_after=4, frame_delay=0.001),
    "cut-at-once": Script(cut_after=0),
    "reset": Script(reset_after=4, frame_delay=0.002),
    "stall": Script(stall_after=3),
    "silent": Script(delay=60),
    "malformed": Script(malformed_after=3, frame_delay=0.001),
    "error-inside": Script(events=[_SAID, _ERROR + _COUNTED, b"data: [DONE]\n\n"]),
    "refuses": Script.error(400, "temperature is too high", param="temperature"),
    "limited": Script.rate_limited(),
    "down": Script(status=500),
    "our-key-is-wrong": Script.error(401, "Incorrect API key provided"),
    "unreachable": Script(refuse_connection=True),
    "old": Script(refuse_stream_options=400),
    "older": Script(refuse_stream_options=422),
}
HANDLERS: Final = ("direct", "litellm")
CASES: Final[Mapping[str, Script]] = {**SCRIPTS, **{name: bill.script for name, bill in BILLS.items()}}
alike(CASES)
MODELS: Final = [f"{handler}-{name}" for handler in HANDLERS for name in CASES]

# Several times as many good answers as bad ones, and two of five requests for the bills.
_WEIGHTS: Final = {name: 6 if name in ("ok", "one-write", "slow", "finish-chunk", "cached") else 2 for name in SCRIPTS}
_BILL_WEIGHTS: Final = dict.fromkeys(BILLS, sum(_WEIGHTS.values()) * 2 / 3 / len(BILLS))


@dataclass
class Sent:
    """One request. `marker` is its `user`, which provider and ledger both keep.

    Attributes:
        key: None for a key that is none.
        broken: why it can never reach a provider, if it cannot.
        request_id: as the client read it; None if it left before.
        complete: the client read the whole answer.
    """

    marker: str
    model: str
    key: str | None
    body: bytes
    stream: bool
    behaviour: Behaviour
    broken: str | None = None
    status: int | None = None
    request_id: str | None = None
    complete: bool = False
    answer: bytes = b""

    @property
    def case(self) -> str:
        return self.model.partition("-")[2]

    def text(self) -> str | None:
        """What a client reads of an answer in the form that it asked for; None if it has another one."""
        if not self.stream:
            return str(json.loads(self.answer)["choices"][0]["message"]["content"])
        *events, end = self.answer.decode().removesuffix("\n\n").split("\n\n")
        chunks = [json.loads(event.removeprefix("data: ")) for event in events]
        said = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]]
        return "".join(said) if end == "data: [DONE]" else None


def secret_of(key: str | None) -> str:
    return f"sk-{key or 'nobody'}-0123456789abcdef"


def gateway_options(provider: FakeProvider) -> dict[str, Any]:
    """The models and keys of a Gateway for this traffic."""
    # The provider lives on the same event loop, which litellm's import holds for seconds on a busy machine.
    base = {"api_base": provider.base_url, "api_key": "sk-upstream-9876543210", "connect_timeout": PATIENT}
    for name, script in CASES.items():
        provider.script(name, script)
    return {
        "model_list": [
            {
                "model_name": f"{handler}-{name}",
                "litellm_params": {"model": f"openai/{name}", "timeout": TIMEOUTS.get(name, PATIENT), **base},
                "skip_malformed": 0,
                "model_info": dict(prices_of(name)),
                "handler": handler,
            }
            for handler in HANDLERS
            for name in CASES
        ],
        "keys": [{"id": key, "secret": secret_of(key), **words} for key, words in KEYS.items()],
    }


def prices_of(case: str) -> Mapping[str, float]:
    """Not every model has a price; `tiers` for those whose answers name the tier that was asked for."""
    if case in BILLS:
        return PRICES[BILLS[case].prices]
    return PRICES["none" if case == "slow" else "tiers" if case in ("ok", "cached") else "flat"]


def happened_at(request: ReceivedRequest) -> Happened | None:
    """What the provider did for a request, by its own log; None if it has not told."""
    if (bill := BILLS.get(request.model or "")) is not None:
        return bill.happened if bill.told(request.frames_sent) else None
    if request.usage is None:
        return None
    script, (prompt, completion) = SCRIPTS[request.model or ""], request.usage
    details = (script.usage_object or {}).get("prompt_tokens_details", {})
    cached, written = details.get("cached_tokens", 0), details.get("cache_write_tokens", 0)
    thought = (script.usage_object or {}).get("completion_tokens_details", {}).get("reasoning_tokens", 0)
    tier = request.json.get("service_tier")
    tier = None if script.events is not None else "default" if tier in (None, "auto") else tier
    return Happened(prompt - cached - written, completion - thought, cached, written, thought=thought, tier=tier)


def plan(count: int, seed: int, max_body_bytes: int) -> list[Sent]:
    """The same requests for the same seed."""
    dice = random.Random(seed)
    return [_request(number, dice, max_body_bytes) for number in range(count)]


def _request(number: int, dice: random.Random, max_body_bytes: int) -> Sent:
    handler, name = dice.choice(HANDLERS), _case(dice)
    stream = dice.random() < 0.7 or name == "error-inside"  # a plain answer has no inside
    behaviour = dice.choices(
        ["reads", "leaves-early", "leaves-mid", "leaves-late", "times-out"],
        [70, 6, 10, 7, 7] if stream else [84, 8, 0, 0, 8],
    )[0]
    sent = Sent(f"r{number:05}", f"{handler}-{name}", dice.choice(list(KEYS)), b"", stream, behaviour)
    words = " ".join(dice.choice(("alpha", "beta", "größe", "delta")) for _ in range(dice.randint(1, 40)))
    body: dict[str, Any] = {"model": sent.model, "user": sent.marker, "stream": stream}
    body["messages"] = [{"role": "user", "content": f"count to {dice.randint(3, 60)}" if stream else words}]
    if stream and dice.random() < 0.7:
        body["stream_options"] = dice.choice([{"include_usage": True}, {"include_usage": False}, {}, None])
    if name not in BILLS and dice.random() < 0.1:  # of a bill there is one
        body["n"] = 2
    if dice.random() < 0.4:
        body["service_tier"] = dice.choice(["auto", "default", "priority", "flex"])
    _maybe_break(sent, body, dice, max_body_bytes)
    sent.body = sent.body or json.dumps(body).encode()
    return sent


def _case(dice: random.Random) -> str:
    weights = {**_WEIGHTS, **_BILL_WEIGHTS}
    return dice.choices(list(weights), list(weights.values()))[0]


def _maybe_break(sent: Sent, body: dict[str, Any], dice: random.Random, max_body_bytes: int) -> None:
    """One in eight is none that a provider will ever see."""
    if dice.random() > 0.125:
        return
    sent.broken, sent.behaviour = dice.choice(["key", "model", "size", "json", "field"]), "reads"
    if sent.broken == "key":
        sent.key = None
    elif sent.broken == "model":
        sent.model = body["model"] = dice.choice(["gpt-nope", "gpt-nope-2", "direct-nothing"])
    elif sent.broken == "size":
        sent.body = json.dumps({**body, "metadata": {"padding": "x" * max_body_bytes}}).encode()
    elif sent.broken == "json":
        sent.body = b'{"model": ' + sent.marker.encode()
    else:
        body["temperature"] = 7


async def send_all(url: str, requests: Sequence[Sent], at_once: int, dice: random.Random) -> None:
    """Send them in order, so many at once."""
    waiting = list(reversed(requests))
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def client() -> None:
            while waiting:
                await _send(url, session, waiting.pop(), dice)

        async with asyncio.TaskGroup() as clients:
            for _ in range(at_once):
                clients.create_task(client())


async def _send(url: str, session: aiohttp.ClientSession, sent: Sent, dice: random.Random) -> None:
    if sent.behaviour == "leaves-early":
        await _send_and_leave(url, sent, dice)
        return
    # From when the request is out: one that never reached the gateway would be missing in its books.
    patience = aiohttp.ClientTimeout(total=PATIENT, sock_read=0.05 if sent.behaviour == "times-out" else None)
    headers = {"authorization": f"Bearer {secret_of(sent.key)}", "content-type": "application/json"}
    with suppress(TimeoutError):
        async with session.post(url + PATH, data=sent.body, headers=headers, timeout=patience) as response:
            sent.status, sent.request_id = response.status, response.headers["x-request-id"]
            await _read(response, sent)


async def _read(response: aiohttp.ClientResponse, sent: Sent) -> None:
    leaves = {"leaves-mid": b"data: ", "leaves-late": b'"finish_reason":"stop"'}.get(sent.behaviour)
    async for piece in response.content.iter_any():
        sent.answer += piece
        if leaves is not None and leaves in sent.answer:
            response.close()
            return
    sent.complete = True


async def _send_and_leave(url: str, sent: Sent, dice: random.Random) -> None:
    """The whole request, and then the client goes: at once, or some milliseconds later."""
    parts = urlsplit(url)
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {secret_of(sent.key)}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(sent.body)}\r\n\r\n"
    )
    writer.write(head.encode() + sent.body)
    await writer.drain()
    await asyncio.sleep(dice.choice([0, 0, 0.001, 0.01]))
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
