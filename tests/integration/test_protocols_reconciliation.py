"""Every protocol at once: the ledger's tokens and micro-USD are those that the provider says.

Each request has a marker in what it asks, by which the provider's log and the ledger's rows are put side by side.
"""

import asyncio
import json
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import aiohttp

from crplugins.core.dialects import BY_NAME
from crplugins.homes.gateway.app import Gateway
from crplugins.testing import FakeProvider, Script, usage_object
from tests.conftest import serving
from tests.integration.metering_books import read_table
from tests.long import times

REQUESTS: Final = times(400, 5000)
AT_ONCE: Final = 40
SECRET: Final = "sk-test-of-protocols"
KEY: Final = {"authorization": f"Bearer {SECRET}"}

PRICES: Final = {
    "input_cost_per_token": "0.000003",
    "output_cost_per_token": "0.000015",
    "cache_read_input_token_cost": "0.0000003",
    "cache_creation_input_token_cost": "0.00000375",
    "output_cost_per_reasoning_token": "0.00002",
    "output_cost_per_image_token": "0.00004",
    "input_cost_per_audio_token": "0.000006",
}

SPOKEN: Final = ("chat", "completions", "responses", "messages")
COUNTED: Final = ("embeddings", "rerank", "images", "transcriptions", "translations")
MODELS: Final[dict[str, Script]] = {
    "plain": Script(usage="asked"),
    "cached": Script(usage_object=usage_object(2000, 40, cached=1500)),
    "written": Script(usage_object=usage_object(3000, 30, cached=100, cache_write=2000)),
    "thinking": Script(reasoning="Let me think about that.", usage_object=usage_object(50, 400, reasoning=350)),
    "calling": Script(tool_calls=[("get_weather", '{"city": "Paris"}')]),
    "limited": Script.rate_limited(1),
    "down": Script(status=503),
    "odd-pieces": Script(write=7),
}


@dataclass
class Sent:
    marker: str
    dialect: str
    model: str
    stream: bool
    body: Any
    request_id: str = ""
    status: int = 0


def plan(count: int, dice: random.Random) -> list[Sent]:
    return [_sent(f"r{number:05}", dice) for number in range(count)]


def _sent(marker: str, dice: random.Random) -> Sent:
    dialect = dice.choice(SPOKEN * 3 + COUNTED)
    model = dice.choice(list(MODELS)) if dialect in SPOKEN else dice.choice(("plain", "limited", "down"))
    stream = dialect in SPOKEN and dice.random() < 0.6
    text = f"{marker} " + " ".join(dice.choice(("alpha", "größe", "beta", "{}")) for _ in range(dice.randint(1, 30)))
    message = [{"role": "user", "content": text}]
    asks: dict[str, Any] = {
        "chat": {"messages": message, "n": dice.choice((1, 2))},
        "completions": {"prompt": [text, "and more"], "n": dice.choice((1, 2)), "best_of": dice.choice((2, 3))},
        "responses": {"input": text},
        "messages": {"messages": message, "max_tokens": 100},
        "embeddings": {"input": [text, "more"]},
        "rerank": {"query": text, "documents": ["a", "bb"]},
        "images": {"prompt": text, "n": dice.choice((1, 3))},
        "transcriptions": {"prompt": text},
        "translations": {"prompt": text},
    }[dialect]
    if stream and dialect in ("chat", "completions") and dice.random() < 0.5:
        asks["stream_options"] = {"include_usage": True}
    return Sent(marker, dialect, model, stream, {"model": model, **({"stream": True} if stream else {}), **asks})


async def send_all(url: str, requests: Sequence[Sent]) -> None:
    waiting = list(reversed(requests))
    async with aiohttp.ClientSession(headers=KEY, timeout=aiohttp.ClientTimeout(total=300)) as session:

        async def client() -> None:
            while waiting:
                sent = waiting.pop()
                async with session.post(f"{url}/v1{BY_NAME[sent.dialect].path}", **_content(sent)) as answer:
                    await answer.read()
                    sent.status, sent.request_id = answer.status, answer.headers["x-request-id"]

        async with asyncio.TaskGroup() as clients:
            for _ in range(AT_ONCE):
                clients.create_task(client())


