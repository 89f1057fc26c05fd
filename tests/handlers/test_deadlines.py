"""How long a deployment may take: what settings mean, and what a client sees of each deadline, over both handlers."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from crplugins.core.sse import Splitter
from crplugins.handlers.deadlines import CONNECT_TIMEOUT, NO_DEADLINES, Deadlines, Patience
from crplugins.homes.gateway.app import Gateway
from crplugins.testing import FakeProvider, Script
from tests.core.doubles import Watcher
from tests.gateway_setup import CLIENT_KEY, UPSTREAM_KEY, Answered, Setup

NEVER = float("inf")
ROLE = b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
WORD = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}\n\n'
FINISH = b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
HEARTBEATS = [b": ping\n\n", b'data: {"type":"ping"}\n\n', b"data: {}\n\n", ROLE, b'data: {"choices":[]}\n\n']
COUNTED = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}\n\n'


@pytest.mark.parametrize(
    ("written", "stream", "can_fail_over", "meant"),
    [
        (NO_DEADLINES, True, True, (200, 600, NEVER)),
        (NO_DEADLINES, True, False, (600, 600, NEVER)),
        (NO_DEADLINES, False, True, (200, 600, 600)),
        (NO_DEADLINES, False, False, (600, 600, 600)),
        (Deadlines(30), True, True, (10, 30, 30)),
        (Deadlines(30), True, False, (30, 30, 30)),
        (Deadlines(30), False, True, (10, 30, 30)),
        (Deadlines(first_token=20), True, False, (20, 600, NEVER)),
        (Deadlines(first_token=20), False, True, (20, 600, 600)),
        (Deadlines(first_token=20), False, False, (600, 600, 600)),
        (Deadlines(first_token_of_stream=20), True, False, (20, 600, NEVER)),
        (Deadlines(first_token_of_stream=20), False, True, (200, 600, 600)),
        (Deadlines(first_token=9, first_token_of_stream=20), True, True, (20, 600, NEVER)),
        (Deadlines(stall=5), True, True, (200, 5, NEVER)),
        (Deadlines(60, first_token=90, stall=120), True, True, (60, 120, 60)),
    ],
)
def test_what_is_not_written_follows_from_what_is(
    written: Deadlines, stream: bool, can_fail_over: bool, meant: tuple[float, ...]
) -> None:
    patience = written.patience(stream=stream, can_fail_over=can_fail_over)
    assert (patience.first_token, patience.stall, patience.whole) == meant
    assert patience.connect == min(CONNECT_TIMEOUT, patience.first_token)


def test_what_is_nearer_to_the_deployment_comes_first() -> None:
    general = Deadlines(60, first_token=5, first_token_of_stream=6, stall=7)
    assert NO_DEADLINES.or_else(general) == general
    assert Deadlines(30, stall=2).or_else(general) == Deadlines(30, first_token=5, first_token_of_stream=6, stall=2)
    # A general rule for streams is none for a deployment that has one of its own for all answers.
    assert Deadlines(first_token=1).or_else(general) == Deadlines(60, first_token=1, stall=7)


def test_no_client_library_is_less_patient_than_the_deadlines() -> None:
    assert Deadlines(30, stall=900).longest == 900
    assert Deadlines(first_token=1000).longest == 1000


@dataclass
class Deployments(Setup):
    providers: list[FakeProvider] = field(default_factory=list)
    watcher: Watcher = field(default_factory=Watcher)

    @property
    def calls(self) -> list[int]:
        return [len(provider.requests) for provider in self.providers]

    @property
    def failures(self) -> list[str]:
        (exchange,) = self.watcher.exchanges
        return [attempt.error_type for attempt in exchange.attempts]


Start = Callable[..., AbstractAsyncContextManager[Deployments]]


@pytest.fixture(params=["direct", "litellm"])
def deployments(request: pytest.FixtureRequest, serve: Any) -> Start:
    """`async with deployments(2, timeout=3) as made:` one model, two providers. `first` are settings of one alone."""

    @asynccontextmanager
    async def start(count: int, first: Mapping[str, Any] | None = None, **params: Any) -> AsyncIterator[Deployments]:
        watcher = Watcher()
        async with AsyncExitStack() as stack:
            providers = [await stack.enter_async_context(FakeProvider()) for _ in range(count)]
            models = [
                {
                    "model_name": "m",
                    "litellm_params": {
                        "model": "openai/x",
                        "api_base": provider.base_url,
                        "api_key": UPSTREAM_KEY,
                        **params,
                        **((first or {}) if number == 0 else {}),
                    },
                    "handler": request.param,
                }
                for number, provider in enumerate(providers)
            ]
            app = Gateway(model_list=models, keys=[{"id": "k", "secret": CLIENT_KEY}], plugins=[watcher])
            url = await stack.enter_async_context(serve(app))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            yield Deployments(providers[0], url, session, providers=providers, watcher=watcher)

    return start


def error_of(answer: Answered) -> dict[str, Any]:
    """The error in the status, or in the last event but [DONE] of a stream that had begun."""
    if answer.status != 200:
        return json.loads(answer.body)["error"]
    *_, error, done = Splitter().feed(answer.body)
    assert done.is_done
    return json.loads(error.data or b"")["error"]


def dripping(event: bytes, times: int = 400) -> Script:
    """A word, and then the same event for twenty seconds."""
    return Script(events=[ROLE, WORD, *[event] * times, FINISH, DONE], frame_delay=0.05)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_third_of_the_timeout_without_a_word_is_enough_where_another_can_answer(
    deployments: Start, stream: bool
) -> None:
    async with deployments(2, timeout=6) as made:
        made.providers[0].enqueue(Script(first_byte_delay=20))
        answer = await made.post(stream=stream)
        assert answer.status == 200
        assert b"error" not in answer.body
        assert made.calls == [1, 1]
        assert made.failures == ["upstream_timeout", ""]
        (exchange,) = made.watcher.exchanges
        first, _ = exchange.attempts
        assert 1.9 < (first.ended or 0) - first.started < 6
        assert not exchange.can_fail_over, "the last one may take the whole timeout"


@pytest.mark.parametrize("noise", HEARTBEATS)
async def test_nothing_but_a_word_is_a_first_token(deployments: Start, noise: bytes) -> None:
    async with deployments(2, first={"first_token_timeout": 0.6}) as made:
        made.providers[0].enqueue(Script(events=[ROLE, *[noise] * 400, WORD, FINISH, DONE], frame_delay=0.05))
        answer = await made.post(stream=True)
        assert answer.status == 200
        assert b"error" not in answer.body
        assert made.failures == ["upstream_timeout", ""]


@pytest.mark.parametrize(
    ("params", "stream", "sentence"),
    [
        ({"first_token_timeout": 0.3}, True, "said nothing within 0.3 s (first_token_timeout)"),
        ({"stream_timeout": 0.3}, True, "said nothing within 0.3 s (first_token_timeout)"),
        ({"timeout": 0.3}, True, "did not finish its answer within 0.3 s (timeout)"),
        ({"timeout": 0.3, "first_token_timeout": 0.1}, False, "did not finish its answer within 0.3 s (timeout)"),
        ({"request_timeout": 0.3}, False, "did not finish its answer within 0.3 s (timeout)"),
    ],
)
async def test_a_status_of_504_names_the_deadline_that_passed_before_the_first_token(
    deployments: Start, caplog: pytest.LogCaptureFixture, params: dict[str, Any], stream: bool, sentence: str
) -> None:
    async with deployments(1, **params) as made:
        made.provider.enqueue(Script(first_byte_delay=20))
        with caplog.at_level(logging.WARNING, "crplugins.upstream"):
            answer = await made.post(stream=stream)
        error = error_of(answer)
        assert (answer.status, error["code"], made.failures) == (504, "upstream_timeout", ["upstream_timeout"])
        assert error["message"] == f"The model provider {sentence}. Please try again."
        assert f"the upstream timed out: it {sentence}" in caplog.text


@pytest.mark.parametrize("noise", [*HEARTBEATS, COUNTED])
async def test_nothing_but_a_word_ends_the_silence_behind_one(deployments: Start, noise: bytes) -> None:
    async with deployments(1, stall_timeout=0.6, timeout=30) as made:
        made.provider.enqueue(dripping(noise))
        answer = await made.post(stream=True)
        assert (answer.status, made.failures) == (200, ["upstream_timeout"])
        assert "no further token within 0.6 s (stall_timeout)" in error_of(answer)["message"]


async def test_a_stream_that_goes_on_is_ended_by_a_timeout_that_is_written(deployments: Start) -> None:
    async with deployments(1, timeout=3) as made:
        made.provider.enqueue(dripping(WORD))
        answer = await made.post(stream=True)
        assert (answer.status, made.failures) == (200, ["upstream_timeout"])
        assert "did not finish its answer within 3 s (timeout)" in error_of(answer)["message"]
        assert answer.body.count(b"word ") > 2


async def test_a_stream_that_goes_on_is_ended_by_no_other_deadline(deployments: Start) -> None:
    async with deployments(1, first_token_timeout=2.5, stall_timeout=2.5) as made:
        made.provider.enqueue(dripping(WORD, 60))
        answer = await made.post(stream=True)
        assert answer.body.count(b"word ") == 61
        assert answer.body.endswith(DONE)
        assert made.failures == [""]


async def test_a_client_that_reads_slowly_is_no_silence_of_the_provider(deployments: Start) -> None:
    word = WORD.replace(b"word ", b"word" * 20_000)
    async with deployments(1, stall_timeout=1) as made:
        made.provider.enqueue(Script(events=[word] * 200 + [FINISH, DONE]))
        async with made.open(stream=True) as response:
            await asyncio.sleep(2.5)
            answer = Answered(response.status, {}, await response.read())
        assert answer.body.count(b'"delta"') >= 200
        assert answer.body.endswith(DONE)
        assert made.failures == [""]


async def test_a_server_that_never_ends_its_handshake_is_not_connected_to(deployments: Start) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        async with deployments(1, first_token_timeout=0.4, api_base=f"https://{host}:{port}/v1") as made:
            answer = await made.post(stream=True)
            assert answer.status == 504
            assert "within 0.4 s" in error_of(answer)["message"]


def test_a_deadline_is_named_after_what_had_come() -> None:
    patience = Patience(1, 2, 3, 4)
    assert patience.missed(TimeoutError(), spoke=False) == ("first_token_timeout", 2)
    assert patience.missed(TimeoutError(), spoke=True) == ("stall_timeout", 3)
    assert patience.first == ("first_token_timeout", 2)
    assert Patience(1, 4, 3, 4).first == ("timeout", 4)
