"""An event that nobody can read in a stream: left out and counted, or a break; over both handlers and their roads."""

import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
import pytest

from crplugins.core.sse import Splitter
from crplugins.homes.gateway.app import Gateway
from crplugins.testing import FakeProvider, Script
from tests.core.doubles import Watcher
from tests.gateway_setup import CLIENT_KEY, UPSTREAM_KEY, Answered, Setup

HALF = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":\n\n'
MALFORMED = [
    HALF,
    b"data: oops\n\n",
    b"data: <html>502</html>\n\n",
    b'data: "a text"\n\n',
    b"data: 7\n\n",
    b"data: [7]\n\n",
    b'data: {"id":"c","choices":"none"}\n\n',
    b'data: {"id":"c","choices":[7]}\n\n',
    b"data: \xff\xfe\n\n",
    b'event: message\ndata: {"id":\n\n',
]
DONE = b"data: [DONE]\n\n"
COUNTS = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n'


def chunk(finish: str | None = None, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "c", "model": "m", "choices": [choice]}).encode() + b"\n\n"


def call(**function: str) -> bytes:
    begins = {"id": "call_1", "type": "function"} if "name" in function else {}
    return chunk(tool_calls=[{"index": 0, **begins, "function": function}])


ONE, TWO, END = chunk(content="one "), chunk(content="two"), chunk("stop")
SILENT_END = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"one two"}}]}\n\n'

Start = Callable[..., AbstractAsyncContextManager[tuple[Setup, Watcher]]]
ROADS = {
    "direct": {"handler": "direct"},
    "litellm": {"handler": "litellm"},
    "acompletion": {"handler": "litellm", "allowed_openai_params": ["logit_bias"]},
    "lines": {"handler": "litellm", "model": "mistral/m", "allowed_openai_params": ["logit_bias"]},
}
"""A setting that has litellm do more keeps every request on the road of `acompletion`: OpenAI's SDK reads the one, a
reader of lines the other."""


@pytest.fixture(params=list(ROADS))
def road(request: pytest.FixtureRequest, serve: Any) -> Start:
    """`async with road(skip_malformed=0) as (gateway, watcher):` one model, one provider."""

    @asynccontextmanager
    async def start(**params: Any) -> AsyncIterator[tuple[Setup, Watcher]]:
        watcher = Watcher()
        settings = ROADS[request.param]
        async with FakeProvider() as provider:
            litellm_params = {
                "model": "openai/m",
                "api_base": provider.base_url,
                "api_key": UPSTREAM_KEY,
                **settings,
                **params,
            }
            handler = litellm_params.pop("handler")
            models = [{"model_name": "m", "litellm_params": litellm_params, "handler": handler}]
            app = Gateway(
                model_list=models, keys=[{"id": "k", "secret": CLIENT_KEY}], plugins=[watcher], metrics={"token": None}
            )
            async with serve(app) as url, aiohttp.ClientSession() as session:
                yield Setup(provider, url, session), watcher

    return start


def said(answer: Answered) -> str:
    chunks = [json.loads(event.data or b"") for event in Splitter().feed(answer.body) if event.answer is not None]
    return "".join(choice["delta"].get("content") or "" for each in chunks for choice in each.get("choices") or ())


def code_of(answer: Answered) -> str | None:
    """The code of the error in the status, or behind what was said; None without one."""
    if answer.status != 200:
        return json.loads(answer.body)["error"]["code"]
    errors = [event.answer.error for event in Splitter().feed(answer.body) if event.answer and event.answer.error]
    return errors[0]["code"] if errors else None


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_one_malformed_event_is_left_out_and_counted_wherever_it_stands(
    road: Start, caplog: pytest.LogCaptureFixture, place: int
) -> None:
    async with road() as (gateway, watcher):
        for number, malformed in enumerate(MALFORMED):
            events = [ONE, TWO, END, COUNTS, DONE]
            gateway.provider.enqueue(Script(events=[*events[:place], malformed, *events[place:]]))
            with caplog.at_level(logging.WARNING, "crplugins.upstream"):
                answer = await gateway.post(stream=True, stream_options={"include_usage": True})
            assert (answer.status, code_of(answer), said(answer)) == (200, None, "one two"), malformed
            assert answer.body.endswith(DONE)
            exchange = watcher.exchanges[number]
            assert [attempt.left_out for attempt in exchange.attempts] == [1], malformed
            assert (exchange.usage, exchange.usage_source, exchange.outcome)[1:] == ("provider", "ok")
        assert caplog.text.count("a malformed event of its stream was left out, 1 of at most 1") == len(MALFORMED)
        assert "oops" not in caplog.text
        async with gateway.session.get(gateway.url + "/metrics", headers=gateway.headers) as scraped:
            assert f"{len(MALFORMED)}.0" in _line(await scraped.text(), "crplugins_upstream_malformed_events_total{")


