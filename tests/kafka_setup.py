"""Brokers of Kafka's protocol in a process of their own, behind a gate that can be shut: librdkafka's mock cluster.

It keeps messages in memory, so what is stopped and started is the gate: connections are refused, as those of a broker
that is away, and what it had is there when it is back. TLS and SASL, which the mock has not, are the gate's too.
"""

import asyncio
import json
import struct
import subprocess
import sys
from contextlib import suppress

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from tests.kafka_login import KafkaLogin, with_login

BROKERS = """
import sys
from confluent_kafka import Producer

brokers = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1})
(broker,) = brokers.list_topics(timeout=60).brokers.values()
print(broker.port, flush=True)
sys.stdin.read()
"""
PARTITIONS = 4
"""Of each topic, which is made when it is written to first."""

HOST = b"127.0.0.1"
NAME = b"localhost"
"""The same in as many letters, and in certificates."""


class KafkaServer:
    """`async with KafkaServer() as kafka:`

    Args:
        tls: of the server's side, if it speaks TLS.
        login: the name and the password that clients must have.

    Attributes:
        servers: where clients find it.
    """

    def __init__(self, *, tls=None, login=None):
        self._tls, self._login = tls, login

    async def __aenter__(self):
        command = [sys.executable, "-c", BROKERS]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = await asyncio.create_subprocess_exec(*command, **pipes)
        self._port = int(await self._process.stdout.readline())
        self._open = {}
        self._gate = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self._gate_port = self._gate.sockets[0].getsockname()[1]
        self.servers = f"{HOST.decode() if self._tls is None else NAME.decode()}:{self._gate_port}"
        return self

    async def __aexit__(self, *error):
        await self.shut()
        self._process.stdin.close()
        await self._process.wait()

    async def shut(self):
        """Nobody gets in, and who is in is thrown out."""
        self._gate.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def reopen(self):
        self._gate = await asyncio.start_server(self._serve, "127.0.0.1", self._gate_port, ssl=self._tls)

    async def messages(self, topic):
        """All that there are, by partition: pairs of a key and an object."""
        return await asyncio.to_thread(self._messages, topic)

    def _messages(self, topic):
        about = {"bootstrap.servers": f"127.0.0.1:{self._port}", "group.id": "tests", "enable.partition.eof": True}
        consumer = Consumer(about)
        found = {number: [] for number in range(PARTITIONS)}
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in found])
        ended = set()
        while ended != found.keys():
            message = consumer.poll(30)
            assert message is not None
            if message.error() is None:
                key = message.key()
                found[message.partition()].append((key and key.decode(), json.loads(message.value())))
            else:
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                ended.add(message.partition())
        consumer.close()
        return found

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._open[task] = None
        there = None
        try:
            back, there = await asyncio.open_connection("127.0.0.1", self._port)
            if self._login is not None:
                await self._let_in(reader, writer, back, there)
            await asyncio.gather(self._pass(reader, there), self._pass(back, writer, renamed=True))
        except (asyncio.CancelledError, OSError, EOFError):
            pass
        finally:
            del self._open[task]
            for each in filter(None, (writer, there)):
                each.transport.abort()
                with suppress(OSError):
                    await each.wait_closed()

    async def _let_in(self, reader, writer, back, there):
        """Until the client has said who it is."""
        login = KafkaLogin(*self._login)
        while not login.done:
            request = await _read(reader)
            answer = login.answer(request)
            if answer is None:
                await _write(there, request)
                answer = with_login(await _read(back))
            await _write(writer, answer)

    async def _pass(self, reader, writer, *, renamed=False):
        """Message by message. In answers the broker's address is that of the gate."""
        own = HOST + struct.pack(">I", self._port)
        gate = (HOST if self._tls is None else NAME) + struct.pack(">I", self._gate_port)
        while True:
            message = await _read(reader)
            await _write(writer, message.replace(own, gate) if renamed else message)


async def _read(reader):
    return await reader.readexactly(int.from_bytes(await reader.readexactly(4)))


async def _write(writer, message):
    writer.write(len(message).to_bytes(4) + message)
    await writer.drain()


@pytest.fixture
async def kafka():
    async with KafkaServer() as kafka:
        yield kafka
