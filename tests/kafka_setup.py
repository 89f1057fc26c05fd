"""Brokers of Kafka's protocol in a process of their own, behind a gate that can be shut: librdkafka's mock cluster.

It keeps messages in memory, so what is stopped and started is the gate: connections are refused, as those of a broker
that is away, and what it had is there when it is back.
"""

import asyncio
import json
import struct
import subprocess
import sys
from contextlib import suppress

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

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


class KafkaServer:
    """`async with KafkaServer() as kafka:`

    Attributes:
        servers: where clients find it.
    """

    async def __aenter__(self):
        command = [sys.executable, "-c", BROKERS]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = await asyncio.create_subprocess_exec(*command, **pipes)
        self._port = int(await self._process.stdout.readline())
        self._open = {}
        self._gate = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._gate_port = self._gate.sockets[0].getsockname()[1]
        self.servers = f"127.0.0.1:{self._gate_port}"
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
        self._gate = await asyncio.start_server(self._serve, "127.0.0.1", self._gate_port)

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
            await asyncio.gather(self._pass(reader, there), self._pass(back, writer, renamed=True))
        except (asyncio.CancelledError, OSError, EOFError):
            pass
        finally:
            del self._open[task]
            for each in filter(None, (writer, there)):
                each.transport.abort()
                with suppress(OSError):
                    await each.wait_closed()

    async def _pass(self, reader, writer, *, renamed=False):
        """Message by message. In answers the broker's address is that of the gate."""
        own, gate = (HOST + struct.pack(">I", port) for port in (self._port, self._gate_port))
        while True:
            size = await reader.readexactly(4)
            message = await reader.readexactly(int.from_bytes(size))
            writer.write(size + (message.replace(own, gate) if renamed else message))
            await writer.drain()


@pytest.fixture
async def kafka():
    async with KafkaServer() as kafka:
        yield kafka
