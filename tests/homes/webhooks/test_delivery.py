"""Delivery of webhooks over real sockets: repeated, bounded, once among many processes, and nobody waits for it."""

import asyncio
import base64
import hashlib
import hmac
from contextlib import asynccontextmanager

import pytest

from crplugins.core.network import Network, is_public
from crplugins.handlers.http.client import HttpClient
from crplugins.homes.webhooks import delivery
from crplugins.homes.webhooks.claims import Claims
from crplugins.homes.webhooks.delivery import Receiver
from crplugins.homes.webhooks.message import Message
from crplugins.limits.memory import MemoryStore
from crplugins.limits.opening import open_limit_store
from crplugins.limits.reservations import Reservations
from tests.redis_setup import redis_process  # noqa: F401  # fixture

FAR = 4_000_000_000_000
SECRET = "a secret of the receiver"


def message(number=0):
    return Message(f"msg_{number}", ("about", number), "budget.threshold", b'{"number": %d}' % number, FAR)


class Pauses:
    """`asyncio.sleep` that ends when the test says so."""

    def __init__(self):
        self.asked, self._waiting = [], asyncio.Queue()

    async def __call__(self, seconds):
        self.asked.append(seconds)
        ended = asyncio.get_running_loop().create_future()
        await self._waiting.put(ended)
        await ended

    async def end(self):
        (await self._waiting.get()).set_result(None)


@asynccontextmanager
async def receiver(url, reservations=None, *, permits=None, **options):
    reservations = reservations or Reservations(MemoryStore())
    client = HttpClient(await asyncio.to_thread(Network), permits)

    async def open_endpoint():
        return client.endpoint(url, {"content-type": "application/json"})

    async with reservations:
        yield (made := Receiver("hooks", SECRET, Claims(reservations, url), open_endpoint, **options))
        await made.close(5)
        await client.close()


async def idle(one):
    async with asyncio.timeout(30):
        while one.pending:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.005)


async def test_a_message_is_delivered_once_however_often_it_is_offered(hearing):
    async with hearing() as (heard, url), receiver(url) as one:
        for _ in range(3):
            one.offer(message())
        await heard.until(1)
        await idle(one)
        one.offer(message())
        await idle(one)
        headers, body = heard.messages[0]
        assert (len(heard.messages), body, headers["content-type"]) == (1, b'{"number": 0}', "application/json")
        signed = f"msg_0.{headers['webhook-timestamp']}.".encode() + body
        digest = hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()
        assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
        assert one.counts == {("budget.threshold", "delivered"): 1}


@pytest.mark.parametrize("status", [500, 503, 404, 301])
async def test_what_is_not_taken_is_sent_again_later_and_signed_anew(hearing, status):
    pauses, times = Pauses(), iter([100.0, 200.0, 300.0])
    async with hearing(status, status, 204) as (heard, url):
        async with receiver(url, sleep=pauses, clock=lambda: next(times)) as one:
            one.offer(message())
            for _ in range(2):
                await pauses.end()
            await heard.until(3)
            await idle(one)
            assert [headers["webhook-timestamp"] for headers, _ in heard.messages] == ["100", "200", "300"]
            assert len({headers["webhook-signature"] for headers, _ in heard.messages}) == 3
            assert set(heard.ids) == {"msg_0"}
            assert all(0.5 * least <= asked <= 1.5 * least for asked, least in zip(pauses.asked, delivery.PAUSES))  # noqa: B905
            assert one.counts == {("budget.threshold", "retried"): 2, ("budget.threshold", "delivered"): 1}


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (b"77", 77.0),
        (b"77.5", 77.5),  # Discord
        (b"Tue, 14 Nov 2023 22:14:30 GMT", 70.0),
        (b"Tue Nov 14 22:14:30 2023", 70.0),
        (b"Wed, 21 Oct 2099 07:28:00 GMT", 86_400.0),
    ],
)
async def test_a_receiver_that_says_when_to_come_again_is_heeded(hearing, said, seconds):
    pauses = Pauses()
    async with hearing(429, 204, headers=[(b"retry-after", said)]) as (heard, url):
        async with receiver(url, sleep=pauses, clock=lambda: 1_700_000_000.0) as one:
            one.offer(message())
            await pauses.end()
            await heard.until(2)
            assert pauses.asked == [seconds]


async def test_one_that_is_never_taken_is_given_up_and_not_begun_anew(hearing, caplog):
    pauses = Pauses()
    async with hearing(500) as (heard, url), receiver(url, sleep=pauses) as one:
        one.offer(message())
        for _ in delivery.PAUSES:
            await pauses.end()
        await idle(one)
        assert len(heard.messages) == len(delivery.PAUSES) + 1
        assert one.counts["budget.threshold", "failed"] == 1
        one.offer(message())
        await idle(one)
        assert len(heard.messages) == len(delivery.PAUSES) + 1
    assert "is given up: answers 500" in caplog.text
    assert SECRET not in caplog.text