def _line(text: str, beginning: str) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith(beginning)]
    return line


@pytest.mark.parametrize(("allowed", "sent", "left_out"), [(0, 1, 0), (1, 2, 1), (3, 3, 3), (3, 4, 3)])
async def test_one_more_than_may_be_left_out_is_a_break(road: Start, allowed: int, sent: int, left_out: int) -> None:
    async with road(skip_malformed=allowed) as (gateway, watcher):
        gateway.provider.enqueue(Script(events=[ONE, *[HALF] * sent, TWO, END, DONE]))
        answer = await gateway.post(stream=True)
        broken = sent > allowed
        assert (answer.status, code_of(answer)) == (200, "upstream_malformed" if broken else None)
        assert said(answer) == ("one " if broken else "one two")
        (exchange,) = watcher.exchanges
        assert exchange.attempts[0].left_out == left_out
        assert exchange.error_type == ("upstream_stream_broken" if broken else "")


async def test_before_the_first_token_a_break_is_a_status(road: Start) -> None:
    async with road() as (gateway, _):
        gateway.provider.enqueue(Script(events=[HALF, HALF, ONE, END, DONE]))
        answer = await gateway.post(stream=True)
        assert (answer.status, code_of(answer)) == (502, "upstream_malformed")


@pytest.mark.parametrize("word", [ONE, SILENT_END])
async def test_an_answer_whose_last_word_may_have_been_left_out_is_never_complete(road: Start, word: bytes) -> None:
    async with road() as (gateway, watcher):
        gateway.provider.enqueue(Script(events=[word, HALF, DONE]))
        answer = await gateway.post(stream=True)
        assert (answer.status, code_of(answer)) == (200, "upstream_incomplete")
        assert watcher.exchanges[0].outcome == "server_error"


async def test_what_is_left_out_with_the_counts_is_estimated(road: Start) -> None:
    async with road() as (gateway, watcher):
        gateway.provider.enqueue(Script(events=[ONE, TWO, END, HALF, DONE]))
        answer = await gateway.post(stream=True)
        assert code_of(answer) is None
        assert (watcher.exchanges[0].usage_source, watcher.exchanges[0].outcome) == ("estimated", "ok")


@pytest.mark.parametrize(
    "events",
    [
        [call(name="f", arguments=""), call(arguments='{"path": "/home'), HALF, call(arguments='"}')],
        [HALF, call(arguments='{"path": "/home"}')],
    ],
)
async def test_no_part_of_a_tool_call_is_left_out(road: Start, events: list[bytes]) -> None:
    async with road() as (gateway, _):
        gateway.provider.enqueue(Script(events=[*events, chunk("tool_calls"), DONE]))
        answer = await gateway.post(stream=True)
        assert code_of(answer) in ("upstream_malformed", "upstream_incomplete")
        assert b'"finish_reason":"tool_calls"' not in answer.body.replace(b" ", b"")


@pytest.mark.parametrize(("sent", "status"), [(1, 200), (2, 502)])
async def test_a_stream_in_the_place_of_a_document_has_the_same_rule(road: Start, sent: int, status: int) -> None:
    async with road() as (gateway, watcher):
        gateway.provider.enqueue(Script(events=[ONE, *[HALF] * sent, TWO, END, DONE]))
        answer = await gateway.post()
        assert (answer.status, watcher.exchanges[0].attempts[0].left_out) == (status, 1)
        if status == 200:
            assert json.loads(answer.body)["choices"][0]["message"]["content"] == "one two"


async def test_what_follows_a_complete_answer_is_neither_counted_nor_a_break(road: Start) -> None:
    async with road(skip_malformed=0) as (gateway, watcher):
        gateway.provider.enqueue(Script(events=[ONE, END, COUNTS, HALF, HALF, DONE]))
        answer = await gateway.post(stream=True)
        assert (code_of(answer), said(answer)) == (None, "one ")
        assert watcher.exchanges[0].attempts[0].left_out == 0
