"""Streams that are pushed: from the socket of the upstream through the plugins to that of the client, without a task."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from crplugins import Gateway, PluginMiddleware
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange
from crplugins.core.log_lines import REQUEST_ID
from crplugins.core.plugin import Plugin
from crplugins.core.sse import Event
from crplugins.testing import FakeProvider, Script
from tests.conftest import serving
from tests.gateway_setup import CLIENT_KEY, HELLO
from tests.handlers.conftest import pushing

CHUNK = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n'
LARGE = CHUNK % (b"x" * 60_000)
END = b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
SLOW = Script(text="one two three four five six", chunk_size=4, frame_delay=0.01)
DISTURBED = 3
_LONGEST_SIZE = 4


class Witness(Plugin):
    """Notes in which task each event was seen and for which request, and how the requests ended."""

    rewrites_events = True

    def __init__(self, refuses: bool = False) -> None:
        self.tasks: list[asyncio.Task[Any] | None] = []
        self.requests: set[tuple[str, str | None]] = set()
        self.ends: list[tuple[int | None, str]] = []
        self.ended = asyncio.Event()
        self._refuses = refuses

    def on_event(self, exchange: Exchange, event: Event) -> Event | None:
        self.tasks.append(asyncio.current_task())
        self.requests.add((exchange.id, REQUEST_ID.get()))
        if self._refuses and len(self.tasks) > DISTURBED:
            raise GatewayError(400, "No more of this.", code="no_more")
        return event

    def on_finish(self, exchange: Exchange) -> None:
        self.ends.append((exchange.status, exchange.outcome))
        self.ended.set()


class Wrapped:
    """A middleware with a `send` of its own."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.messages = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def counting(message: Any) -> None:
            async with asyncio.timeout(30):  # which needs a task
                self.messages += 1
                await send(message)

        await self.app(scope, receive, counting)


class Ended(Plugin):
    """Notes what is known of a request at its end."""

    reads_usage = True

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.facts: Any = None

    def on_finish(self, exchange: Exchange) -> None:
        usage, said = exchange.usage, exchange.said
        self.facts = usage, exchange.usage_source, said.mark(), exchange.finish_reason, exchange.error_type
        self.ended.set()


def unchunked(answer: bytes) -> bytes:
    """The body of an answer, without the id of its request and the sizes of its chunks."""
    return b"".join(line for line in answer.partition(b"\r\n\r\n")[2].split(b"\r\n") if len(line) > _LONGEST_SIZE)


def gateway(base_url: str, **more: Any) -> Gateway:
    params = {"model": "openai/m", "api_base": base_url, "api_key": "sk-upstream"}
    return Gateway(
        model_list=[{"model_name": "m", "handler": "direct", "litellm_params": params}],
        keys=[{"id": "a", "secret": CLIENT_KEY}],
        **more,
    )