async def test_one_that_wants_nothing_more_is_told_nothing_more(hearing, caplog):
    async with hearing(410) as (heard, url), receiver(url) as one:
        one.offer(message())
        await heard.until(1)
        await idle(one)
        one.offer(message(1))
        await idle(one)
        assert len(heard.messages) == 1
    assert "answers 410" in caplog.text


async def test_a_dead_receiver_holds_a_bounded_number_of_messages(monkeypatch):
    monkeypatch.setattr(delivery, "MOST_PENDING", 10)
    pauses = Pauses()
    async with receiver("http://127.0.0.1:1/", sleep=pauses) as one:
        for number in range(25):
            one.offer(message(number))
        assert one.pending == 10
        assert one.counts == {("budget.threshold", "dropped"): 15}


async def test_a_receiver_that_hangs_is_left_and_no_more_than_a_few_attempts_wait_for_it(hearing, monkeypatch):
    monkeypatch.setattr(delivery, "SECONDS", 0.3)
    async with hearing(204, seconds=5.0) as (heard, url), receiver(url, sleep=Pauses()) as one:
        for number in range(20):
            one.offer(message(number))
        await heard.until(delivery.AT_ONCE)
        assert len(heard.messages) == delivery.AT_ONCE
        await heard.until(delivery.AT_ONCE + 1)  # the first were left


async def test_at_the_end_what_waits_is_tried_once_more_and_the_rest_is_left_to_others(hearing):
    pauses, reservations = Pauses(), Reservations(MemoryStore())
    async with hearing(500, 204, 500) as (heard, url), reservations:
        async with receiver(url, reservations, sleep=pauses) as one:
            one.offer(message(0))
            await heard.until(1)
        assert heard.ids == ["msg_0", "msg_0"]  # the second time it was taken
        async with receiver(url, reservations, sleep=pauses) as one:
            one.offer(message(1))
            await heard.until(3)
        assert heard.ids[2:] == ["msg_1", "msg_1"]
        heard.answers = [204]
        async with receiver(url, reservations) as another:
            another.offer(message(0))
            another.offer(message(1))
            await heard.until(5)
            await idle(another)
        assert heard.ids[4:] == ["msg_1"]


async def test_the_end_is_not_later_for_a_receiver_that_hangs(hearing, monkeypatch):
    monkeypatch.setattr(delivery, "SECONDS", 3600.0)
    async with hearing(204, seconds=3600.0) as (heard, url), receiver(url) as one:
        one.offer(message())
        await heard.until(1)
        async with asyncio.timeout(30):
            await one.close(0.1)
        assert one.pending == 0


async def test_a_private_address_is_not_connected_to_by_whatever_name(hearing, caplog):
    async with hearing() as (heard, url):
        for host in ("127.0.0.1", "localhost"):
            address = url.replace("127.0.0.1", host)
            async with receiver(address, permits=is_public, sleep=Pauses()) as one:
                one.offer(message())
                async with asyncio.timeout(30):
                    while not one.counts:  # noqa: ASYNC110  # nothing tells of it
                        await asyncio.sleep(0.005)
                assert one.counts == {("budget.threshold", "retried"): 1}
        assert heard.messages == []
    assert "private" in caplog.text


@pytest.fixture(params=["sqlite", "redis"])
def store_url(request, tmp_path):
    if request.param == "redis":
        return request.getfixturevalue("redis_process").url
    return f"sqlite:///{tmp_path}/limits.db"


async def test_of_many_processes_one_tells_and_another_takes_over_what_it_leaves(hearing, store_url):
    async with hearing(500, 204) as (heard, url):
        stores = [Reservations(open_limit_store(store_url)) for _ in range(4)]
        pauses = Pauses()
        async with stores[0], stores[1], stores[2], stores[3]:
            async with receiver(url, stores[0], sleep=pauses) as first:
                first.offer(message())
                await heard.until(1)  # it waits for its next attempt, and holds the claim
                for store in stores[1:]:
                    async with receiver(url, store) as other:
                        other.offer(message())
                        await idle(other)
                assert len(heard.messages) == 1
                await pauses.end()
                await heard.until(2)
                await idle(first)
            for store in stores:
                async with receiver(url, store) as other:
                    for number in range(3):
                        other.offer(message(number))
                    await idle(other)
            assert sorted(heard.ids) == ["msg_0", "msg_0", "msg_1", "msg_2"]
