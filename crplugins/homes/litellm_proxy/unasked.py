"""UnaskedStreams: providers that refuse `stream_options`, learnt where a refused request cannot be repeated at once."""

from hashlib import sha256
from typing import Final

from crplugins.core.bounded_map import BoundedMap
from crplugins.core.exchange import Exchange
from crplugins.core.stream_options import StreamOptionsRefused


class UnaskedStreams:
    """Which streams are not asked for their usage.

    A hook of LiteLLM's cannot call the provider again. The client can: if it sends the refused request once more, the
    provider gets it without `stream_options`, and if that succeeds, it is remembered. Another request is asked as ever
    until then, whatever the refusal said: its text may hold words of the client's.
    """

    def __init__(self) -> None:
        self._refused: Final = StreamOptionsRefused()
        self._suspected: Final[BoundedMap[bytes, bool]] = BoundedMap()  # by the digest of the request's body

    def has(self, exchange: Exchange) -> bool:
        """Whether this request is to be sent without `stream_options`."""
        body = exchange.body
        assert body is not None, "the hooks make it"
        return self._refused.known(body.get("model", str) or "", body, exchange.clock()) or (
            bool(self._suspected) and _digest(exchange) in self._suspected
        )

    def suspect(self, exchange: Exchange) -> None:
        """The provider has refused this request, and names `stream_options`."""
        self._suspected[_digest(exchange)] = True

    def succeeded(self, exchange: Exchange) -> None:
        """A request that was sent without them has come to its end."""
        body = exchange.body
        if body is not None and self._suspected and self._suspected.pop(_digest(exchange), False):
            self._refused.remember(body.get("model", str) or "", body, exchange.clock())


def _digest(exchange: Exchange) -> bytes:
    return sha256(b"" if exchange.body is None else exchange.body.raw).digest()
