import asyncio
from typing import Any

import pytest

from crplugins.testing import AppEndedError, Drive, drive


async def read_body(receive: Any) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


async def start(send: Any, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"x-a", b"1")]})


async def say(send: Any, data: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = await read_body(receive)
    await start(send)
    await say(send, body, more=False)


async def test_one_call_gives_the_whole_answer() -> None:
    answer = await drive(echo, body={"model": "m"})
    assert (answer.status, answer.headers, answer.json()) == (200, {"x-a": "1"}, {"model": "m"})


async def test_a_body_may_come_in_several_messages() -> None:
    assert (await drive(echo, chunks=[b"a", b"b", b"c"])).body == b"abc"


async def test_each_message_is_seen_while_the_app_waits_for_the_next() -> None:
    gate = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await say(send, b"first")
        await gate.wait()
        await say(send, b"last", more=False)

    async with Drive(app) as call:
        assert (await call.next_message())["type"] == "http.response.start"
        assert await call.next_body() == b"first"
        assert not call.complete
        with pytest.raises(TimeoutError, match="a message of the app"):
            await call.next_message(within=0.01)
        gate.set()
        assert await call.next_body() == b"last"
        assert call.complete
        with pytest.raises(AppEndedError):
            await call.next_message()


async def test_a_message_sent_just_before_the_app_returns_is_not_lost() -> None:
    async with Drive(echo, body=b"x") as call:
        assert (await call.next_message())["status"] == 200
        assert await call.next_body() == b"x"


async def test_in_lockstep_the_app_waits_for_the_reader() -> None:
    sent: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        for number in range(3):
            sent.append(number)
            await say(send, b"%d" % number, more=number < 2)

    async with Drive(app, lockstep=True) as call:
        await asyncio.sleep(0.01)
        assert sent == []
        await call.next_message()
        await asyncio.sleep(0.01)
        assert sent == [0]
        assert (await call.finish()).body == b"012"


async def test_a_disconnect_comes_before_the_rest_of_the_body() -> None:
    seen: list[str] = []
    gate = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((await receive())["type"])
        await gate.wait()
        seen.append((await receive())["type"])

    async with Drive(app, chunks=[b"a", b"b"]) as call:
        await asyncio.sleep(0)
        assert seen == ["http.request"]
        call.disconnect()
        gate.set()
        await call.finish()
    assert seen == ["http.request", "http.disconnect"]
    assert call.received == 2


@pytest.mark.parametrize(("spec_version", "raises"), [("2.3", False), ("2.4", True)])
async def test_what_is_sent_after_a_disconnect_goes_nowhere(spec_version: str, raises: bool) -> None:
    errors: list[OSError] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"
        try:
            await say(send, b"late")
        except OSError as error:
            errors.append(error)

    async with Drive(app, spec_version=spec_version) as call:
        await call.next_message()
        call.disconnect()
        answer = await call.finish()
    assert (answer.body, len(call.sent_too_late), bool(errors)) == (b"", 1, raises)


async def test_after_the_last_message_receive_gives_a_disconnect() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await say(send, b"", more=False)
        assert (await receive())["type"] == "http.disconnect"

    await drive(app, body=b"unread")


async def test_an_app_can_be_proved_not_to_read_the_body() -> None:
    with pytest.raises(AssertionError, match="was not to be read"):
        await drive(echo, body=b"x", forbid_body=True)


async def test_a_second_response_start_is_an_error_in_the_app() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await start(send)

    with pytest.raises(AssertionError, match="second response"):
        await drive(app)


async def test_errors_of_the_app_come_out() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await drive(app)
    async with Drive(app) as call:
        with pytest.raises(LookupError, match="mine"):
            await call.next_message()


async def test_the_app_can_be_cancelled_and_is_cancelled_at_the_end_of_the_block() -> None:
    cancelled: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(scope["path"])
            raise

    async with Drive(app, path="/a") as call:
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call.finish()
    async with Drive(app, path="/b"):
        await asyncio.sleep(0)
    assert cancelled == ["/a", "/b"]


async def test_scope_keys_can_be_added() -> None:
    async with Drive(echo, scope={"state": {"db": 1}}, headers={"X": "y"}) as call:
        await call.finish()
    assert call.scope["state"] == {"db": 1}
    assert (b"x", b"y") in call.scope["headers"]


def test_outside_the_block_nothing_runs() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        _ = Drive(echo).task