def _content(sent: Sent) -> dict[str, Any]:
    if not BY_NAME[sent.dialect].form:
        return {"json": sent.body}
    form = aiohttp.FormData()
    for name, value in sent.body.items():
        form.add_field(name, value)
    form.add_field("file", b"RIFF" + bytes(256), filename="a.wav", content_type="audio/wav")
    return {"data": form}


def bill(prompt: int, completion: int, sent: Sent) -> int:
    """In micro-USD, rounded half up: each part of the count at its own price."""
    script = MODELS[sent.model]
    told = script.usage_object or {}
    read, made = told.get("prompt_tokens_details", {}), told.get("completion_tokens_details", {})
    cached, thought = read.get("cached_tokens", 0), made.get("reasoning_tokens", 0)
    # OpenAI's Responses have no word for what is written to a cache.
    written = read.get("cache_write_tokens", 0) if sent.dialect != "responses" else 0
    heard = 20 if sent.dialect in ("transcriptions", "translations") else 0
    drawn = completion if sent.dialect == "images" else 0
    parts = {
        "input_cost_per_token": prompt - cached - written - heard,
        "output_cost_per_token": completion - thought - drawn,
        "cache_read_input_token_cost": cached,
        "cache_creation_input_token_cost": written,
        "output_cost_per_reasoning_token": thought,
        "output_cost_per_image_token": drawn,
        "input_cost_per_audio_token": heard,
    }
    cost = sum(Fraction(PRICES[name]) * count for name, count in parts.items()) * 10**6
    return int(cost + Fraction(1, 2))


async def test_tokens_and_micro_usd_of_every_protocol_are_what_the_provider_says(tmp_path: Path) -> None:
    sent = plan(REQUESTS, random.Random(20260718))
    file = tmp_path / "usage.db"
    async with FakeProvider(keep_requests=2 * REQUESTS) as provider:
        for name, script in MODELS.items():
            provider.script(name, script)
        at = {"api_base": provider.base_url, "api_key": "sk-upstream"}
        app = Gateway(
            model_list=[
                {"model_name": name, "litellm_params": {"model": f"openai/{name}", **at}, "model_info": PRICES}
                for name in MODELS
            ],
            keys=[{"id": "team", "secret": SECRET}],
            ledger={"url": f"sqlite:///{file}", "commit_seconds": 0},
            num_retries=0,
        )
        async with serving(app) as url:
            await send_all(url, sent)
        told = {marker_of(request.body): request for request in provider.requests}
    rows = {row["request_id"]: row for row in read_table(file, "usage")}
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    for each in sent:
        request, row = told[each.marker], rows[each.request_id]
        fails = MODELS[each.model].status >= 400
        assert (each.status >= 400) is fails, each
        if fails:
            assert request.usage is None
            assert (row["input_tokens"] or 0, row["output_tokens"] or 0, row["cost_micro_usd"] or 0) == (0, 0, 0)
            continue
        assert request.usage is not None, each
        counted = (row["input_tokens"], row["output_tokens"])
        assert counted == request.usage, (each, row)
        assert row["cost_micro_usd"] == bill(*request.usage, each), (each, row)
        assert (row["usage_source"], row["endpoint"]) == ("provider", each.dialect)
        sums[each.dialect] += Counter(requests=1, input=counted[0], output=counted[1], micro_usd=row["cost_micro_usd"])
    assert len(rows) == len(sent)
    assert sums.keys() == {*SPOKEN, *COUNTED}
    whole = sum(sums.values(), Counter())
    assert (whole["input"], whole["output"]) == tuple(
        sum(request.usage[place] for request in told.values() if request.usage is not None) for place in (0, 1)
    )
    print(json.dumps({"whole": whole, **sums}))


def marker_of(body: bytes) -> str:
    place = body.index(b"r0")
    return body[place : place + 6].decode()
