"""KafkaBroker: messages into a topic, safe on all replicas in sync before they are called published."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Final

from crplugins.sinks.message import RecordMessage
from crplugins.sinks.own_loop import OwnLoop

try:
    from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]
    from aiokafka.errors import KafkaConnectionError  # type: ignore[import-untyped]
except ImportError as error:
    raise ImportError("a sink to Kafka needs aiokafka; install it with: pip install 'crplugins[kafka]'") from error

_THREAD: Final = "crplugins-kafka"


_logged: ContextVar[list[Exception]] = ContextVar("_logged")
"""What aiokafka has only logged while a producer was started."""


def _is_of_others(record: logging.LogRecord) -> bool:
    """aiokafka says at each attempt that a broker is away, several times a second. An outbox says it once."""
    if record.threadName != _THREAD:
        return True
    if isinstance(record.args, tuple) and (failures := _logged.get(None)) is not None:
        failures += [value for value in record.args if isinstance(value, Exception)]
    return False


for _name in [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "aiokafka"]:
    logging.getLogger(_name).addFilter(_is_of_others)  # a filter of a logger does not count for those below it

SECONDS: Final = 10.0
"""How long the brokers may take for a batch. Then it is tried again, over new connections."""

_CLOSING_SECONDS: Final = 1.0
_BACKOFF_MILLISECONDS: Final = 500


class KafkaBroker:
    """A producer that is idempotent, with `acks=all`. The id of a record's key is the key of its message, so that the
    records of one key are in one partition.

    aiokafka's idempotent producer tries for ever to send what it has taken. It runs in a loop of its own, so that it
    can be ended; what it had taken is then sent again by another one, and may have been there already.

    Args:
        servers: `host:port`, one or several with commas between: the brokers that are asked for all others.
        topic: where messages go. Kafka makes it at the first one if it is set up to.
        options: aiokafka's, such as `security_protocol` and `sasl_mechanism`.
        seconds: how long a batch may take.

    Raises ImportError without aiokafka.
    """

    kind: Final = "kafka"

    def __init__(
        self, servers: str, topic: str, options: Mapping[str, Any] | None = None, *, seconds: float = SECONDS
    ) -> None:
        self._servers, self._topic, self._seconds = servers, topic, seconds
        self._options = dict(options or {})
        self._session: _Session | None = None
        self._given_up: set[asyncio.Task[None]] = set()

    async def publish(self, messages: Sequence[RecordMessage]) -> None:
        """Raises `aiokafka.errors.KafkaError`, OSError or TimeoutError."""
        if self._session is None:
            self._session = _Session(self._servers, self._options)
        try:
            async with asyncio.timeout(self._seconds):
                await self._session.send(self._topic, messages)
        except BaseException:
            self._give_up()
            raise

    async def close(self) -> None:
        self._give_up()
        if self._given_up:
            await asyncio.wait(self._given_up)

    def _give_up(self) -> None:
        """The next batch has a new producer. This one is closed meanwhile."""
        if self._session is not None:
            closing = asyncio.get_running_loop().create_task(self._session.close())
            self._given_up.add(closing)
            closing.add_done_callback(self._given_up.discard)
            self._session = None

    def __str__(self) -> str:
        return f"Kafka at {self._servers}"


class _Session:
    """One producer and its loop."""

    def __init__(self, servers: str, options: Mapping[str, Any]) -> None:
        self._servers, self._options = servers, options
        self._loop = OwnLoop(_THREAD)
        self._producer: AIOKafkaProducer | None = None

    async def send(self, topic: str, messages: Sequence[RecordMessage]) -> None:
        await self._loop.run(self._send(topic, messages))

    async def _send(self, topic: str, messages: Sequence[RecordMessage]) -> None:
        if self._producer is None:
            self._producer = AIOKafkaProducer(
                bootstrap_servers=self._servers,
                client_id="crplugins",
                enable_idempotence=True,
                acks="all",
                retry_backoff_ms=_BACKOFF_MILLISECONDS,
                **self._options,
            )
            await _start(self._producer)
        sent = [
            await self._producer.send(topic, message.value, None if message.key is None else message.key.encode())
            for message in messages
        ]
        for result in await asyncio.gather(*sent, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def close(self) -> None:
        with suppress(Exception):
            async with asyncio.timeout(2 * _CLOSING_SECONDS):
                await self._loop.run(self._close())
        self._loop.end()

    async def _close(self) -> None:
        if self._producer is None:
            return
        try:
            async with asyncio.timeout(_CLOSING_SECONDS):
                await self._producer.stop()
        except TimeoutError:
            await self._producer.client.close()


async def _start(producer: AIOKafkaProducer) -> None:
    """Raises why no broker lets us in, a wrong password or an unknown certificate; aiokafka only logs it."""
    failures: list[Exception] = []
    _logged.set(failures)
    try:
        await producer.start()
    except KafkaConnectionError:
        if failures:
            raise failures[-1] from None
        raise
