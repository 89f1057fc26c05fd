"""Work over text from outside is bounded: what a provider sends before litellm reads it, and what a file repeats."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from types import MappingProxyType
from typing import Any

import pytest

from crplugins import Gateway
from crplugins.core.dialects import CHAT
from crplugins.core.patterns import LONGEST_MODEL
from crplugins.core.redaction import LONGEST_TEXT
from crplugins.core.sse import MAX_EVENT_BYTES, MOST_EVENTS, first_events
from crplugins.handlers.deadlines import Patience
from crplugins.handlers.direct_stream import DirectStream
from crplugins.handlers.litellm.bounded import bounded_lines, refusal_in, with_short_names
from crplugins.settings.document import read_document
from crplugins.settings.errors import ConfigError
from tests.attacks.house import (
    House,
    chunk,
    completion,
    events,
    gateway_words,
    http,
    own_app,
    question,
    response,
    send,
    streamed,
    vllm,
)
from tests.homes.host_model import HostModel
from tests.litellm_setup import make_exchange

LONG = "word " * 400_000


class Received:
    """A response of httpx: `body` in pieces, `closed` once it is given up."""

    def __init__(self, body: bytes) -> None:
        self.headers: dict[str, str] = {}
        self._body = body
        self.read, self.closed = 0, False
        self.stream = self

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._body), 16_384):
            self.read += 16_384
            yield self._body[start : start + 16_384]

    async def aclose(self) -> None:
        self.closed = True


REFUSALS: dict[str, tuple[Any, str]] = {
    "a long message": ({"error": {"message": LONG}}, ""),
    "a message of 60,000 characters": ({"error": {"message": LONG[:60_000]}}, "word word"),
    "a request that is repeated": (
        {"detail": [{"loc": ["body", "x"], "msg": "bad", "input": LONG[:60_000]}]},
        "x: bad",
    ),
    "a long type": ({"error": {"message": "no", "type": LONG[:50_000]}}, "no"),
    "a long code": ({"error": {"message": "no", "code": LONG[:50_000]}}, "no"),
    "a long list": ({"error": {"message": "no", "more": list(range(10_000))}}, "no"),
    "a deep one": (None, ""),
    "a page": (f"<html>{LONG}", ""),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal_is_short_when_litellm_reads_it(name: str) -> None:
    document, message = REFUSALS[name]
    received = Received(b'{"error":' * 30_000 if document is None else json.dumps(document).encode())
    body = await refusal_in(received)
    assert len(body) <= 4096
    assert received.read <= 100_000
    assert received.closed
    told = json.loads(body)["error"]["message"]
    assert told.startswith(message)
    assert len(told) <= LONGEST_TEXT + 3


async def test_a_short_refusal_is_left_as_it_is() -> None:
    body = json.dumps({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}).encode()
    assert await refusal_in(Received(body)) == body


@pytest.mark.parametrize("name", ["model", "modelVersion"])
def test_no_book_stands_in_the_name_of_a_model_that_litellm_reads(name: str) -> None:
    document = json.dumps({"id": "x", name: LONG, "choices": [LONG]}).encode()
    assert json.loads(with_short_names(document)) == {"id": "x", name: LONG[:200], "choices": [LONG]}
    ends = [{"index": 0, "finish_reason": end, "message": {"content": LONG}} for end in (LONG, "stop", None)]
    cut = json.loads(with_short_names(json.dumps({name: LONG, "choices": ends}).encode()))
    assert cut == {name: LONG[:200], "choices": [{**ends[0], "finish_reason": "unknown"}, *ends[1:]]}
    short = json.dumps({name: "m", "choices": [LONG]}).encode()
    for other in (
        short,
        b"{" + LONG.encode(),
        b"[" + b"1," * 10_000 + b"1]",
        b'{"model": "' + LONG[:200].encode() + b'"}',
    ):
        assert with_short_names(other) is other


async def test_a_line_without_end_ends_a_stream() -> None:
    received = Received(b"data: " + b"x" * (MAX_EVENT_BYTES + 100_000))
    size = 0
    async for piece in bounded_lines(aiter(received)):
        size += len(piece)
    assert size <= MAX_EVENT_BYTES


async def test_lines_of_any_number_are_a_stream() -> None:
    body = b"data: x\n\n" * 3_000_000
    size = 0
    async for piece in bounded_lines(aiter(Received(body))):
        size += len(piece)
    assert size == len(body)


HEARTBEATS: dict[str, bytes] = {
    "comments": b": ping\n\n",
    "pings": b'event: ping\ndata: {"type": "ping"}\n\n',
    "objects": b"data: {}\n\n",
    "empty data": b"data:\n\n",
    "names": b"event: ping\n\n",
    "blank lines": b"\n\n",
    "blank lines of CR": b":\r\r",
    "blank lines of CRLF": b":\r\n\r\n",
    "no choices": b'data: {"choices":[]}\n\n',
    "empty deltas": b'data: {"choices":[{"index":0,"delta":{}}]}\n\n',
}
FLOOD = 20_000


@pytest.mark.parametrize("name", HEARTBEATS)
def test_a_flood_is_looked_at_a_little_at_a_time(name: str) -> None:
    flood, heartbeat = HEARTBEATS[name] * FLOOD, HEARTBEATS[name]
    steps, rest = [], flood
    while rest:
        now, rest = first_events(rest)
        steps.append(now)
    assert b"".join(steps) == flood
    assert max(map(len, steps)) <= MOST_EVENTS * len(heartbeat)


def test_an_ordinary_piece_is_looked_at_at_once() -> None:
    for piece in (b"data: x", b"data: " + b"x" * 300_000, (b'data: {"choices":[]}\n\n' * 200), b"a\nb\n" * 10_000):
        assert first_events(piece) == (piece, b"")


@contextlib.asynccontextmanager
async def turns() -> AsyncIterator[list[int]]:
    """How often others had their turn."""
    counted = [0]

    async def count() -> None:
        while True:
            counted[0] += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    yield counted
    counting.cancel()


@pytest.mark.parametrize("name", HEARTBEATS)
async def test_others_have_their_turn_while_litellm_reads_a_flood(name: str) -> None:
    size = 0
    async with turns() as counted:
        async for piece in bounded_lines(aiter(Received(HEARTBEATS[name] * FLOOD))):
            size += len(piece)
    assert size == FLOOD * len(HEARTBEATS[name])
    assert counted[0] >= FLOOD / MOST_EVENTS / 2


class Body:
    """A `Response` whose body comes in the largest pieces."""

    status, headers, ended = 200, MappingProxyType[str, str]({}), False

    def __init__(self, body: bytes) -> None:
        self._pieces = [body[start : start + 300_000] for start in range(0, len(body), 300_000)]

    def take(self) -> bytes:
        return b""

    async def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    def expire_in(self, seconds: float) -> None:
        pass

    def close(self, linger: float = 0.0) -> None:
        pass


@pytest.mark.parametrize("place", ["before the first token", "behind it"])
@pytest.mark.parametrize("name", HEARTBEATS)
async def test_others_have_their_turn_during_a_flood_and_the_answer_is_whole(name: str, place: str) -> None:
    token, end = events(chunk({"role": "assistant", "content": "hello"}))[:-14], events(chunk({}, "stop"))
    flood = HEARTBEATS[name] * (FLOOD - 1)
    response = Body(token + flood + end if place == "behind it" else flood + token + end)
    exchange = make_exchange()
    attempt = exchange.begin_attempt("provider")
    stream = DirectStream("m", (), response, Patience(10, 60, 60, 600), 1, exchange, attempt, CHAT)
    async with turns() as counted:
        frames = await stream.begin(await response.read())
        got = b""
        async for piece in frames:
            assert exchange.split is None or len(exchange.split[1]) <= MOST_EVENTS
            got += piece
    assert b"hello" in got
    assert got.endswith(b"data: [DONE]\n\n")
    assert counted[0] >= FLOOD / MOST_EVENTS / 2


def lists(levels: int) -> str:
    made = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels))
    return f"a0: &a0 [x]\n{made}"


def mappings(levels: int) -> str:
    made = "\n".join(f"a{n}: &a{n} {{{', '.join(f'k{m}: *a{n - 1}' for m in range(10))}}}" for n in range(1, levels))
    return f"a0: &a0 {{x: 1}}\n{made}"


BOMBS = {
    "lists of lists": lists(12),
    "mappings of mappings": mappings(12),
    "one long list, often": f"a: &a [{'x, ' * 20_000}x]\nb: [{'*a, ' * 20_000}*a]",
    "one long mapping, often merged": "a: &a\n"
    + "".join(f"  k{n}: 1\n" for n in range(20_000))
    + "".join(f"b{n}: {{<<: *a}}\n" for n in range(100)),
    "brackets": "a: " + "[" * 5_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_that_repeats_itself_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        read_document(BOMBS[name], "keys.yaml")


def test_what_many_keys_share_is_no_bomb() -> None:
    keys = "".join(f"- {{id: k{n}, <<: *policy, limits: *limits}}\n" for n in range(5_000))
    text = f"x: &policy {{models: [a, b], team: t}}\ny: &limits {{requests_per_minute: 1}}\nkeys:\n{keys}"
    assert len(read_document(text, "keys.yaml").data["keys"]) == 5_000


def test_more_choices_than_anybody_can_ask_for_are_none_to_litellm(home: House) -> None:
    for number, status in ((128, 200), (129, 502), (100_000, 502)):
        choices = [
            {"index": i, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}
            for i in range(number)
        ]
        home.provider.answer = response(completion(choices=choices))
        answer = home.doors["litellm"].post(question("l", n=min(number, 128)))
        assert answer.status == status
        assert status == 200 or answer.error["code"] == "upstream_malformed"


class Indifferent(HostModel):
    """Answers to any name, by its own."""

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        return super().answer({**body, "model": "own"})

    def stream(self, body: dict[str, Any]) -> Iterator[bytes]:
        return super().stream({**body, "model": "own"})


@pytest.mark.parametrize("door", ["gateway", "app", "vllm"])
def test_no_chunk_repeats_the_book_that_a_client_gives_for_a_models_name(home: House, door: str) -> None:
    """Where an alias has a `*`, one request of 9 MB took the gateway gigabytes: the name stands in each chunk."""
    home.provider.answer = streamed(events(*[chunk({"content": "hello"})] * 50, chunk({}, "stop")))
    words = {**gateway_words(home.provider, home.folder), "aliases": {"any-*": "m"}, "ledger": None}
    makers: dict[str, Callable[[], Any]] = {
        "gateway": lambda: Gateway(**words),
        "app": lambda: own_app("starlette", Indifferent(), home.folder),
        "vllm": lambda: vllm(Indifferent(), home.folder),
    }
    port = home.serve(makers[door]())
    long, short = "any-" + "m" * 100_000, "any-" + "m" * (LONGEST_MODEL - 4)
    for stream in (False, True):
        answer = send(port, http(body=question(long, stream=stream)))
        assert answer.status == (404 if door == "gateway" else 200)
        assert len(answer.raw) < 20_000
        answer = send(port, http(body=question(short, stream=stream)))
        assert (answer.status, short.encode() in answer.raw) == (200, True)
