import asyncio

import pytest

from crplugins.asgi.headers import with_body_headers
from crplugins.asgi.incoming import ClientGone, check_declared_length, read_body
from crplugins.core.errors import GatewayError
from crplugins.testing.asgi import Message, Receive, request_messages


def receiving(messages: list[Message]) -> Receive:
    waiting = iter(messages)

    async def receive() -> Message:
        return next(waiting)

    return receive


async def test_a_body_in_one_message_is_the_very_object() -> None:
    body = b"abc"
    assert await read_body(receiving(request_messages(body)), 3) is body


async def test_a_body_in_several_messages_is_joined() -> None:
    assert await read_body(receiving(request_messages(chunks=[b"a", b"", b"bc"])), 3) == b"abc"


async def test_keys_that_asgi_lets_a_server_leave_out_have_defaults() -> None:
    assert await read_body(receiving([{"type": "http.request"}]), 0) == b""


@pytest.mark.parametrize("chunks", [[b"abcd"], [b"ab", b"cd"], [b"abcd", b"never read"]])
async def test_a_body_past_the_limit_is_refused_as_soon_as_it_is(chunks: list[bytes]) -> None:
    with pytest.raises(GatewayError) as error:
        await read_body(receiving(request_messages(chunks=chunks)), 3)
    assert error.value.status == 413


async def test_the_limit_itself_is_allowed() -> None:
    assert await read_body(receiving(request_messages(chunks=[b"ab", b"c"])), 3) == b"abc"


@pytest.mark.parametrize("before", [[], [{"type": "http.request", "body": b"a", "more_body": True}]])
async def test_a_client_that_leaves_is_no_short_body(before: list[Message]) -> None:
    with pytest.raises(ClientGone):
        await read_body(receiving([*before, {"type": "http.disconnect"}]), 3)


async def test_reading_can_be_cancelled() -> None:
    async def never() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    task = asyncio.create_task(read_body(never, 3))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_declared_length_past_the_limit_is_refused() -> None:
    check_declared_length([(b"content-length", b"3")], 3)
    with pytest.raises(GatewayError) as error:
        check_declared_length([(b"x", b"y"), (b"content-length", b"4")], 3)
    assert error.value.status == 413
    assert "(4 bytes read)" in error.value.error.message


@pytest.mark.parametrize("value", [b"", b"-1", b"many", b"1e9", b"\xb2"])
def test_a_length_that_is_no_number_is_left_to_the_counting(value: bytes) -> None:
    check_declared_length([(b"content-length", value)], 3)


def test_headers_of_a_replaced_body_name_its_length_once() -> None:
    headers = [(b"host", b"h"), (b"content-length", b"9"), (b"transfer-encoding", b"chunked"), (b"x", b"y")]
    assert with_body_headers(headers, 12) == [(b"host", b"h"), (b"x", b"y"), (b"content-length", b"12")]
    assert len(headers) == 4
