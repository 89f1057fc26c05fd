"""What RequestGuard costs, in microseconds. `pytest -m bench -n 0 -s tests/plugins/guard/test_cost.py`."""

import time
import timeit
from collections.abc import Callable

import msgspec
import pytest

from crplugins.asgi.scope import make_exchange
from crplugins.core.body import Body
from crplugins.plugins.guard.plugin import RequestGuard
from crplugins.testing.asgi import http_scope
from tests.schema.samples import CALL, CALLED, HI, RESULT

TEXT = 'Lorem ipsum dolor sit amet, "quoted" text\n and more. '
SCHEMA = {"type": "object", "properties": {f"p{i}": {"type": "string", "description": "x" * 80} for i in range(8)}}
TOOL = {"type": "function", "function": {"name": "read_file", "description": "d" * 300, "parameters": SCHEMA}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_000_000}}
PARAMETERS = {
    "model": "gpt-4o-mini", "temperature": 0.7, "top_p": 1, "max_tokens": 100, "user": "u", "stream": True,
    "stream_options": {"include_usage": True},
}  # fmt: skip


def talk(count: int, words: int) -> list[dict]:
    return [{"role": ("user", "assistant")[i % 2], "content": TEXT * words} for i in range(count)]


def agent(count: int, words: int) -> list[dict]:
    return [HI, *(message for _ in range(count) for message in (CALLED, RESULT | {"content": TEXT * words}))]


REQUESTS = {
    "one line": {"messages": [HI]},
    "20 KB of talk": {"messages": talk(40, 9)},
    "200 KB of talk": {"messages": talk(80, 45)},
    "20 KB of tool calls": {"messages": agent(20, 16)},
    "200 KB of tool calls": {"messages": agent(60, 60)},
    "20 tools": {"messages": [HI], "tools": [TOOL] * 20},
    "an image of 1 MB": {"messages": [{"role": "user", "content": [IMAGE]}]},
    "a custom tool call": {"messages": [*talk(40, 9), CALLED | {"tool_calls": [CALL | {
        "type": "custom", "custom": {"name": "g", "input": "x"}}]}]},
}  # fmt: skip


def microseconds(call: Callable[[], object], count: int) -> float:
    return min(timeit.repeat(call, number=count, repeat=7)) / count * 1e6


@pytest.mark.bench
@pytest.mark.parametrize("name", REQUESTS)
def test_the_cost_of_a_request(name, capsys):
    exchange = make_exchange(http_scope("POST", "/v1/chat/completions"), time.monotonic, lambda: "id")
    body = exchange.body = Body(msgspec.json.encode(PARAMETERS | REQUESTS[name]))
    guard = RequestGuard()

    count = max(10, min(2000, 4_000_000 // len(body.raw)))
    parse = microseconds(lambda: Body(body.raw).fields, count)
    body.get("model")
    cost = microseconds(lambda: guard.on_request(exchange), count)
    with capsys.disabled():
        print(f"\nRequestGuard, {name} ({len(body.raw)} B): {cost:.1f} us beside the parse of {parse:.1f} us")
