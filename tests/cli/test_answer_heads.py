"""The heads that `serve` puts together itself, held against those that uvicorn writes."""

import asyncio
import re
from functools import partial

import pytest
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from crplugins.cli import first_write
from crplugins.cli.connections import BoundedHTTP, Bounds, OpenConnections
from tests.conftest import serving

BOUNDS = Bounds(head_bytes=8192, head_seconds=60, body_seconds=60, connections=50)
LENGTH = (b"content-length", b"2")
KEPT = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


@pytest.fixture
def by_uvicorn(monkeypatch):
    """The messages from which uvicorn has made a head, in an empty process."""
    messages: list[object] = []
    send = RequestResponseCycle.send

    async def noted(self, message):
        if message["type"] == "http.response.start":
            messages.append(message)
        await send(self, message)

    monkeypatch.setattr(RequestResponseCycle, "send", noted)
    monkeypatch.setattr(first_write, "_names", set())
    return messages


async def answers(app, requests: bytes, times: int) -> list[bytes]:
    http = partial(BoundedHTTP, connections=OpenConnections(BOUNDS))
    async with serving(app, http=http, access_log=False, lifespan="off") as url:
        found = []
        for _ in range(times):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            writer.write(requests)
            found.append(re.sub(rb"\r\ndate: [^\r]*", b"", await asyncio.wait_for(reader.read(), 60)))
            writer.close()
    return found


def answering(headers, status=200, body=b"ok"):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": status, "headers": iter(headers)})
        await send({"type": "http.response.body", "body": body})

    return app


@pytest.mark.parametrize(
    ("app", "requests"),
    [
        pytest.param(answering([LENGTH, (b"x-a", b"b\tc")]), LAST, id="with its length"),
        pytest.param(answering([LENGTH]), KEPT + LAST, id="of a kept connection"),
        pytest.param(answering([(b"x-a", b"b")]), LAST, id="in chunks"),
        pytest.param(answering([], body=b""), LAST, id="without headers"),
        pytest.param(answering([(b"x-a", b"b")], 204, b""), LAST, id="without a body"),
        pytest.param(answering([LENGTH]), HEAD, id="of HEAD"),
    ],
)
async def test_the_second_head_is_put_together_here_and_is_uvicorns_to_the_byte(app, requests, by_uvicorn):
    first, second, third = await answers(app, requests, 3)
    assert first.startswith(b"HTTP/1.1 ")
    assert first == second == third
    assert len(by_uvicorn) <= 1  # none of them, where no name was new


@pytest.mark.parametrize(
    "header",
    [
        (b"x-a", b"b\r\nset-cookie: c=d"),
        (b"x-a", b"b\nc"),
        (b"x-a", b"b\0"),
        (b"x-a", b"\x7f"),
    ],
)
async def test_a_value_that_would_end_its_line_is_refused_also_under_a_known_name(header, by_uvicorn):
    values = [b"b", header[1]]

    async def app(scope, receive, send):
        await answering([LENGTH, (b"x-a", values.pop(0))])(scope, receive, send)

    good, bad = await answers(app, LAST, 2)
    assert b"\r\nx-a: b\r\n" in good
    assert header[1] not in bad
    assert bad.startswith(b"HTTP/1.1 500 ") or not bad
    assert len(by_uvicorn) >= 2


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([LENGTH, (b"set-cookie", b"a=b"), (b"set-cookie", b"c=d")], id="twice"),
        pytest.param([LENGTH, (b"X-A", b"b")], id="in capitals"),
        pytest.param([LENGTH, (b"connection", b"close")], id="about the connection"),
        pytest.param([(b"transfer-encoding", b"chunked")], id="about the transfer"),
    ],
)
async def test_what_uvicorn_reads_or_changes_is_left_to_uvicorn(headers, by_uvicorn):
    first, second = await answers(answering(headers), LAST, 2)
    assert first == second
    assert len(by_uvicorn) == 2


async def test_an_upstream_that_makes_names_up_takes_no_memory(by_uvicorn):
    made = iter(range(10_000))

    async def app(scope, receive, send):
        await answering([LENGTH, *((b"x-%d" % next(made), b"") for _ in range(300))])(scope, receive, send)

    found = await answers(app, LAST, 4)
    assert all(answer.endswith(b"\r\n\r\nok") for answer in found)
    assert len(first_write._names) < 1000
