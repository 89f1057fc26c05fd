"""Connections that are kept, and those that are opened."""

import asyncio
import socket
from typing import Any

import pytest

from crplugins.handlers.http import dial, pool
from crplugins.handlers.http.dial import Address, Dialer, first_of, in_turn
from crplugins.handlers.http.interface import HttpError
from tests.handlers.http.conftest import Asker
from tests.handlers.http.raw_upstream import OK, Visit, always, resolver, upstream


def kept_for(seconds: bytes) -> bytes:
    return OK.replace(b"\r\n\r\n", b"\r\nKeep-Alive: timeout=%b\r\n\r\n" % seconds)


async def test_as_many_connections_are_opened_as_there_are_requests_at_once_and_then_used_again(ours: Asker) -> None:
    async with upstream(always(OK)) as server:
        for _ in range(3):
            await asyncio.gather(*(ours.ask(server.url) for _ in range(20)))
        assert len(server.visits) == 20


async def test_a_server_that_says_how_long_it_keeps_a_connection_is_believed(ours: Asker) -> None:
    """A request that met its farewell would be lost."""
    for seconds, used_again in ((b"1", False), (b"5, max=100", True), (b"x", True)):
        async with upstream(always(kept_for(seconds))) as server:
            for _ in range(2):
                assert await ours.ask(server.url) == (200, b"ok")
            assert len(server.visits) == (1 if used_again else 2), seconds


async def test_a_connection_that_nobody_uses_is_closed(ours: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "KEPT_SECONDS", 0.05)
    monkeypatch.setattr(pool, "_SWEEP_SECONDS", 0.02)
    closed = asyncio.Event()

    async def behave(visit):
        await visit.request()
        await visit.say(OK)
        await visit.closed()
        closed.set()

    async with upstream(behave) as server, asyncio.timeout(30):
        assert await ours.ask(server.url) == (200, b"ok")
        await closed.wait()


async def test_of_many_idle_connections_the_first_ones_are_kept(ours: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MOST_KEPT", 2)
    async with upstream(always(OK)) as server:
        for opened in (5, 8):  # two of the first five are used again
            await asyncio.gather(*(ours.ask(server.url) for _ in range(5)))
            assert len(server.visits) == opened


async def test_two_endpoints_of_one_server_share_its_connections(ours: Asker) -> None:
    async with upstream(always(OK)) as server:
        for path in ("", "/other"):
            assert await ours.ask(server.url + path) == (200, b"ok")
        assert len(server.visits) == 1


async def test_a_name_is_looked_up_once_for_many_and_again_when_its_address_has_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_up: list[str] = []
    address = "127.0.0.9"

    def addresses() -> list[str]:
        looked_up.append(address)
        return [address]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolver(addresses))
    async with upstream(always(OK)) as server:
        dialer = Dialer("moving.example", server.port)
        with pytest.raises(ConnectionRefusedError):
            await dialer.dial()
        address = "127.0.0.1"
        for connected in await asyncio.gather(*(dialer.dial() for _ in range(5))):
            connected.close()
        assert looked_up == ["127.0.0.9", "127.0.0.1"]
        await dialer.close()


async def test_an_address_that_is_silent_has_a_head_start_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "HEAD_START", 0.02)
    loop = asyncio.get_running_loop()
    connect = loop.sock_connect
    cancelled = asyncio.Event()

    async def sock_connect(sock: socket.socket, address: tuple[str, int]) -> None:
        if address[0] == "127.0.0.9":
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
        await connect(sock, address)

    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    async with upstream(always(OK)) as server:
        addresses = [Address(socket.AF_INET, (host, server.port)) for host in ("127.0.0.9", "127.0.0.1")]
        connected = await first_of(addresses)
        assert connected.getpeername()[0] == "127.0.0.1"
        connected.close()
        assert cancelled.is_set()


def test_the_addresses_of_two_families_take_turns() -> None:
    six, four = socket.AF_INET6, socket.AF_INET
    addresses = [Address(family, number) for number, family in enumerate((six, six, six, four))]
    assert [each.sockaddr for each in in_turn(addresses)] == [0, 3, 1, 2]
    assert in_turn([]) == []


@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-OpenSSH_9.6\r\n"])
async def test_a_connection_that_ends_before_its_request_is_sent_is_a_failure_at_once(
    ours: Asker, monkeypatch: pytest.MonkeyPatch, greeting: bytes
) -> None:
    """It is lost before anybody waits for it."""
    loop = asyncio.get_running_loop()
    connect, over = loop.create_connection, asyncio.Event()

    async def create_connection(*arguments: Any, **words: Any) -> Any:
        connected = await connect(*arguments, **words)
        await over.wait()
        await asyncio.sleep(0.05)
        return connected

    async def behave(visit: Visit) -> None:
        await visit.say(greeting)
        over.set()

    monkeypatch.setattr(loop, "create_connection", create_connection)
    async with upstream(behave) as server, asyncio.timeout(30):
        with pytest.raises(HttpError, match="before the request was sent"):
            await ours.ask(server.url)
