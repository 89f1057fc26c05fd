"""ReceivedResponse: the answer to one request, for whoever reads it, and its hold on a connection."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final

from crplugins.handlers.http.connection import UpstreamConnection
from crplugins.handlers.http.encoding import Decoder, encoding_in
from crplugins.handlers.http.interface import Through


def response_over(connection: UpstreamConnection) -> "ReceivedResponse":
    """The response whose head has come."""
    said = connection.headers.get(b"content-encoding")
    if said is not None and (encoding := encoding_in(said.decode("latin-1"))) is not None:
        return PackedResponse(connection, encoding)
    return ReceivedResponse(connection)


class ReceivedResponse:
    """A `Response` (interface.py) over a connection of ours, which it lets go of when it is closed."""

    __slots__ = ("_connection", "_headers", "status")

    def __init__(self, connection: UpstreamConnection) -> None:
        self._connection: UpstreamConnection | None = connection
        self.status: Final = connection.status
        self._headers: Final = connection.headers

    @property
    def headers(self) -> Mapping[str, str]:
        return Headers(self._headers)

    @property
    def ended(self) -> bool:
        connection = self._connection
        return connection is None or (connection.state == "ended" and not connection.parts)

    def take(self) -> bytes:
        connection = self._connection
        return connection.take() if connection is not None and connection.parts else b""

    def read(self) -> Awaitable[bytes]:
        return _nothing() if self._connection is None else self._connection.read()

    def pass_through(self, through: Through, left: Callable[[], float]) -> None:
        if self._connection is not None:
            self._connection.through, self._connection.left = through, left

    def expire_in(self, seconds: float) -> None:
        connection = self._connection
        if connection is not None:
            connection.deadline.move(connection.now() + seconds)

    def close(self, linger: float = 0.0) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.finish(linger)


async def _nothing() -> bytes:
    return b""


class PackedResponse(ReceivedResponse):
    """One whose body is compressed. What it unpacks to is bounded at a time, and waits packed."""

    __slots__ = ("_decoder",)

    def __init__(self, connection: UpstreamConnection, encoding: str) -> None:
        super().__init__(connection)
        self._decoder = Decoder(encoding)

    @property
    def ended(self) -> bool:
        return super().ended and (self._connection is None or not self._decoder.has_more)

    def take(self) -> bytes:
        return self._decode(b"") or self._decode(super().take())

    def pass_through(self, through: Through, left: Callable[[], float]) -> None:
        """What comes is packed."""

    async def read(self) -> bytes:
        data = self._decode(b"")
        while not data and (packed := await super().read()):
            data = self._decode(packed)
        return data

    def _decode(self, packed: bytes) -> bytes:
        return b"" if self._connection is None else self._decoder.decode(packed)


class Headers(Mapping[str, str]):
    """Header fields as text, decoded where somebody asks for one: of a good answer nobody does."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[bytes, bytes]) -> None:
        self._fields = fields

    def __getitem__(self, name: str) -> str:
        return self._fields[name.encode("latin-1")].decode("latin-1")

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self._fields)

    def __len__(self) -> int:
        return len(self._fields)