@asynccontextmanager
async def asking(
    url: str, *, times: int = 1, usage: bool = False
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection on which a stream is asked for, with as many requests at once."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=2**20)
    more = {"stream_options": {"include_usage": True}} if usage else {}
    body = json.dumps({"model": "m", "messages": HELLO, "stream": True, **more}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {CLIENT_KEY}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write((head.encode() + body) * times)
    try:
        yield reader, writer
    finally:
        writer.close()


async def until_end(reader: asyncio.StreamReader, times: int = 1) -> bytes:
    answer = b""
    async with asyncio.timeout(30):
        while answer.count(b"0\r\n\r\n") < times:
            answer += await reader.read(2**16)
    return answer


async def test_pieces_are_seen_by_the_plugins_and_sent_while_the_task_of_the_request_sleeps():
    witness = Witness()
    async with FakeProvider(default=SLOW) as provider:
        async with pushing(PluginMiddleware(gateway(provider.base_url), plugins=[witness])) as url:
            async with asking(url) as (reader, _):
                answer = await until_end(reader)
    assert witness.tasks.count(None) >= 5
    assert answer.count(b'"content"') >= 6
    assert b"[DONE]" in answer
    assert [own for own, _ in witness.requests] == [logged for _, logged in witness.requests]
    assert witness.ends == [(200, "ok")]


@pytest.mark.parametrize("where", ["around", "between"])
async def test_a_middleware_with_a_send_of_its_own_is_never_passed_by(where):
    witness = Witness()
    async with FakeProvider(default=SLOW) as provider:
        inner: Any = gateway(provider.base_url)
        wrapped = Wrapped(inner if where == "between" else PluginMiddleware(inner, plugins=[witness]))
        app = PluginMiddleware(wrapped, plugins=[witness]) if where == "between" else wrapped
        async with pushing(app) as url, asking(url) as (reader, _):
            await until_end(reader)
    assert None not in witness.tasks
    assert wrapped.messages >= 7


async def test_a_server_that_says_nothing_is_sent_to():
    witness = Witness()
    async with FakeProvider(default=SLOW) as provider:
        async with serving(PluginMiddleware(gateway(provider.base_url), plugins=[witness])) as url:
            async with asking(url) as (reader, _):
                assert b"[DONE]" in await until_end(reader)
    assert None not in witness.tasks


OPENAI = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1750000000,"model":"gpt-4o-mini-2024-07-18",'
    b'"system_fingerprint":"fp_1","choices":[{"index":%d,"delta":%b,"logprobs":null,"finish_reason":%b}],'
    b'"usage":null,"obfuscation":"%b"}\n\n'
)
USAGE = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":9,"total_tokens":12}}\n\n'


def words(*texts: str, choice: int = 0) -> list[bytes]:
    contents = [json.dumps({"content": text}, separators=(",", ":"), ensure_ascii=False).encode() for text in texts]
    return [OPENAI % (choice, content, b"null", b"x" * (place + 1)) for place, content in enumerate(contents)]


def ending(choice: int = 0) -> bytes:
    return OPENAI % (choice, b"{}", b'"stop"', b"x")


UNLIKE: dict[str, list[bytes]] = {
    "an ordinary answer": [*words("", "One", " two", " \u00e9\u4e2d", '"\\', "\n\n", " usage", ' "model":"m"'), ending(), USAGE],
    "several chunks at once": [b"".join(words("One", " two")), b"".join(words(" three", " four")), ending(), USAGE],
    "a chunk in two": [*words("One", " two"), words(" three")[0][:90], words(" three")[0][90:], *words(" four"), ending()],
    "a field in front of a chunk": [*words("One", " two"), b"id: 7\n", *words(" three", " four"), ending(), USAGE],
    "a comment between": [*words("One", " two"), b": still here\n\n", *words(" three", " four"), ending(), USAGE],
    "a malformed one": [*words("One", " two"), b'data: {"id":"c\n\n', *words(" three", " four"), ending(), USAGE],
    "two choices in turn": [
        *[piece for pair in zip(words("a", "b", "c"), words("A", "B", "C", choice=1), strict=True) for piece in pair],
        ending(), ending(1), USAGE,
    ],
    "more behind the end": [*words("One", " two"), ending(), *words(" three", " four"), ending(), USAGE],
    "no end": words("One", " two", " three"),
    "an error": [*words("One", " two", " three"), b'data: {"error":{"message":"m went away","type":"server_error"}}\n\n'],
}  # fmt: skip


@pytest.mark.parametrize("asks_for_usage", [True, False])
@pytest.mark.parametrize("pieces", UNLIKE.values(), ids=UNLIKE)
async def test_a_stream_is_the_same_whether_its_chunks_are_decoded_or_known_by_those_before(pieces, asks_for_usage):
    seen: list[tuple[bytes, Any]] = []
    witness = Witness()
    done = [] if pieces is UNLIKE["no end"] else [b"data: [DONE]\n\n"]
    script = Script(events=[*pieces, *done], frame_delay=0.005, usage="on")
    for serve, around in ((pushing, []), (pushing, [witness]), (serving, [])):
        ended = Ended()
        async with FakeProvider(default=script) as provider:
            app = gateway(provider.base_url, plugins=[*around, ended])
            async with serve(app) as url, asking(url, usage=asks_for_usage) as (reader, _):
                answer = await until_end(reader)
            await asyncio.wait_for(ended.ended.wait(), 30)
        seen.append((unchunked(answer), ended.facts))
    known, decoded, sent = seen
    assert known[0].count(b'"model":"m"') >= 2
    assert known == decoded == sent


async def test_a_stream_of_chunks_that_are_alike_ends_with_an_error_where_it_stalls():
    ended = Ended()
    script = Script(events=words(*"abcdefgh"), frame_delay=0.1, stall_after=8)
    async with FakeProvider(default=script) as provider:
        app = gateway(provider.base_url, plugins=[ended], stall_timeout=0.5)
        async with pushing(app) as url, asking(url) as (reader, _):
            answer = await until_end(reader)
        await asyncio.wait_for(ended.ended.wait(), 30)
    assert b'{"content":"h"}' in answer
    assert b'"upstream_timeout"' in answer
    assert ended.facts[-1] == "upstream_timeout"


async def test_the_plugins_that_read_no_texts_are_shown_a_chunk_only_where_more_than_its_text_is_new():
    witness = Witness()
    witness.reads_texts = False
    script = Script(events=[*words(*"abcdefgh"), ending(), b"data: [DONE]\n\n"], frame_delay=0.01)
    async with FakeProvider(default=script) as provider:
        async with pushing(gateway(provider.base_url, plugins=[witness])) as url, asking(url) as (reader, _):
            answer = await until_end(reader)
    assert all(b'{"content":"%c"}' % letter in answer for letter in b"abcdefgh")
    assert len(witness.tasks) < 8


async def test_a_plugin_that_refuses_a_piece_ends_the_stream_with_its_error_and_closes_the_upstream():
    witness = Witness(refuses=True)
    async with FakeProvider(default=Script(text="word " * 500, chunk_size=5, frame_delay=0.005)) as provider:
        async with pushing(PluginMiddleware(gateway(provider.base_url), plugins=[witness])) as url:
            async with asking(url) as (reader, _):
                answer = await until_end(reader)
        assert witness.tasks[DISTURBED] is None
        assert answer.count(b'"no_more"') == 1
        assert answer.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        assert len(witness.ends) == 1
        await provider.wait_idle()
        assert provider.last_request.progress.client_gone


async def test_a_client_that_disconnects_ends_the_upstream_and_the_request_once():
    witness = Witness()
    async with FakeProvider(default=Script(text="word " * 2000, chunk_size=5, frame_delay=0.005)) as provider:
        async with pushing(PluginMiddleware(gateway(provider.base_url), plugins=[witness])) as url:
            async with asking(url) as (reader, writer):
                await reader.readuntil(b"word")
                writer.transport.abort()
                await asyncio.wait_for(witness.ended.wait(), 30)
            await provider.wait_idle()
            assert provider.last_request.progress.client_gone
    assert witness.ends == [(200, "cancelled")]


async def test_two_streams_asked_for_on_one_connection_at_once_come_one_after_the_other():
    witness = Witness()
    async with FakeProvider(default=SLOW) as provider:
        async with pushing(PluginMiddleware(gateway(provider.base_url), plugins=[witness])) as url:
            async with asking(url, times=2) as (reader, _):
                answer = await until_end(reader, times=2)
    first, second, nothing = answer.split(b"\r\n0\r\n\r\n")
    assert first.count(b"HTTP/1.1 200") == second.count(b"HTTP/1.1 200") == 1
    assert first.count(b"[DONE]") == second.count(b"[DONE]") == 1
    assert nothing == b""


async def test_a_client_that_does_not_read_holds_the_upstream_back_and_gets_all_of_it_when_it_reads():
    sent = 0

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        for _ in range(500):
            writer.write(LARGE)
            await writer.drain()
            sent += len(LARGE)
        writer.write(END)
        writer.close()

    server = await asyncio.start_server(upstream, "127.0.0.1", 0)
    base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server, pushing(gateway(base_url)) as url, asking(url) as (reader, _):
        before = -1
        while before != sent or not sent:  # until nothing moves any more
            before = sent
            await asyncio.sleep(0.2)
        assert sent < 500 * len(LARGE) / 2
        got = 0
        while piece := await asyncio.wait_for(reader.read(2**20), 30):
            got += len(piece)
            if piece.endswith(b"[DONE]\n\n\r\n0\r\n\r\n"):
                break
        assert got > 500 * len(LARGE)
