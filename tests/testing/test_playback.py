"""Each timing and each fault of a script, as a client sees it on its socket."""

import asyncio
import time

import pytest

from crplugins.testing import FakeProvider, Script

FRAMES = tuple(b"data: %d\n\n" % number for number in range(5))
STREAM = b"".join(FRAMES)


def stream(**options: object) -> Script:
    return Script(events=FRAMES, **options)


async def test_a_stream_is_one_chunk_per_frame_and_keeps_the_connection(provider: FakeProvider, connect) -> None:
    provider.enqueue(stream(), stream())
    client = await connect(provider)
    for _ in range(2):
        answer = await client.post()
        assert (answer.status, answer.chunks, answer.end) == (200, list(FRAMES), "done")
    assert provider.connections_accepted == 1
    request = await provider.last_request.wait_finished()
    assert (request.frames_sent, request.bytes_sent, request.completed) == (5, len(STREAM), True)


@pytest.mark.parametrize(("write", "sizes"), [("all", [45]), (7, [7] * 6 + [3]), (45, [45]), (100, [45])])
async def test_a_stream_can_be_written_in_other_pieces(provider: FakeProvider, connect, write, sizes) -> None:
    provider.enqueue(stream(write=write))
    answer = await (await connect(provider)).post()
    assert ([len(chunk) for chunk in answer.chunks], answer.body) == (sizes, STREAM)
    assert (await provider.last_request.wait_finished()).frames_sent == 5


async def test_a_cut_stream_looks_complete_to_http(provider: FakeProvider, connect) -> None:
    provider.enqueue(stream(cut_after=2), stream())
    client = await connect(provider)
    answer = await client.post()
    assert (answer.chunks, answer.end) == (list(FRAMES[:2]), "done")
    request = await provider.last_request.wait_finished()
    assert (request.frames_sent, request.completed, request.client_gone) == (2, False, False)
    assert (await client.post()).body == STREAM


async def test_a_cut_plain_body_is_missing_bytes(provider: FakeProvider, connect) -> None:
    provider.enqueue(Script(body=b'{"a": 1}', write=3, cut_after=1))
    answer = await (await connect(provider)).post()
    assert (answer.headers["content-length"], answer.end) == ("8", "eof")


async def test_a_closed_connection_leaves_a_chunked_body_without_its_end(provider: FakeProvider, connect) -> None:
    provider.enqueue(stream(close_after=2))
    answer = await (await connect(provider)).post()
    assert (answer.chunks, answer.end) == (list(FRAMES[:2]), "eof")


@pytest.mark.parametrize("frames", [0, 2, 5])
async def test_a_reset_breaks_the_connection(provider: FakeProvider, connect, frames: int) -> None:
    provider.enqueue(stream(reset_after=frames))
    answer = await (await connect(provider)).post()
    assert (answer.status, answer.chunks, answer.end) == (200, list(FRAMES[:frames]), "reset")
    request = await provider.last_request.wait_finished()
    assert (request.frames_sent, request.completed, request.client_gone) == (frames, False, False)


async def test_a_stall_sends_no_more_and_sees_at_once_that_the_client_goes(provider: FakeProvider, connect) -> None:
    provider.enqueue(stream(stall_after=2))
    client = await connect(provider)
    client.send()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await client.reader.read(-1)
    assert provider.active == 1
    client.writer.close()
    request = await provider.last_request.wait_finished()
    assert (request.client_gone, request.completed, request.frames_sent) == (True, False, 2)
    assert provider.active == 0


@pytest.mark.parametrize("options", [{"delay": 60.0}, {"first_byte_delay": 60.0}, {"frame_delay": 60.0}])
async def test_a_client_that_leaves_during_a_delay_is_noticed(provider: FakeProvider, connect, options) -> None:
    provider.enqueue(stream(**options))
    client = await connect(provider)
    client.send()
    (request,) = await provider.wait_for_requests(1)
    client.writer.transport.abort()
    assert (await request.wait_finished()).client_gone


async def test_a_client_that_does_not_read_holds_the_provider_back(provider: FakeProvider, connect) -> None:
    provider.enqueue(Script(events=[b"data: " + b"x" * 100_000 + b"\n\n"] * 200))
    client = await connect(provider)
    client.writer.transport.pause_reading()
    client.send()
    (request,) = await provider.wait_for_requests(1)
    await asyncio.sleep(0.1)
    assert request.frames_sent < 200
    client.writer.transport.resume_reading()
    assert len((await client.read()).chunks) == 200


async def test_a_malformed_frame_is_followed_by_the_rest(provider: FakeProvider, connect) -> None:
    provider.enqueue(stream(malformed_after=2))
    answer = await (await connect(provider)).post()
    assert answer.chunks[:2] + answer.chunks[3:] == list(FRAMES)
    assert (await provider.last_request.wait_finished()).completed


async def test_a_refused_connection_gives_no_answer_at_all(provider: FakeProvider, connect) -> None:
    provider.enqueue(Script(refuse_connection=True))
    answer = await (await connect(provider)).post()
    assert (answer.status, answer.end) == (0, "reset")


async def test_headers_can_come_byte_by_byte(provider: FakeProvider, connect) -> None:
    provider.enqueue(stream(slow_headers=0.0), stream(slow_headers=60.0))
    client = await connect(provider)
    assert (await client.post()).body == STREAM
    client.send()
    assert await client.reader.read(1) == b"H"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await client.reader.read(1)


async def test_delays_are_those_of_the_script(provider: FakeProvider, connect) -> None:
    delay, first_byte, frame = 0.04, 0.03, 0.01
    provider.enqueue(stream(delay=delay, first_byte_delay=first_byte, frame_delay=frame))
    started = time.monotonic()
    await (await connect(provider)).post()
    assert time.monotonic() - started > delay + first_byte + frame * (len(FRAMES) - 1)


async def test_limits_come_with_their_headers(provider: FakeProvider, connect) -> None:
    provider.enqueue(Script.rate_limited(7, {"x-ratelimit-remaining-requests": "0"}))
    answer = await (await connect(provider)).post()
    assert (answer.status, answer.headers["retry-after"]) == (429, "7")
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    assert b'"code":"rate_limit_exceeded"' in answer.body
