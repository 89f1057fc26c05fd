"""ReceivedResponse: the answer to one request, for whoever reads it, and its hold on a connection."""

import asyncio
from collections.abc import Mapping
from typing import Final

from crplugins.handlers.http.connection import UpstreamConnection
from crplugins.handlers.http.encoding import Decoder

_PLAIN: Final = (b"", b"identity")


class ReceivedResponse:
    """A `Response` (interface.py) over a connection of ours, which it lets go of when it is closed."""

    __slots__ = ("_connection", "_decoder", "_headers", "status")

    def __init__(self, connection: UpstreamConnection) -> None:
        self._connection: UpstreamConnection | None = connection
        self._headers = connection.headers
        self._decoder: Decoder | None = None
        self.status: Final = connection.status

    @property
    def headers(self) -> Mapping[str, str]:
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self._headers.items()}

    @property
    def ended(self) -> bool:
        connection = self._connection
        if connection is None:
            return True
        waiting = connection.parts or (self._decoder is not None and self._decoder.has_more)
        return connection.state == "ended" and not waiting

    def take(self) -> bytes:
        connection = self._connection
        if connection is None:
            return b""
        if self._headers.get(b"content-encoding", b"") not in _PLAIN:
            return self._unpacked(connection)
        return connection.take() if connection.parts else b""

    async def read(self) -> bytes:
        while True:
            data = self.take()
            connection = self._connection
            if data or connection is None or connection.state == "ended":
                return data
            if connection.failure is not None:
                raise connection.failure
            await connection.arrival()

    def expire_in(self, seconds: float) -> None:
        if self._connection is not None:
            self._connection.expire_at(asyncio.get_running_loop().time() + seconds)

    def close(self, linger: float = 0.0) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.finish(linger)

    def _unpacked(self, connection: UpstreamConnection) -> bytes:
        if self._decoder is None:
            self._decoder = Decoder(self._headers[b"content-encoding"].decode("latin-1"))
        if self._decoder.has_more:
            return self._decoder.decode(b"")
        data = b""
        while connection.parts and not data:
            data = self._decoder.decode(connection.take())
        return data
