"""Work for a client that has disconnected is cancelled; work that is done at once is not watched at all."""

import asyncio
from typing import Any

import pytest

from crplugins.asgi.disconnect import CancelOnDisconnect
from crplugins.core.errors import GatewayError


class Server:
    """A `receive` that says nothing until the client leaves, and knows whether it was asked."""

    def __init__(self, *first: Exception) -> None:
        self.first = list(first)
        self.asked = asyncio.Event()
        self.gone = asyncio.Event()

    async def receive(self) -> Any:
        self.asked.set()
        if self.first:
            raise self.first.pop()
        await self.gone.wait()
        return {"type": "http.disconnect"}


async def test_work_that_is_done_at_once_makes_no_task_and_asks_the_server_nothing() -> None:
    server, tasks = Server(), asyncio.all_tasks()
    with CancelOnDisconnect(server.receive) as client:
        for _ in range(3):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == tasks
    assert (server.asked.is_set(), client.gone) == (False, False)


@pytest.mark.parametrize("first", [(), (GatewayError(413, "too large"),)])
async def test_work_for_a_client_that_leaves_is_cancelled(first: tuple[Exception, ...]) -> None:
    server = Server(*first)
    server.gone.set()
    with CancelOnDisconnect(server.receive) as client:
        await asyncio.Event().wait()
    task = asyncio.current_task()
    assert client.gone
    assert task is not None
    assert task.cancelling() == 0


async def test_a_client_that_leaves_while_work_goes_on_ends_it() -> None:
    server = Server()
    with CancelOnDisconnect(server.receive) as client:
        await server.asked.wait()
        server.gone.set()
        await asyncio.Event().wait()
    assert client.gone


async def test_a_cancellation_by_others_goes_on() -> None:
    server, entered = Server(), asyncio.Event()

    async def work() -> None:
        with CancelOnDisconnect(server.receive):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_nobody_is_watched_behind_the_block() -> None:
    server = Server()
    with CancelOnDisconnect(server.receive):
        await server.asked.wait()
    await asyncio.sleep(0)
    server.gone.set()
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1


async def test_an_error_of_the_work_is_raised() -> None:
    server = Server()
    with pytest.raises(LookupError), CancelOnDisconnect(server.receive):
        raise LookupError
